package main

import (
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
	architectureMD = "docs/architecture.md"
)

// forbiddenNames are package names that say nothing about what is inside.
var forbiddenNames = regexp.MustCompile(`^(utils?|common|helpers?|misc|shared|types|define|base|lib)$`)

// goFile is one source file of the module.
type goFile struct {
	path, pkgDir string
	lines        []string
	syntax       *ast.File
	fset         *token.FileSet
}

// rule allows the packages of one directory pattern to import others.
type rule struct{ who, whom []string }

func TestImports(t *testing.T) {
	rules := readRules(t, "imports")
	for _, f := range sources(t) {
		if f.pkgDir == "tests" || under(f.pkgDir, "tests", "examples") {
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
		if dir == "." || under(dir, "examples", "tests", "sandbox/internal") {
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
		if f.pkgDir == "tests" || under(f.pkgDir, "tests", "tools") {
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

// TestState refuses what makes a program's parts depend on each other behind their signatures.
func TestState(t *testing.T) {
	for _, f := range sources(t) {
		if f.pkgDir == "tests" || under(f.pkgDir, "tests", "examples", "tools") {
			continue
		}
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: has an init function", f.path)
			}
		}
		if f.syntax.Name.Name == "main" || f.pkgDir == "sandbox" || under(f.pkgDir, "sandbox/internal") {
			continue // a program, or what becomes a child, ends itself
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				switch name := selector(call); {
				case name == "os.Exit" && f.path != "internal/cli/signals.go": // the third Ctrl-C waits for nothing
					t.Errorf("%s: calls os.Exit; return the error", f.path)
				case name == "context.TODO", name == "context.Background" && f.pkgDir != "internal/cli":
					t.Errorf("%s: calls %s; take the caller's context", f.path, name)
				}
			}
			return true
		})
	}
}

// under says whether a package directory is below one of the others.
func under(dir string, parents ...string) bool {
	return slices.ContainsFunc(parents, func(p string) bool { return strings.HasPrefix(dir, p+"/") })
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

// sources parses every Go file of the module that takes part in a build, and none of a test.
func sources(t *testing.T) []goFile {
	t.Helper()
	return slices.DeleteFunc(allFiles(t), func(f goFile) bool { return strings.HasSuffix(f.path, "_test.go") })
}

// allFiles parses every Go file of the module.
func allFiles(t *testing.T) []goFile {
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
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		syntax, err := parser.ParseFile(fset, p, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, goFile{
			path: p, pkgDir: filepath.ToSlash(filepath.Dir(p)),
			lines: strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), syntax: syntax, fset: fset,
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
	var rules []rule
	for _, line := range readBlock(t, architectureMD, kind) {
		who, whom, ok := strings.Cut(line, "->")
		if !ok {
			t.Fatalf("%s: no -> in %q", architectureMD, line)
		}
		rules = append(rules, rule{strings.Fields(who), strings.Fields(whom)})
	}
	return rules
}

// readBlock gives the lines in the ```KIND blocks of a document.
func readBlock(t *testing.T, document, kind string) []string {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	var block []string
	inside := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "```"+kind:
			inside = true
		case strings.HasPrefix(line, "```"):
			inside = false
		case inside && line != "":
			block = append(block, line)
		}
	}
	if len(block) == 0 {
		t.Fatalf("%s has no ```%s block", document, kind)
	}
	return block
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

// matches says whether the package directory is meant by a pattern: the directory itself, or with /* one right below
// it.
func matches(pattern, dir string) bool {
	if parent, ok := strings.CutSuffix(pattern, "/*"); ok {
		return path.Dir(dir) == parent
	}
	return pattern == dir
}

// TestRoles holds the page to the names that the program's processes have.
func TestRoles(t *testing.T) {
	roles := []string{"cairn"}
	for _, f := range sources(t) {
		if f.pkgDir != "sandbox/internal/wire" {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			for i := 0; ok && i < len(spec.Values); i++ {
				if lit, ok := spec.Values[i].(*ast.BasicLit); ok && strings.HasPrefix(spec.Names[i].Name, "Arg") {
					roles = append(roles, strings.Trim(lit.Value, `"`))
				}
			}
			return true
		})
	}
	var listed []string
	for _, line := range readBlock(t, architectureMD, "roles") {
		if !strings.HasPrefix(line, " ") {
			listed = append(listed, strings.Fields(line)[0])
		}
	}
	slices.Sort(roles)
	slices.Sort(listed)
	if len(roles) < 6 || !slices.Equal(roles, listed) {
		t.Errorf("%s lists the roles %q; package wire has %q", architectureMD, listed, roles)
	}
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
