package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const contributingMD = "CONTRIBUTING.md"

// overLimits are the only places where a limit does not hold, each with its reason: "file what". A reason that begins
// with "until" is for what is about to change; such a line may be there although nothing needs it any more.
var overLimits = map[string]string{
	"dockerfile/instructions.go fields in Copy":           "until the words of issue 9 are in",
	"dockerfile/instructions.go fields in Mount":          "until the words of issue 9 are in",
	"internal/bundle/bundle_test.go lines":                "until it is split",
	"internal/copier/copier_test.go lines":                "until it is split",
	"internal/copier/metadata_test.go lines":              "until it is split",
	"internal/doctor/machine.go fields in Machine":        "until what a machine allows is one value",
	"internal/engine/engine.go lines":                     "until the engine is taken apart",
	"internal/engine/engine.go fields in engine":          "until the engine is taken apart",
	"internal/engine/event.go fields in Event":            "until the engine is taken apart",
	"internal/engine/project.go fields in project":        "until the engine is taken apart",
	"internal/engine/materialise.go packAndExtract":       "until the engine is taken apart",
	"internal/resolve/kernel_test.go same":                "until it takes a value",
	"sandbox/internal/emulate/maps.go fields in mapQuery": "a structure of the kernel",
	"oci/layer/pack.go Pack":                              "until its callers in engine and store stand still",
	"sandbox/spec.go fields in Spec":                      "until limits are one value",

	"oci/index/entry.go fields in Entry":                          "a tar header's fields, and where the bytes are",
	"sandbox/internal/emulate/abi_amd64.go i386":                  "a table of system calls",
	"sandbox/internal/emulate/supervisor.go fields in supervisor": "until the supervisor is hardened",
	"sandbox/internal/wire/wire.go fields in Spec":                "until limits are one value",
}

// narrowDirs are the directories whose lines are checked; all are when it is empty. It lists those that were wrapped
// first.
var narrowDirs = []string{
	".", "examples", "examples/site", "tools", "tools/seccomp-profile", "tools/unused",
}

// limits are the numbers in the ```limits block of CONTRIBUTING.md, by what they limit.
func limits(t *testing.T) map[string]int {
	t.Helper()
	limit := make(map[string]int)
	for _, line := range readBlock(t, contributingMD, "limits") {
		i := strings.LastIndexByte(line, ' ')
		n, err := strconv.Atoi(line[i+1:])
		if err != nil || n <= 0 {
			t.Fatalf("%s: %q has no number at its end", contributingMD, line)
		}
		limit[strings.TrimSpace(line[:i])] = n
	}
	return limit
}

// sizes collects what is over its limit.
type sizes struct {
	t     *testing.T
	limit map[string]int
	over  map[string]bool // by "file what", as in overLimits
}

func (s *sizes) check(kind string, n int, file, what string) {
	limit, ok := s.limit[kind]
	if !ok {
		s.t.Fatalf("%s has no limit for %q", contributingMD, kind)
	}
	if n <= limit {
		return
	}
	name := file + " " + what
	s.over[name] = true
	if overLimits[name] == "" {
		s.t.Errorf("%s: %d %s (limit %d)", name, n, kind, limit)
	}
}

// TestLimits holds every Go file, tests as well, to the numbers of CONTRIBUTING.md.
func TestLimits(t *testing.T) {
	s := &sizes{t: t, limit: limits(t), over: make(map[string]bool)}
	for _, f := range allFiles(t) {
		if !ast.IsGenerated(f.syntax) {
			s.check("lines in a file", len(f.lines), f.path, "lines")
			s.declarations(f)
		}
	}
	for name, reason := range overLimits {
		if !s.over[name] && !strings.HasPrefix(reason, "until ") {
			t.Errorf("%s is within the limit; take it out of overLimits", name)
		}
	}
}

func (s *sizes) declarations(f goFile) {
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			kind := "lines in a function"
			if strings.HasSuffix(f.path, "_test.go") {
				kind = "lines in a function of a test"
			}
			s.check(kind, f.line(n.End())-f.line(n.Pos())+1, f.path, n.Name.Name)
			s.check("parameters", n.Type.Params.NumFields(), f.path, n.Name.Name)
		case *ast.TypeSpec:
			switch def := n.Type.(type) {
			case *ast.StructType:
				s.check("fields in a struct", def.Fields.NumFields(), f.path, "fields in "+n.Name.Name)
			case *ast.InterfaceType:
				s.check("methods in an interface", def.Methods.NumFields(), f.path, "methods of "+n.Name.Name)
			}
		}
		return true
	})
}

func (f goFile) line(p token.Pos) int { return f.fset.Position(p).Line }

// TestColumns holds lines of Go and shell to a width. A tab counts four. Generated files may be wider, and so may what
// stands in a raw string over several lines, because there a line break would be part of the value.
func TestColumns(t *testing.T) {
	limit := limits(t)["columns in a line"]
	report := func(file string, line int, text string) {
		if len(narrowDirs) == 0 || slices.Contains(narrowDirs, path.Dir(file)) {
			t.Errorf("%s:%d is %d columns wide (limit %d)", file, line, columns(text), limit)
		}
	}
	for _, f := range allFiles(t) {
		if ast.IsGenerated(f.syntax) {
			continue
		}
		raw := f.rawLines()
		for i, text := range f.lines {
			if columns(text) > limit && !raw[i+1] {
				report(f.path, i+1, text)
			}
		}
	}
	for _, file := range scripts(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if columns(line) > limit {
				report(file, i+1, line)
			}
		}
	}
}

func columns(line string) int {
	n := 0
	for _, r := range line {
		n++
		if r == '\t' {
			n += 3
		}
	}
	return n
}

// rawLines are the lines that a raw string of several lines covers, but for its first.
func (f goFile) rawLines() map[int]bool {
	lines := make(map[int]bool)
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			for i := f.line(lit.Pos()) + 1; i <= f.line(lit.End()); i++ {
				lines[i] = true
			}
		}
		return true
	})
	return lines
}

func scripts(t *testing.T) []string {
	t.Helper()
	files := []string{"Makefile", ".ci/run"}
	for _, pattern := range []string{"*/*.sh", "*/*/*.sh"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 5 {
		t.Fatal(fmt.Sprintf("found only %q", files))
	}
	return files
}
