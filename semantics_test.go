package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	semanticsRow = regexp.MustCompile(`(?m)^\| (\d+[a-h]?) \| .* \| (.*) \|$`)
	quotedTest   = regexp.MustCompile("`([^`]+)`")
	whereAndTest = regexp.MustCompile("`((?:script|[a-z/]+) [A-Za-z_0-9]+)`")
)

// TestSemantics holds docs/semantics.md to what it promises: each row once, and each test that it names is there. A
// script has to say in a comment which row it is about.
func TestSemantics(t *testing.T) {
	text, err := os.ReadFile("docs/semantics.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, m := range semanticsRow.FindAllStringSubmatch(string(text), -1) {
		row, tests := m[1], quotedTest.FindAllStringSubmatch(m[2], -1)
		if seen[row] {
			t.Errorf("row %s is there twice", row)
		}
		seen[row] = true
		if len(tests) == 0 {
			t.Errorf("row %s has no test", row)
		}
		for _, test := range tests {
			where, name, _ := strings.Cut(test[1], " ")
			if err := findTest(row, where, name); err != nil {
				t.Errorf("row %s: %v", row, err)
			}
		}
	}
	for _, row := range semanticsRows() {
		if !seen[row] {
			t.Errorf("row %s is missing", row)
		}
	}
}

// semanticsRows are all rows that there have to be.
func semanticsRows() []string {
	var rows []string
	for n := 1; n <= 120; n++ {
		rows = append(rows, fmt.Sprint(n))
	}
	for c := 'a'; c <= 'h'; c++ {
		rows = append(rows, "28"+string(c))
	}
	return rows
}

// findTest finds a script, which has to name the row unless that is empty, or a Go test.
func findTest(row, where, name string) error {
	if where == "script" {
		text, err := os.ReadFile(filepath.Join("tests", "scripts", name+".txtar"))
		if err != nil {
			return err
		}
		if row != "" && !regexp.MustCompile(`(?m)^#.*\brows?\b[^\n]*\b`+row+`\b`).Match(text) {
			return fmt.Errorf("script %s has no comment that names the row", name)
		}
		return nil
	}
	files, err := filepath.Glob(filepath.Join(where, "*_test.go"))
	if err != nil {
		return err
	}
	function := regexp.MustCompile(`(?m)^func ` + regexp.QuoteMeta(name) + `\(`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if function.Match(text) {
			return nil
		}
	}
	return fmt.Errorf("%s has no %s", where, name)
}

// TestDockerfilePage holds docs/dockerfile.md to the tests that it names.
func TestDockerfilePage(t *testing.T) {
	text, err := os.ReadFile("docs/dockerfile.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, m := range whereAndTest.FindAllStringSubmatch(string(text), -1) {
		where, name, _ := strings.Cut(m[1], " ")
		if where == "script" && name == "NAME" || where != "script" && !strings.HasPrefix(name, "Test") {
			continue
		}
		found++
		if err := findTest("", where, name); err != nil {
			t.Error(err)
		}
	}
	if found < 100 {
		t.Errorf("only %d tests are named", found)
	}
}
