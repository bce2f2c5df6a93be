package ignore

import (
	"path"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

func matcher(t *testing.T, lines ...string) *Matcher {
	t.Helper()
	m, err := Parse(strings.NewReader(strings.Join(lines, "\n")))
	assert.NilError(t, err)
	return m
}

// Row 28 of the feature list and the patterns of its part 1.3: **, !, the last match wins.
func TestMatch(t *testing.T) {
	tests := map[string]struct {
		file   string
		hidden string
		shown  string
	}{
		"name":              {"a", "a a/b a/b/c", "b b/a aa"},
		"slash in front":    {"/a\n!/a/b", "a a/c", "a/b a/b/c"},
		"blank and comment": {"\xef\xbb\xbf# x\r\n\r\n  a  \r\n", "a", "x # b"},
		"star":              {"*.md\n*/t", "x.md a/t", "a/x.md a/b/t t"},
		"question mark":     {"a?", "ab", "a abc a/b"},
		"class":             {"[a-c]\n[^d]x", "a c ax", "d dx"},
		"two stars":         {"**/x\n**.tmp\nd/**", "x a/x a/b/x y.tmp a/y.tmp d/a d/b/c", "xa d"},
		"all but one":       {"*\n!keep", "a a/keep", "keep keep/a"},
		"all but deep":      {"**\n!a/b", "a a/c c", "a/b a/b/d"},
		"last match":        {"!a\na\n!a/b\na/b/c", "a a/b/c a/d", "a/b a/b/d"},
		"dots":              {"./a/../b\n../c", "b", "a c"},
		"spaces after !":    {"*\n! a", "b", "a"},
		"escape":            {`\*`, "*", "a"},
		"regexp characters": {"a.b+c(d)", "a.b+c(d)", "axb+c(d)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := matcher(t, tt.file)
			for _, p := range strings.Fields(tt.hidden) {
				assert.Assert(t, m.Match(p, false), "%s is shown", p)
				assertWalk(t, m, p, true)
				pattern, hidden := m.Reason(p)
				assert.Assert(t, hidden && pattern != "" && strings.Contains(tt.file, strings.TrimPrefix(pattern, "/")) || name == "dots", pattern)
			}
			for _, p := range strings.Fields(tt.shown) {
				assert.Assert(t, !m.Match(p, false), "%s is hidden", p)
				assertWalk(t, m, p, false)
				_, hidden := m.Reason(p)
				assert.Assert(t, !hidden)
			}
		})
	}
}

// assertWalk goes down to p as a walk does and checks that it gets the same answer, and that no pruning would hide p.
func assertWalk(t *testing.T, m *Matcher, p string, want bool) {
	t.Helper()
	w := m.Walker()
	parts := strings.Split(p, "/")
	for i := range parts {
		hidden, prune := w.Match(path.Join(parts[:i+1]...), i < len(parts)-1)
		if i == len(parts)-1 {
			assert.Equal(t, hidden, want, p)
		} else if prune {
			assert.Assert(t, want, "%s would be pruned", p)
			return
		}
	}
}

func TestNothingHidden(t *testing.T) {
	var none *Matcher
	for _, m := range []*Matcher{none, matcher(t, ""), matcher(t, "# a")} {
		assert.Assert(t, m.Empty())
		assert.Assert(t, !m.Match("a", true))
		assert.Assert(t, !m.HidesSource("a"))
		hidden, prune := m.Walker().Match("a", true)
		assert.Assert(t, !hidden && !prune)
	}
	for _, root := range []string{".", "/", ""} {
		assert.Assert(t, !matcher(t, "**", "*", ".").Match(root, true))
	}
	assert.Assert(t, matcher(t, "a").Match("/a/", true))
	assert.DeepEqual(t, matcher(t, "a", "#b", "!c").Patterns(), []string{"a", "!c"})
}

func TestMayMatchBelow(t *testing.T) {
	m := matcher(t, "*", "!a/b/*.go", "!c/**/x", "!d*/e")
	for dir, want := range map[string]bool{
		"a": true, "a/b": true, "a/b/c": false, "b": false, "c": true, "c/d/e/f": true, "dd": true, "dd/e": false, "dd/f": false, ".": true,
	} {
		assert.Equal(t, m.MayMatchBelow(dir), want, dir)
	}
	assert.Assert(t, !matcher(t, "a").MayMatchBelow("a"))
}

func TestWalkerPrunes(t *testing.T) {
	w := matcher(t, "node_modules", "**/x", "!a/keep").Walker()
	for _, step := range []struct {
		name          string
		dir           bool
		hidden, prune bool
	}{
		{"a", true, false, false},
		{"a/keep", false, false, false},
		{"a/x", true, true, true},
		{"node_modules", true, true, true},
		{"z", true, false, false},
		{"z/b", true, false, false},
		{"z/b/x", false, true, false},
		{"zz", false, false, false},
	} {
		hidden, prune := w.Match(step.name, step.dir)
		assert.Equal(t, hidden, step.hidden, step.name)
		assert.Equal(t, prune, step.prune, step.name)
	}
}

func TestHidesSource(t *testing.T) {
	m := matcher(t, "hidden", "*.md")
	assert.Assert(t, m.HidesSource("hidden/x"))
	assert.Assert(t, m.HidesSource("./hidden"))
	assert.Assert(t, !m.HidesSource("."))
	assert.Assert(t, !m.HidesSource("other"))
	assert.Assert(t, matcher(t, "**/*").HidesSource("/"))
	assert.Assert(t, !matcher(t, "hidden", "!hidden/x").HidesSource("hidden"))
}

func TestErrors(t *testing.T) {
	for _, bad := range []string{"[", "a[", "!", "!  ", "[a", `a[]`, "[z-a]"} {
		_, err := Parse(strings.NewReader("ok\n" + bad))
		assert.ErrorContains(t, err, "ignore pattern", bad)
	}
	_, err := Parse(strings.NewReader(strings.Repeat("a", 70000)))
	assert.ErrorContains(t, err, "read ignore file")
}

// FuzzParse checks that no file makes a panic, and that walking, matching and pruning agree.
func FuzzParse(f *testing.F) {
	f.Add("*\n!a/b", "a/b/c")
	f.Add("**/x\n!y**/z?\n[a-c]\\*", "x/yq/zz")
	f.Add("\xef\xbb\xbf/a\r\n#\n! b", "a/./../b")
	f.Fuzz(func(t *testing.T, file, name string) {
		m, err := Parse(strings.NewReader(file))
		if err != nil || len(name) > 100 || len(file) > 1000 {
			return
		}
		name = clean(name)
		if name == "." {
			return
		}
		assertWalk(t, m, name, m.Match(name, false))
		m.Reason(name)
		m.HidesSource(name)
	})
}
