package main

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	modulePath     = "github.com/cairnbuild/cairn"
	maxFileLines   = 700
	maxFuncLines   = 100
	maxParams      = 6
	maxIfaceSize   = 5
	architectureMD = "docs/architecture.md"
)

// forbiddenNames are package names that say nothing about what is inside.
var forbiddenNames = regexp.MustCompile(`^(utils?|common|helpers?|misc|shared|types|define|base|lib)$`)

// goFile is one non-test source file of the module.
type goFile struct {
	path, pkgDir string
	lines        int
	syntax       *ast.File
	fset         *token.FileSet
}

// rule allows the packages of one directory pattern to import others.
type rule struct{ who, whom []string }

func TestImports(t *testing.T) {
	rules := readRules(t, "imports")
	for _, f := range sources(t) {
		if f.pkgDir == "tests" || strings.HasPrefix(f.pkgDir, "tests/") || strings.HasPrefix(f.pkgDir, "examples/") {
			continue // these see cairn from outside only
		}
		for _, imp := range importsOf(t, f) {
			local, ok := strings.CutPrefix(imp, modulePath+"/")
			if !ok || local == f.pkgDir {
				continue
			}
			if !allowed(rules, f.pkgDir, local) {
				t.Errorf("%s: %s must not import %s (see %s)", f.path, f.pkgDir, local, architectureMD)
			}
		}
	}
}

func TestPackagesAreListed(t *testing.T) {
	text, err := os.ReadFile(architectureMD)
	if err != nil {
		t.Fatal(err)
	}
	_, tree, _ := strings.Cut(string(text), "## Packages")
	tree, _, _ = strings.Cut(tree, "### Who may import whom")
	for _, dir := range packageDirs(sources(t)) {
		if dir == "." || strings.HasPrefix(dir, "examples/") || strings.HasPrefix(dir, "tests/") || strings.HasPrefix(dir, "sandbox/internal/") {
			continue
		}
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(dir) + `/? `).MatchString(tree) {
			t.Errorf("package %s isn't in the package tree of %s", dir, architectureMD)
		}
	}
}

func TestThirdParty(t *testing.T) {
	rules := readRules(t, "thirdparty")
	for _, f := range sources(t) {
		if strings.HasPrefix(f.pkgDir, "tests") {
			continue
		}
		for _, imp := range importsOf(t, f) {
			if imp == "github.com/opencontainers/umoci" {
				t.Errorf("%s: imports the root package of umoci; use its sub-packages", f.path)
			}
			for _, r := range rules {
				library := r.who[0]
				if imp != library && !strings.HasPrefix(imp, library+"/") {
					continue
				}
				if !slices.ContainsFunc(r.whom, func(p string) bool { return matches(p, f.pkgDir) }) {
					t.Errorf("%s: %s must not import %s (see %s)", f.path, f.pkgDir, imp, architectureMD)
				}
			}
		}
	}
}

func TestPackageComments(t *testing.T) {
	files := sources(t)
	for _, dir := range packageDirs(files) {
		documented := false
		for _, f := range files {
			documented = documented || f.pkgDir == dir && f.syntax.Doc != nil
		}
		if !documented {
			t.Errorf("package in %s has no doc comment", dir)
		}
	}
}

func TestNames(t *testing.T) {
	for _, f := range sources(t) {
		if name := f.syntax.Name.Name; forbiddenNames.MatchString(name) {
			t.Errorf("%s: package name %q says nothing", f.path, name)
		}
		if base := path.Base(f.pkgDir); forbiddenNames.MatchString(base) {
			t.Errorf("%s: directory name %q says nothing", f.path, base)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, f := range sources(t) {
		if ast.IsGenerated(f.syntax) {
			continue
		}
		if f.lines > maxFileLines {
			t.Errorf("%s has %d lines (limit %d)", f.path, f.lines, maxFileLines)
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if lines := f.span(n); lines > maxFuncLines {
					t.Errorf("%s: %s has %d lines (limit %d)", f.path, n.Name.Name, lines, maxFuncLines)
				}
				if params := n.Type.Params.NumFields(); params > maxParams {
					t.Errorf("%s: %s has %d parameters (limit %d)", f.path, n.Name.Name, params, maxParams)
				}
			case *ast.InterfaceType:
				if n.Methods.NumFields() > maxIfaceSize {
					t.Errorf("%s: an interface has %d methods (limit %d)", f.path, n.Methods.NumFields(), maxIfaceSize)
				}
			}
			return true
		})
	}
}

// TestState refuses what makes a program's parts depend on each other behind their signatures.
func TestState(t *testing.T) {
	for _, f := range sources(t) {
		if strings.HasPrefix(f.pkgDir, "tests") || strings.HasPrefix(f.pkgDir, "examples/") {
			continue
		}
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: has an init function", f.path)
			}
		}
		if f.syntax.Name.Name == "main" || f.pkgDir == "sandbox" || strings.HasPrefix(f.pkgDir, "sandbox/internal/") { // a program, or what becomes a child, ends itself
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				switch name := selector(call); {
				case name == "os.Exit":
					t.Errorf("%s: calls os.Exit; return the error", f.path)
				case name == "context.TODO", name == "context.Background" && f.pkgDir != "internal/cli":
					t.Errorf("%s: calls %s; take the caller's context", f.path, name)
				}
			}
			return true
		})
	}
}

func (f goFile) span(n ast.Node) int {
	return f.fset.Position(n.End()).Line - f.fset.Position(n.Pos()).Line + 1
}

// selector gives "pkg.Name" for a call of that form.
func selector(call *ast.CallExpr) string {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return x.Name + "." + sel.Sel.Name
}

// sources parses every non-test Go file of the module that takes part in a build.
func sources(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); p != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if strings.HasPrefix(string(text), "//go:build deps\n") {
			return nil
		}
		fset := token.NewFileSet()
		syntax, err := parser.ParseFile(fset, p, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, goFile{
			path: p, pkgDir: filepath.ToSlash(filepath.Dir(p)),
			lines: strings.Count(string(text), "\n"), syntax: syntax, fset: fset,
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("found no source files")
	}
	return files
}

func packageDirs(files []goFile) []string {
	var dirs []string
	for _, f := range files {
		dirs = append(dirs, f.pkgDir)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

func importsOf(t *testing.T, f goFile) []string {
	t.Helper()
	var paths []string
	for _, spec := range f.syntax.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatalf("%s: %v", f.path, err)
		}
		paths = append(paths, p)
	}
	return paths
}

// readRules reads the ```KIND blocks of the architecture document: "who... -> whom...".
func readRules(t *testing.T, kind string) []rule {
	t.Helper()
	f, err := os.Open(architectureMD)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rules []rule
	inside := false
	for s := bufio.NewScanner(f); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		switch {
		case line == "```"+kind:
			inside = true
		case strings.HasPrefix(line, "```"):
			inside = false
		case inside && line != "":
			who, whom, ok := strings.Cut(line, "->")
			if !ok {
				t.Fatalf("%s: no -> in %q", architectureMD, line)
			}
			rules = append(rules, rule{strings.Fields(who), strings.Fields(whom)})
		}
	}
	if len(rules) == 0 {
		t.Fatalf("%s has no ```%s block", architectureMD, kind)
	}
	return rules
}

func allowed(rules []rule, who, whom string) bool {
	for _, r := range rules {
		if slices.ContainsFunc(r.who, func(p string) bool { return matches(p, who) }) &&
			slices.ContainsFunc(r.whom, func(p string) bool { return matches(p, whom) }) {
			return true
		}
	}
	return false
}

// matches says whether the package directory is meant by a pattern: the directory itself, or with /* one right below it.
func matches(pattern, dir string) bool {
	if parent, ok := strings.CutSuffix(pattern, "/*"); ok {
		return path.Dir(dir) == parent
	}
	return pattern == dir
}

// TestRulesCanFail keeps the checks honest: a rule that allows everything would pass unnoticed.
func TestRulesCanFail(t *testing.T) {
	rules := readRules(t, "imports")
	for _, c := range []struct {
		who, whom string
		want      bool
	}{
		{".", "internal/cli", true},
		{".", "internal/engine", false},
		{"internal/cli", "oci/archive", true},
		{"internal/engine", "internal/progress", false},
		{"internal/engine", "internal/planner", true},
		{"internal/planner", "internal/store", false},
		{"internal/planner", "sandbox", false},
		{"internal/progress", "internal/engine", true},
		{"oci", "internal/store", false},
		{"oci/tree", "oci/layer", false},
		{"dockerfile", "oci", false},
		{"sandbox", "sandbox/internal/wire", true},
		{"overlay", "sandbox", false},
	} {
		if got := allowed(rules, c.who, c.whom); got != c.want {
			t.Error(fmt.Sprintf("%s -> %s: allowed %v, want %v", c.who, c.whom, got, c.want))
		}
	}
}
