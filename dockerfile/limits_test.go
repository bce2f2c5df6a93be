package dockerfile

import (
	"fmt"
	"strings"
	"testing"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gotest.tools/v3/assert"
)

// scratchScope is the scope of a file's stage on scratch, before its instructions.
func scratchScope(f *File) (Scope, error) {
	p := ispec.Platform{OS: "linux", Architecture: "amd64"}
	args, err := f.Arguments(p, p, "", Vars{})
	return NewScope(f, args, Scratch(p)), err
}

// evaluate applies all instructions of the last stage one after the other, as a build does.
func evaluate(f *File) error {
	s, err := scratchScope(f)
	if err != nil {
		return err
	}
	for _, i := range f.Stages[len(f.Stages)-1].Instructions {
		s.DisplayName(i)
		if s, _, err = s.Apply(i); err != nil {
			return err
		}
	}
	return nil
}

func doubling(keyword string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s V0=xxxxxxxx\n", keyword)
	for n := range 20 { // 8 MiB in the end
		fmt.Fprintf(&b, "%s V%d=$V%d$V%d\n", keyword, n+1, n, n)
	}
	return b.String()
}

func TestVariablesThatDoubleThemselvesAreBounded(t *testing.T) {
	// 2^3 bytes at first, 2^20 in V17, which uses two of 2^19; V18 would use two of 2^20.
	for name, tt := range map[string]struct {
		src  string
		line int
	}{
		"ENV":        {"FROM scratch\n" + doubling("ENV"), 20},
		"ARG":        {"FROM scratch\n" + doubling("ARG"), 20},
		"global ARG": {doubling("ARG") + "FROM scratch\n", 19},
		"one ARG":    {"FROM scratch\n" + strings.ReplaceAll(strings.TrimSpace(strings.ReplaceAll(doubling("ARG"), "\nARG", " ")), "\n", " "), 2},
		"label":      {"FROM scratch\n" + doubling("ENV")[:strings.Index(doubling("ENV"), "ENV V18")] + "LABEL a=$V17 b=$V17$V17\n", 20},
		"heredoc":    {"FROM scratch\n" + doubling("ENV")[:strings.Index(doubling("ENV"), "ENV V18")] + "COPY <<a /\n$V17$V17\na\n", 20},
		"the whole":  {"FROM scratch\n" + doubling("ENV")[:strings.Index(doubling("ENV"), "ENV V18")] + strings.Repeat("ENV w=$V17\n", 100), 82},
	} {
		t.Run(name, func(t *testing.T) {
			err := evaluate(parse(t, tt.src))
			e, ok := err.(*Error)
			assert.Assert(t, ok, "%v", err)
			assert.Assert(t, strings.Contains(e.Msg, "expand to more than"), e.Msg)
			assert.Assert(t, strings.Contains(e.Hint, "in a file"), e.Hint)
			assert.Equal(t, e.Line(), tt.line, e.Msg)
		})
	}
}

func TestWhatIsShownIsBounded(t *testing.T) {
	env := NewVars([]string{"v=" + strings.Repeat("x", maxMadeForShow)})
	for src, want := range map[string]string{
		"RUN a $v $v": "RUN a $v $v", "USER $v$v": "USER $v$v", "RUN $v": "RUN " + strings.Repeat("x", maxMadeForShow),
	} {
		assert.Equal(t, Scope{lex: NewLex('\\'), Env: env}.DisplayName(last(t, "FROM scratch\n"+src)), want)
	}
}

func TestPatternsAreBounded(t *testing.T) {
	large := strings.Repeat("a", 100_000)
	for word, value := range map[string]string{
		"${v//a/" + large + "}":                         large, // 10 GB
		"${v//a/${v//a/${v//a/aaaaaaaa}}}":              large[:10_000],
		"${v//*/" + strings.Repeat(`\$0`, 10_000) + "}": large, // $0 is what was found
		"${v%%" + strings.Repeat("*a", 10_000) + "b}":   large, // 10^9 steps
		"${v#" + strings.Repeat("?", 50_000) + "}":      "x",
		"${u:-" + strings.Repeat("${v/a/b}", 10) + "b}": strings.Repeat("a", 200_000),
	} {
		_, _, err := NewLex('\\').Word(word, NewVars([]string{"v=" + value}))
		assert.Assert(t, limited(err), "%s: %v", word[:10], err)
	}
	l := NewLex('\\')
	var err error
	for n := 0; n < 1000 && err == nil; n++ {
		_, _, err = l.Word("${v%%"+strings.Repeat("*a", 10)+"b}", NewVars([]string{"v=" + large}))
	}
	assert.Assert(t, limited(err), "%v", err)

	got, _, err := NewLex('\\').Word("${v//a/bb}", NewVars([]string{"v=" + large})) // what is used is let through
	assert.NilError(t, err)
	assert.Equal(t, len(got), 200_000)
}

func TestBracesAreNestedBoundedly(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("${u:-", n) + "x" + strings.Repeat("}", n) }
	got, _, err := NewLex('\\').Word(nested(maxNesting), Vars{})
	assert.NilError(t, err)
	assert.Equal(t, got, "x")
	_, _, err = NewLex('\\').Word(nested(maxNesting+1), Vars{})
	assert.Assert(t, limited(err), "%v", err)
}

// The parser itself makes much of little, and calls itself for what is nested: a file of 14 MB overflows the stack.
func TestDockerfilesAreBounded(t *testing.T) {
	many := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for name, tt := range map[string]struct {
		src, want string
		line      int
	}{
		"lines":                    {"FROM a\n" + strings.Repeat("a\n", maxLines), "more than 200000 lines", maxLines + 1},
		"instructions":             {"FROM a\n" + strings.Repeat("USER a\n", maxInstructions), "more than 10000 instructions", maxInstructions + 1},
		"stages":                   {strings.Repeat("FROM a\n", maxInstructions+1), "more than 10000 instructions", maxInstructions + 1},
		"variables":                {"FROM a\nENV" + many(" \\\na%d=b", maxInstructions-2) + "\nUSER a\nUSER a\n", "more than 10000 instructions", maxInstructions + 2},
		"arguments":                {"ARG" + many(" \\\na%d", maxInstructions) + "\nFROM a", "more than 10000 instructions", maxInstructions + 2},
		"mounts":                   {"FROM a\nRUN " + many("--mount=target=/%d \\\n", maxInstructions) + "b\n", "more than 10000 instructions", 2},
		"an instruction":           {"FROM a\nUSER b\nRUN b" + strings.Repeat(" \\\n# c\n\n"+strings.Repeat("b", 100), maxInstruction/100) + "\n", "longer than 1048576 bytes", 3},
		"braces in a heredoc word": {"FROM a\nCOPY <<" + strings.Repeat("${a:-\\\n", maxBraces+1) + "\n", "more than 20000 ${", 2},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("D", []byte(tt.src))
			e, ok := err.(*Error)
			assert.Assert(t, ok, "%v", err)
			assert.Assert(t, strings.Contains(e.Msg, tt.want), e.Msg)
			assert.Equal(t, e.Line(), tt.line)
			assert.Assert(t, len(e.Excerpt()) < 1<<20)
		})
	}
	_, err := ParseOnBuild("RUN b" + strings.Repeat(" \\\n"+strings.Repeat("b", 100), maxInstruction/100))
	assert.ErrorContains(t, err, "longer than 1048576 bytes")
	assert.Assert(t, len(err.Error()) < 1000)

	parse(t, "FROM a\n"+strings.Repeat("USER a\n", maxInstructions-1))
	parse(t, "FROM a\nCOPY <<a /\n"+strings.Repeat("b\\\n\n", 10_000)+"a\n")
}

func TestPortsAreBounded(t *testing.T) {
	_, _, err := expandInstruction(last(t, "FROM a\nEXPOSE 1-65535 1-65535/udp 1-65535/sctp"), NewLex('\\'), Vars{})
	assert.NilError(t, err)
	_, _, err = expandInstruction(last(t, "FROM a\nEXPOSE"+strings.Repeat(" 1-65535", 4)), NewLex('\\'), Vars{})
	assert.ErrorContains(t, err, "more than 196608 ports")
	assert.Equal(t, err.(*Error).Line(), 2)
	assert.ErrorContains(t, evaluate(parse(t, "FROM a\n"+strings.Repeat("EXPOSE 1-65535\n", 200))), "in all")
}
