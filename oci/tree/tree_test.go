package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/oci/index"
)

// layerOf makes an index from lines: "d path", "f path content", "l path target", "h path target", "w path", "o path" (opaque
// directory), "i path" (implied).
func layerOf(t testing.TB, lines ...string) *index.Index {
	t.Helper()
	b := index.NewBuilder()
	for _, l := range lines {
		assert.NilError(t, b.Add(entryOf(l)))
	}
	ix, err := b.Build()
	assert.NilError(t, err)
	return ix
}

func entryOf(line string) index.Entry {
	kind, rest, _ := strings.Cut(line, " ")
	path, arg, _ := strings.Cut(rest, " ")
	e := index.Entry{Path: path, MTime: time.Unix(7, 0).UTC(), Mode: 0o755, Offset: -1}
	switch kind {
	case "d", "o":
		e.Type, e.Opaque = index.Directory, kind == "o"
	case "f":
		e.Type, e.Data, e.Size = index.Regular, []byte(arg), int64(len(arg))
	case "l":
		e.Type, e.Link = index.Symlink, arg
	case "h":
		e.Type, e.Link = index.Hardlink, arg
	case "w":
		e.Type = index.Whiteout
	case "i":
		e.Type = index.Implied
	}
	return e
}

// text is the whole tree in the form of layerOf, with the layer of every entry.
func text(t testing.TB, tr *Tree) []string {
	t.Helper()
	lines := []string{}
	assert.NilError(t, tr.Walk(".", func(n Node) error {
		if n.Path == "." {
			return nil
		}
		lines = append(lines, describe(n))
		got, ok := tr.Lookup(n.Path)
		assert.Assert(t, ok, n.Path)
		assert.Equal(t, describe(got), describe(n))
		return nil
	}))
	return lines
}

func describe(n Node) string {
	s := fmt.Sprintf("%d:%s", n.Layer, n.Type)
	s += " " + n.Path
	if n.LinkPath != n.Path {
		s += "=" + n.LinkPath
	}
	if n.Type == index.Symlink {
		s += " " + n.Link
	}
	if n.Data != nil {
		s += " " + string(n.Data)
	}
	return s
}

func TestHardLinksAreInodesOfTheirLayer(t *testing.T) {
	// DESIGN rule 5: a link is resolved where it was made, never to a path that a later layer replaced.
	tr := New(
		layerOf(t, "d a", "f a/x one", "d b", "h b/y a/x", "h c a/x"),
		layerOf(t, "d a", "f a/x two"),
		layerOf(t, "w c"),
	)
	assert.DeepEqual(t, text(t, tr), []string{"1:d a", "1:- a/x two", "0:d b", "0:- b/y=a/x one"})
	gone := tr.Push(layerOf(t, "w a"))
	assert.DeepEqual(t, text(t, gone), []string{"0:d b", "0:- b/y=a/x one"})
}

func TestFold(t *testing.T) {
	base := []string{"d d", "f d/a 1", "d d/s", "f d/s/b 2", "f e 3", "l l d"}
	for name, c := range map[string]struct {
		layers [][]string
		want   []string
	}{
		"nothing":                 {nil, []string{}},
		"whiteout of a directory": {[][]string{base, {"w d"}}, []string{"0:- e 3", "0:l l d"}},
		"whiteout of nothing":     {[][]string{{"f x 1"}, {"w y"}}, []string{"0:- x 1"}},
		"opaque":                  {[][]string{base, {"o d", "f d/n 9"}}, []string{"1:d d", "1:- d/n 9", "0:- e 3", "0:l l d"}},
		"opaque below opaque":     {[][]string{base, {"o d"}, {"d d", "f d/z 1"}}, []string{"2:d d", "2:- d/z 1", "0:- e 3", "0:l l d"}},
		"attributes":              {[][]string{base, {"d d"}}, []string{"1:d d", "0:- d/a 1", "0:d d/s", "0:- d/s/b 2", "0:- e 3", "0:l l d"}},
		"directory by file":       {[][]string{base, {"f d 7"}}, []string{"1:- d 7", "0:- e 3", "0:l l d"}},
		"directory by link":       {[][]string{base, {"l d /tmp"}}, []string{"1:l d /tmp", "0:- e 3", "0:l l d"}},
		"file by directory":       {[][]string{base, {"d e", "f e/x 1"}}, []string{"0:d d", "0:- d/a 1", "0:d d/s", "0:- d/s/b 2", "1:d e", "1:- e/x 1", "0:l l d"}},
		"file between directories hides": {
			[][]string{{"d d", "f d/a 1"}, {"f d 2"}, {"d d", "f d/b 3"}}, []string{"2:d d", "2:- d/b 3"}},
		"whiteout between directories hides": {
			[][]string{{"d d", "f d/a 1"}, {"w d"}, {"d d", "f d/b 3"}}, []string{"2:d d", "2:- d/b 3"}},
		"whiteout inside": {[][]string{base, {"d d", "d d/s", "w d/s/b", "w d/a"}}, []string{"1:d d", "1:d d/s", "0:- e 3", "0:l l d"}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := New()
			for _, l := range c.layers {
				tr = tr.Push(layerOf(t, l...))
			}
			assert.Assert(t, cmp.Equal(text(t, tr), c.want), cmp.Diff(c.want, text(t, tr)))
		})
	}
}

func TestRootAlwaysExists(t *testing.T) {
	n, ok := New().Lookup(".")
	assert.Assert(t, ok)
	assert.Equal(t, n.String(), `d 0755 0:0 0 0 "." (layer -1)`)
	root := entryOf("d .")
	root.UID = 5
	b := index.NewBuilder()
	assert.NilError(t, b.Add(root))
	ix, err := b.Build()
	assert.NilError(t, err)
	n, _ = New(ix, layerOf(t, "d x")).Lookup(".")
	assert.Equal(t, n.UID, 5)
	assert.Equal(t, len(New(ix).ReadDir(".")), 0)
}

func TestResolve(t *testing.T) {
	tr := New(layerOf(t,
		"d usr", "d usr/lib", "f usr/lib/x 1", "l lib usr/lib", "l up ../../../usr", "l abs /lib/x", "l loop loop", "l a b", "l b a",
		"l dangling /no/where", "f file 1", "l viafile file/x", "d deep", "l deep/l ../lib/./x",
	), layerOf(t, "l late /usr"))
	for _, c := range []struct {
		path, real string
		exists     bool
		err        error
	}{
		{"", ".", true, nil},
		{"/", ".", true, nil},
		{"lib", "usr/lib", true, nil},
		{"/lib/x", "usr/lib/x", true, nil},
		{"lib/../file", "usr/file", false, nil},
		{"late/../lib", "usr/lib", true, nil},
		{"up/lib/x", "usr/lib/x", true, nil},
		{"abs", "usr/lib/x", true, nil},
		{"deep/l", "usr/lib/x", true, nil},
		{"../../lib", "usr/lib", true, nil},
		{"loop", "", false, syscall.ELOOP},
		{"a/x", "", false, syscall.ELOOP},
		{"file/x", "", false, syscall.ENOTDIR},
		{"viafile", "", false, syscall.ENOTDIR},
		{"file/", "", false, syscall.ENOTDIR},
		{"dangling", "no/where", false, nil},
		{"dangling/x", "no/where/x", false, nil},
		{"lib/new/dir", "usr/lib/new/dir", false, nil},
		{"new/../lib/x", "usr/lib/x", true, nil},
		{"new/dir/../../lib", "usr/lib", true, nil},
		{"new/dir/../b", "new/b", false, nil},
	} {
		t.Run(c.path, func(t *testing.T) {
			real, exists, err := tr.ResolveNew(c.path)
			if c.err != nil {
				assert.Assert(t, errors.Is(err, c.err), "%v", err)
				return
			}
			assert.NilError(t, err)
			assert.Equal(t, real, c.real)
			assert.Equal(t, exists, c.exists)
			real, n, err := tr.Resolve(c.path)
			if !c.exists || strings.HasPrefix(c.path, "new/") { // for the kernel, what is missing has no ".." either
				assert.Assert(t, errors.Is(err, fs.ErrNotExist))
				return
			}
			assert.NilError(t, err)
			assert.Equal(t, real, c.real)
			assert.Equal(t, n.Path, c.real)
		})
	}
}

func TestPasswdFollowsLinks(t *testing.T) {
	tr := New(layerOf(t, "d etc", "l etc/passwd /etc/passwd-", "f etc/passwd- root:x:0:0"))
	assert.Equal(t, string(tr.Passwd()), "root:x:0:0")
	assert.Assert(t, tr.Group() == nil)
}

func TestWalkSkipDirAndErrors(t *testing.T) {
	tr := New(layerOf(t, "d a", "f a/1 x", "d b", "f b/1 x"))
	var seen []string
	assert.NilError(t, tr.Walk(".", func(n Node) error {
		seen = append(seen, n.Path)
		if n.Path == "a" {
			return fs.SkipDir
		}
		return nil
	}))
	assert.DeepEqual(t, seen, []string{".", "a", "b", "b/1"})
	boom := errors.New("boom")
	assert.Equal(t, tr.Walk("b", func(Node) error { return boom }), boom)
	assert.Assert(t, errors.Is(tr.Walk("nope", nil), fs.ErrNotExist))
	assert.Assert(t, tr.ReadDir("a/1") == nil)
	assert.Assert(t, tr.ReadDir("nope") == nil)
}

// naive is a fold in the most obvious way: a map that every layer is applied to, entry by entry.
type naive map[string]string

func (m naive) remove(path string) {
	for p := range m {
		if p == path || strings.HasPrefix(p, path+"/") {
			delete(m, p)
		}
	}
}

func (m naive) apply(layer int, ix *index.Index) {
	files := map[string]index.Entry{}
	for e := range ix.Entries() {
		old, had := m[e.Path]
		files[e.Path] = e
		if e.Type != index.Directory || e.Opaque || had && !strings.Contains(old, ":d ") {
			m.remove(e.Path)
		}
		switch e.Type {
		case index.Whiteout:
		case index.Hardlink:
			f := files[e.Link]
			m[e.Path] = fmt.Sprintf("%d:- %s=%s %s", layer, e.Path, f.Path, f.Data)
		default:
			m[e.Path] = describe(Node{Entry: e, Layer: layer, LinkPath: e.Path})
		}
	}
}

func (m naive) text() []string {
	paths := []string{}
	for p := range m {
		paths = append(paths, p)
	}
	slices.SortFunc(paths, index.Compare)
	for i, p := range paths {
		paths[i] = m[p]
	}
	return paths
}

// randomLayer makes a strict layer of few names, so that layers collide.
func randomLayer(t testing.TB, r *rand.Rand, depth int) *index.Index {
	b := index.NewBuilder()
	var files []string
	var fill func(dir string, depth int)
	fill = func(dir string, depth int) {
		for _, name := range []string{"a", "a-", "b", "c"} {
			p := index.Join(dir, name)
			line := ""
			switch k := r.Intn(10); {
			case k < 4:
				continue
			case k < 5:
				line = "f " + p + " " + fmt.Sprint(r.Intn(1000))
				files = append(files, p)
			case k < 6:
				line = "w " + p
			case k < 7 && len(files) > 0:
				line = "h " + p + " " + files[r.Intn(len(files))]
			default:
				line = "d " + p
				if r.Intn(4) == 0 {
					line = "o " + p
				}
				if depth > 0 {
					fill(p, depth-1)
				}
			}
			assert.NilError(t, b.Add(entryOf(line)))
		}
	}
	fill(".", depth)
	ix, err := b.Build()
	assert.NilError(t, err)
	return ix
}

func TestRandomLayersFoldAsTheNaiveWayDoes(t *testing.T) {
	for seed := range int64(400) {
		r := rand.New(rand.NewSource(seed))
		tr, m := New(), naive{}
		for layer := range 1 + r.Intn(5) {
			ix := randomLayer(t, r, 3)
			tr = tr.Push(ix)
			m.apply(layer, ix)
		}
		want, got := m.text(), text(t, tr)
		assert.Assert(t, cmp.Equal(got, want), "seed %d\n%s", seed, cmp.Diff(want, got))
		for _, p := range []string{"a/b/c", "b", "c/a-/a", "a-/zz"} {
			_, ok := tr.Lookup(p)
			_, has := m[p]
			assert.Equal(t, ok, has, "seed %d %s", seed, p)
		}
	}
}

func BenchmarkLookupThrough20Layers(b *testing.B) {
	tr := New()
	for l := range 20 {
		lines := []string{"d usr", "d usr/share"}
		for i := range 1000 {
			lines = append(lines, fmt.Sprintf("f usr/share/f%d-%d x", l, i))
		}
		tr = tr.Push(layerOf(b, lines...))
	}
	b.Run("Lookup", func(b *testing.B) {
		for b.Loop() {
			if _, ok := tr.Lookup("usr/share/f0-500"); !ok {
				b.Fatal("lost")
			}
		}
	})
	b.Run("Walk", func(b *testing.B) {
		for b.Loop() {
			_ = tr.Walk(".", func(Node) error { return nil })
		}
	})
}
