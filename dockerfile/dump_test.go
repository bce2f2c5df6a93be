package dockerfile

import (
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"
)

func TestDump(t *testing.T) {
	var b strings.Builder
	f := parse(t, "# escape=`\nARG V=1\nFROM x:$V AS Y\nUSER $u\nEXPOSE 80-81\nRUN <<E\na\nE\nONBUILD RUN b\n")
	assert.NilError(t, f.Dump(&b))
	assert.Equal(t, b.String(), "file Dockerfile escape=` syntax=\"\"\n"+
		`2   ARG {"Defs":[{"Name":"V","Default":"1","Comment":""}]}
3 stage 0 name="y" base="x:$V" platform=""
4   USER {"User":"$u"}
5   EXPOSE {"Ports":["80-81"]}
6-8   RUN {"Args":["\u003c\u003cE"],"Shell":true,"Heredocs":[{"Name":"E","Content":"a\n","Expand":false,"Chomp":false}],"Mounts":null,"Network":"default","Security":"sandbox","Devices":null,"Flags":null}
9   ONBUILD {"Expression":"RUN b"}
`)
}

// A parsed file is used by several goroutines at once: meaningful with -race.
func TestConcurrentUse(t *testing.T) {
	f := parse(t, "FROM x\nCOPY $a <<b /\n$a\nb\nRUN --mount=type=cache,target=/$a true\nEXPOSE $a\nENV a=$a\n")
	lex := NewLex(f.Escape)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, i := range f.Stages[0].Instructions {
				_, _, err := expandInstruction(i, lex, NewVars([]string{"a=1"}))
				assert.Check(t, err)
			}
			Lint(f, LintOptions{})
		})
	}
	wg.Wait()
}
