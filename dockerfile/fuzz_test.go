package dockerfile

import (
	"testing"
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

// FuzzWord checks that no word makes a panic and that a word without anything special stays as it is.
func FuzzWord(f *testing.F) {
	for _, seed := range []string{"$a", "${a:-${b%%x*}}", `"a\"$b'`, "'$a'", "${a//\\*/y}", "${a##*/}b", "<<a $1$@", "${c/[/]}", "\\"} {
		f.Add(seed, "value/of/a")
	}
	f.Fuzz(func(t *testing.T, word, value string) {
		env := NewVars([]string{"a=" + value, "b=x*", "c="})
		for _, escape := range []rune{'\\', '`'} {
			l := NewLex(escape)
			got, _, err := l.Word(word, env)
			if err == nil && plain(word) && got != word {
				t.Errorf("%q became %q", word, got)
			}
			_, _ = l.Words(word, env)
			_, _ = text(word, env)
			_, _ = l.display(word, env)
		}
	})
}

func plain(word string) bool {
	for _, r := range word {
		if (r < 'a' || 'z' < r) && (r < '0' || '9' < r) && r != '/' && r != ' ' {
			return false
		}
	}
	return true
}
