package dockerfile

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// FuzzParse checks that no Dockerfile makes a panic, that every error is an *Error inside the file, and that what was parsed
// can be expanded, linted, outlined and named.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"FROM scratch\n",
		"# syntax=docker/dockerfile:1\n# escape=`\n# check=skip=all\nFROM x AS y\nRUN a `\n b\n",
		"\xef\xbb\xbfARG V=1\r\nFROM --platform=$BUILDPLATFORM x:${V%.*}\r\nCOPY --from=0 --chmod=u=rwX <<a <<-'b' $c /\r\n$d\r\na\r\n\tb\r\n",
		"FROM x\nRUN --mount=type=cache,target=$a --mount=type=secret,id=b,env=C <<EOF\n#!/bin/sh\nEOF\nEXPOSE 1-3/udp [::1]:2:3\n",
		"FROM x as y\nONBUILD COPY <<a /\nb\na\nFROM y\nHEALTHCHECK --interval=1s CMD [\"a\"]\nSTOPSIGNAL RTMIN+1\nADD https://h/r.git?ref=a#b:c /\n",
		"FROM x\nENV a b\nLABEL \"a b\"='c' d=$e\nSHELL [\"a\"]\nCMD a\nVOLUME [\"/a\"]\nUSER a:b\nWORKDIR a\nMAINTAINER a\n# check=a\nARG b=${c:?d}\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		file, err := Parse("Dockerfile", src)
		if err != nil {
			err.(*Error).Excerpt()
			return
		}
		env := NewVars([]string{"a=1", "c=*"})
		for _, s := range file.Stages {
			for _, i := range s.Instructions {
				expanded, _, err := expandInstruction(i, NewLex(file.Escape), env)
				if err != nil {
					err.(*Error).Excerpt()
					continue
				}
				if scopeOf(file, env).DisplayName(expanded) == "" {
					t.Errorf("%q has no name", i)
				}
				use(expanded)
			}
		}
		Check(file, LintOptions{Base: known})
		Targets(file)
		_, _ = NewOutline(file, LintOptions{})
	})
}

// use calls what else an instruction can do.
func use(i Instruction) {
	history(i)
	switch i := i.(type) {
	case *Run:
		if s, err := i.Script(nil); err == nil {
			i.History(s, nil, Vars{})
		}
		for _, m := range i.Mounts {
			_, _ = m.Resolved("/w")
		}
	case *OnBuild:
		_, _ = ParseOnBuild(i.Expression)
	}
}

// FuzzWord checks that no word makes a panic, that words expand to what BuildKit makes of them, and that none expands to more than
// it may.
func FuzzWord(f *testing.F) {
	for _, seed := range []string{
		"$a", "${a:-${b%%x*}}", `"a\"$b'`, "'$a'", "${a//\\*/y}", "${a##*/}b", "<<a $1$@", "${c/[/]}", "\\", "${a//?/$0$0}", "${a/${b}/\\/}",
		"${d#\"\\*'\\'\"}", "a ${a} \"b c\"d' e' <<  f", "${d+x}${d:+y}${c:?}${d:?z}", "${a%'*'}${a%\"?\"}", "`$a${b%`}}",
	} {
		f.Add(seed, "value/of/a")
	}
	f.Fuzz(func(t *testing.T, word, value string) {
		env := NewVars([]string{"a=" + value, "b=x*", "c=", "_=a b  c"})
		for _, escape := range []rune{'\\', '`'} {
			l := NewLex(escape)
			compare(t, word, env, shell.NewLex(escape), func() (Expansion, error) { return l.Expand(word, env) })
			display := shell.NewLex(escape)
			display.RawQuotes, display.RawEscapes, display.SkipUnsetEnv = true, true, true
			compare(t, word, env, display, func() (Expansion, error) { return l.display(word, env) })
			text := shell.NewLex('\\')
			text.SkipProcessQuotes = true
			compare(t, word, env, text, func() (Expansion, error) { return l.text(word, env) })
			words, err := l.Words(word, env)
			theirs, terr := shell.NewLex(escape).ProcessWords(word, env)
			if !limited(err) && (err == nil) != (terr == nil) {
				t.Errorf("%q: %v, BuildKit: %v", word, err, terr)
			}
			if err == nil && !strings.Contains(word, "${") && !slices.Equal(words, theirs) { // BuildKit forgets what stands before ${a-}
				t.Errorf("%q is %q, BuildKit: %q", word, words, theirs)
			}
		}
	})
}

func compare(t *testing.T, word string, env Vars, lex *shell.Lex, expand func() (Expansion, error)) {
	got, err := expand()
	if limited(err) {
		return
	}
	want, werr := lex.ProcessWordWithMatches(word, env)
	switch {
	case (err == nil) != (werr == nil):
		t.Errorf("%q: %v, BuildKit: %v", word, err, werr)
	case err != nil:
	case got.Text != want.Result:
		t.Errorf("%q is %q, BuildKit: %q", word, got.Text, want.Result)
	case !slices.Equal(got.Used, slices.Sorted(maps.Keys(want.Matched))) || !slices.Equal(got.Undefined, slices.Sorted(maps.Keys(want.Unmatched))):
		t.Errorf("%q uses %q and %q, BuildKit: %q and %q", word, got.Used, got.Undefined, want.Matched, want.Unmatched)
	case len(got.Text) > 3*len(word)+maxMade:
		t.Errorf("%q expands to %d bytes", word, len(got.Text))
	}
}

func limited(err error) bool {
	_, ok := errors.AsType[*LimitError](err)
	return ok
}
