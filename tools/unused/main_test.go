package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestUnused(t *testing.T) {
	out, err := exec.Command("go", "run", ".", "-C", "testdata/module").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var got []string
	for line := range strings.Lines(string(out)) {
		what, _, _ := strings.Cut(line, " (")
		got = append(got, what)
	}
	want := []string{
		"nowhere: nothing uses this constant",
		"thing.never: nothing sets this field",
		"part.lonely: nothing uses this field",
		"thing.idle: nothing calls this method",
		"generic.forgotten: nothing calls this method",
		"speaker.shout: nothing calls this method of an interface",
		"onlyTests: nothing calls this function",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
