package dockerfile

import (
	"strings"
	"testing"
	"unicode/utf8"

	"gotest.tools/v3/assert"
)

func parse(t *testing.T, src string) *File {
	t.Helper()
	f, err := Parse("Dockerfile", []byte(src))
	assert.NilError(t, err)
	return f
}

// last returns the last instruction of a Dockerfile.
func last(t *testing.T, src string) Instruction {
	t.Helper()
	f := parse(t, src)
	s := f.Stages[len(f.Stages)-1]
	return s.Instructions[len(s.Instructions)-1]
}

func parseError(t *testing.T, src string) *Error {
	t.Helper()
	_, err := Parse("Dockerfile", []byte(src))
	e, ok := err.(*Error)
	assert.Assert(t, ok, "%T %v", err, err)
	return e
}

func TestStages(t *testing.T) {
	f := parse(t, "ARG V=1\nFROM --platform=$BUILDPLATFORM debian:$V AS Base\nRUN a\n\n# final the real one\nFROM base\nRUN b\nRUN c\n")
	assert.Equal(t, len(f.Args), 1)
	assert.Equal(t, len(f.Stages), 2)
	s := f.Stages[0]
	assert.Equal(t, s.Name, "base")
	assert.Equal(t, s.Base, "debian:$V")
	assert.Equal(t, s.Platform, "$BUILDPLATFORM")
	assert.Equal(t, s.Range, Range{2, 2})
	assert.Equal(t, s.Original, "FROM --platform=$BUILDPLATFORM debian:$V AS Base")
	assert.Equal(t, f.Stages[1].Index, 1)
	assert.Equal(t, len(f.Stages[1].Instructions), 2)
}

// Part 1.1 of the feature list: what the text may look like.
func TestText(t *testing.T) {
	for name, src := range map[string]string{
		"byte order mark":           "\xef\xbb\xbfFROM scratch\nRUN a b",
		"CRLF":                      "FROM scratch\r\nRUN a \\\r\n b\r\n",
		"lower case":                "from scratch\nrun a b",
		"continuation":              "FROM scratch\nRUN a \\\n  b\n",
		"comment in a continuation": "FROM scratch\nRUN a \\\n# no\n b\n",
		"empty line inside":         "FROM scratch\nRUN a \\\n\n b\n",
		"escape directive":          "# escape=`\nFROM scratch\nRUN a `\n b",
		"directives and BOM":        "\xef\xbb\xbf# syntax=docker/dockerfile:1\n# escape=`\nFROM scratch\nRUN a `\n b",
	} {
		t.Run(name, func(t *testing.T) {
			r := last(t, src).(*Run)
			assert.DeepEqual(t, strings.Fields(r.Args[0]), []string{"a", "b"})
			assert.Equal(t, r.Keyword(), "RUN")
		})
	}
}

func TestDirectives(t *testing.T) {
	f := parse(t, "# syntax=docker/dockerfile:1.7@sha256:12\n# check=skip=JSONArgsRecommended,StageNameCasing;error=true\n# escape=`\nFROM scratch\n")
	assert.Equal(t, f.Syntax, "docker/dockerfile:1.7@sha256:12")
	assert.Equal(t, f.Escape, '`')
	assert.DeepEqual(t, f.Check, CheckOptions{Skip: []string{"JSONArgsRecommended", "StageNameCasing"}, Error: true})
	assert.Equal(t, len(f.Warnings), 0)

	f = parse(t, "# syntax=example.org/other:5000/x:2\nFROM scratch\n")
	assert.Equal(t, len(f.Warnings), 1)
	assert.Equal(t, f.Warnings[0].Range, Range{1, 1})

	e := parseError(t, "# syntax=other\nWHATEVER\n")
	assert.Equal(t, e.Hint, "the file is written for the syntax image other, which is not run here")

	f = parse(t, "FROM scratch\n# escape=`\nRUN a \\\n b")
	assert.Equal(t, f.Escape, '\\')
}

func TestParseErrors(t *testing.T) {
	tests := map[string]struct {
		src, msg, hint string
		line           int
	}{
		"unknown instruction":  {"FROM x\nRUNN y", "unknown instruction: RUNN", "did you mean RUN?", 2},
		"tie is alphabetical":  {"FROM x\nADR y", "unknown instruction: ADR", "did you mean ADD?", 2},
		"nothing like it":      {"FROM x\nFROBNICATE y", "unknown instruction: FROBNICATE", "", 2},
		"lower case":           {"from x\ncoppy a b", "unknown instruction: coppy", "did you mean copy?", 2},
		"unknown flag":         {"FROM x\nRUN --mont=type=cache y", "unknown flag: --mont", "did you mean --mount?", 2},
		"duplicate flag":       {"FROM x\nCOPY --chown=1 --chown=2 a b", "duplicate flag specified: --chown", "", 2},
		"no value":             {"FROM x\nCOPY --chown a b", "missing a value on flag: --chown", "", 2},
		"not a bool":           {"FROM x\nCOPY --link=maybe a b", "expecting boolean value for flag --link, not: maybe", "", 2},
		"before FROM":          {"RUN y\nFROM x", "no build stage in current context", "start the file with a FROM; only ARG may stand before it", 1},
		"only ARG":             {"ARG x", "the Dockerfile has no FROM", "", 0},
		"empty":                {"\n \n", "the Dockerfile is empty", "", 0},
		"only comments":        {"# a\n# b", "file with no instructions", "", 2},
		"stage name":           {"FROM x AS 1a", `invalid name for build stage: "1a", name can't start with a number or contain symbols`, "", 1},
		"FROM with two":        {"FROM x AS", "FROM requires either one or three arguments", "", 1},
		"heredoc without end":  {"FROM x\nRUN <<EOF\na\n", "unterminated heredoc", "", 2},
		"heredoc destination":  {"FROM x\nCOPY a <<EOF\nEOF", "COPY cannot accept a heredoc as a destination", "", 2},
		"variable in --from":   {"FROM x\nCOPY --from=$a b c", errFromVariable.Error(), "", 2},
		"variable in from":     {"FROM x\nRUN --mount=from=$a,target=/x true", "'from' doesn't support variable expansion, define alias stage instead", "", 2},
		"network":              {"FROM x\nRUN --network=sometimes y", `invalid network mode "sometimes"`, "", 2},
		"security":             {"FROM x\nRUN --security=lax y", `security "lax" is not valid`, "", 2},
		"ONBUILD ONBUILD":      {"FROM x\nONBUILD ONBUILD RUN y", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", "", 2},
		"ONBUILD FROM":         {"FROM x\nONBUILD FROM y", "FROM isn't allowed as an ONBUILD trigger", "", 2},
		"ONBUILD MAINTAINER":   {"FROM x\nONBUILD maintainer y", "MAINTAINER isn't allowed as an ONBUILD trigger", "", 2},
		"SHELL form":           {"FROM x\nSHELL bash", "SHELL requires the arguments to be in JSON form", "", 2},
		"retries":              {"FROM x\nHEALTHCHECK --retries=-1 CMD y", "--retries cannot be negative (-1)", "", 2},
		"interval":             {"FROM x\nHEALTHCHECK --interval=1us CMD y", `Interval "interval" cannot be less than 1ms`, "", 2},
		"NONE with arguments":  {"FROM x\nHEALTHCHECK NONE y", "HEALTHCHECK NONE takes no arguments", "", 2},
		"exec form of numbers": {"FROM x\nCMD [1]", "when using JSON array syntax, arrays must be comprised of strings only", "", 2},
		"escape":               {"# syntax=a\n# escape=x\nFROM x", `invalid escape character "x": it must be a backslash or a backtick`, "", 2},
		"directive twice":      {"# escape=`\n# escape=`\nFROM x", "only one escape parser directive can be used", "", 2},
		"check":                {"# check=skip\nFROM x", `parse check options: invalid check option "skip"`, "", 1},
		"long line":            {"FROM x\nRUN " + strings.Repeat("y", 70000), "line has 70004 bytes, more than the allowed 65535", "", 2},
		"several lines":        {"FROM x\n\nCOPY \\\n a\n", "COPY requires at least two arguments, but only one was provided. Destination could not be determined", "", 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e := parseError(t, tt.src)
			assert.Assert(t, strings.HasPrefix(e.Msg, tt.msg), "%s", e.Msg)
			assert.Equal(t, e.Hint, tt.hint)
			assert.Equal(t, e.Line(), tt.line)
			assert.Equal(t, e.File, "Dockerfile")
		})
	}
}

func TestExcerpt(t *testing.T) {
	e := parseError(t, "FROM x\nRUN a\nRUN b\nCOPY \\\n  c\nRUN d\nRUN e\nRUN f\n")
	assert.Equal(t, e.Error(), "Dockerfile:4: "+e.Msg)
	assert.Equal(t, e.Excerpt(), `--------------------
   3 |     RUN b
   4 | >>> COPY \
   5 | >>>   c
   6 |     RUN d
--------------------
`)
	assert.Equal(t, Excerpt([]byte("a\r\nb\r\nc\nd\ne\nf\n"), []Range{{1, 1}}), `--------------------
   1 | >>> a
   2 |     b
   3 |     c
--------------------
`)
	assert.Equal(t, Excerpt([]byte("a\n"), []Range{{2, 2}}), "")
	assert.Equal(t, Excerpt([]byte("a\n"), nil), "")

	// The middle of a long range and the end of a long line are left out.
	src := "FROM x\nRUN <<EOF\n" + strings.Repeat("echo\n", 60) + "last\nEOF\nCMD x\n"
	assert.Equal(t, Excerpt([]byte(src), []Range{{2, 64}}), `--------------------
   1 |     FROM x
   2 | >>> RUN <<EOF
   3 | >>> echo
   4 | >>> echo
   5 | >>> echo
   6 | >>> echo
   7 | >>> echo
   8 | >>> echo
 ... | ... 54 more lines
  63 | >>> last
  64 | >>> EOF
  65 |     CMD x
--------------------
`)
	assert.Equal(t, strings.Count(Excerpt([]byte(src), []Range{{2, 12}}), "\n"), 14)
	wide := Excerpt([]byte("RUN "+strings.Repeat("ä", 1000)), []Range{{1, 1}})
	assert.Assert(t, strings.HasSuffix(wide, "ä…\n--------------------\n") && utf8.RuneCountInString(wide) < 300, "%s", wide)
}

func TestInstructions(t *testing.T) {
	assert.DeepEqual(t, last(t, `FROM x
ENV a=1 "b c"=d e='f g'`).(*Env).Pairs, []KeyValue{{"a", "1"}, {`"b c"`, "d"}, {"e", "'f g'"}})
	assert.DeepEqual(t, last(t, "FROM x\nENV a b c").(*Env).Pairs, []KeyValue{{"a", "b c"}})
	assert.DeepEqual(t, last(t, `FROM x
CMD ["a", "b"]`).(*Cmd).Command, Command{Args: []string{"a", "b"}})
	assert.DeepEqual(t, last(t, `FROM x
CMD ["a" , 'b']`).(*Cmd).Command, Command{Args: []string{`["a" , 'b']`}, Shell: true})
	assert.DeepEqual(t, last(t, "FROM x\nENTRYPOINT []").(*Entrypoint).Command, Command{})
	assert.DeepEqual(t, last(t, "FROM x\nVOLUME /a /b").(*Volume).Paths, []string{"/a", "/b"})
	assert.DeepEqual(t, last(t, "FROM x\nEXPOSE 80 2/udp").(*Expose).Ports, []string{"2/udp", "80"})
	assert.DeepEqual(t, last(t, `FROM x
SHELL ["bash", "-c"]`).(*Shell).Args, []string{"bash", "-c"})
	assert.Equal(t, last(t, "FROM x\nMAINTAINER me <a@b>").(*Maintainer).Name, "me <a@b>")

	c := last(t, "FROM x\nCOPY --from=y --chown=1:2 --chmod=u=rwX --link --parents --exclude=a --exclude=b s1 s2 d/").(*Copy)
	assert.DeepEqual(t, []string{c.From, c.Chown, c.Chmod, c.Dest}, []string{"y", "1:2", "u=rwX", "d/"})
	assert.Assert(t, c.Link && c.Parents && !c.Add)
	assert.DeepEqual(t, c.Exclude, []string{"a", "b"})
	assert.DeepEqual(t, c.Sources, []string{"s1", "s2"})

	a := last(t, "FROM x\nADD --checksum=sha256:1 --keep-git-dir --unpack=false https://a/b /").(*Copy)
	assert.Assert(t, a.Add && *a.KeepGitDir && !*a.Unpack)
	assert.Equal(t, a.Checksum, "sha256:1")
	assert.Equal(t, a.Keyword(), "ADD")

	h := last(t, "FROM x\nHEALTHCHECK --interval=5s --start-interval=1s --retries=2 CMD curl x").(*Healthcheck)
	assert.DeepEqual(t, h.Test, []string{"CMD-SHELL", "curl x"})
	assert.Equal(t, h.Interval.String()+h.StartInterval.String(), "5s1s")
	assert.Equal(t, h.Retries, 2)

	r := last(t, "FROM x\nRUN --network=none --security=insecure --device=vendor.com/a=b -- --x y").(*Run)
	assert.DeepEqual(t, r.Flags, []string{"device", "network", "security"})
	assert.DeepEqual(t, []string{string(r.Network), string(r.Security), r.Args[0]}, []string{"none", "insecure", "--x y"})
	assert.DeepEqual(t, r.Devices, []Device{{Name: "vendor.com/a=b"}})

	g := last(t, "FROM x\n# V the version\nARG V=1 W X=").(*Arg)
	assert.Equal(t, *g.Defs[0].Default+g.Defs[0].Comment, "1the version")
	assert.Assert(t, g.Defs[1].Default == nil)
	assert.Equal(t, *g.Defs[2].Default, "")
}

func TestHeredocs(t *testing.T) {
	r := last(t, "FROM x\nCOPY <<a <<-\"b\" plain /d/\n\n $x\na\n\t\t1\n\t2 \n\tb\nRUN true").(*Run)
	assert.Equal(t, r.Range(), Range{9, 9})
	f := parse(t, "FROM x\nCOPY <<a <<-\"b\" plain /d/\n\n $x\na\n\t\t1\n\t2 \n\tb\n")
	cp := f.Stages[0].Instructions[0].(*Copy)
	assert.DeepEqual(t, cp.Heredocs, []Heredoc{
		{Name: "a", Content: "\n $x\n", Expand: true},
		{Name: "b", Content: "1\n2 \n"},
	})
	assert.DeepEqual(t, cp.Sources, []string{"plain"})
	assert.Equal(t, cp.Range(), Range{2, 8})
	assert.Equal(t, cp.String(), "COPY <<a <<-\"b\" plain /d/")
}

// Row 116: stage names.
func TestStageLookup(t *testing.T) {
	f := parse(t, "FROM a AS x\nFROM x\nFROM b AS X\nFROM c\n")
	s, ok := f.Stage("X", 1)
	assert.Assert(t, ok && s.Index == 0)
	_, ok = f.Stage("x", 0)
	assert.Assert(t, !ok)
	s, _ = f.FromStage("x")
	assert.Equal(t, s.Index, 2)
	s, _ = f.FromStage("1")
	assert.Equal(t, s.Index, 1)
	_, ok = f.FromStage("4")
	assert.Assert(t, !ok)
	_, ok = f.FromStage("")
	assert.Assert(t, !ok)

	s, err := f.Target("")
	assert.NilError(t, err)
	assert.Equal(t, s.Index, 3)
	_, err = parse(t, "FROM a AS build\nFROM b").Target("biuld")
	assert.Equal(t, err.(*Error).Hint, "did you mean build?")
	_, err = parse(t, "FROM a AS build\nFROM b AS base").Target("zzzzz")
	assert.Equal(t, err.(*Error).Hint, "there are build, base")
	s, err = f.Target("2")
	assert.NilError(t, err)
	assert.Equal(t, s.Index, 2)
	_, err = f.Target("4")
	assert.ErrorContains(t, err, "could not be found")
}

// Row 109: triggers.
func TestOnBuild(t *testing.T) {
	o := last(t, "FROM x\nONBUILD COPY --from=y <<a <<b /\n$x\na\n2\nb\n").(*OnBuild)
	i, err := ParseOnBuild(o.Expression)
	assert.NilError(t, err)
	assert.Equal(t, i.(*Copy).From, "y")
	assert.DeepEqual(t, i.(*Copy).Heredocs, []Heredoc{{Name: "a", Content: "$x\n", Expand: true}, {Name: "b", Content: "2\n", Expand: true}})
	assert.Assert(t, i.Range().IsZero())

	f := parse(t, "FROM x\n\nFROM y\n")
	i, err = f.ParseOnBuild("RUN $a", f.Stages[1].Range)
	assert.NilError(t, err)
	assert.Equal(t, i.Range(), Range{3, 3})
	i, err = f.ParseOnBuild("USER ${a:?no}", f.Stages[1].Range)
	assert.NilError(t, err)
	_, _, err = expandInstruction(i, NewLex('\\'), Vars{})
	assert.Equal(t, err.(*Error).Line(), 3)
	assert.Equal(t, err.(*Error).File, "Dockerfile")

	for _, bad := range []string{"", "RUNN x", "RUN a\nRUN b", "FROM x", "ONBUILD RUN x"} {
		_, err := f.ParseOnBuild(bad, f.Stages[1].Range)
		e, ok := err.(*Error)
		assert.Assert(t, ok, bad)
		assert.Equal(t, e.Line(), 3, bad)
		assert.Assert(t, strings.HasPrefix(e.Msg, "parse ONBUILD trigger"), e.Msg)
	}
}
