package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/build"
)

// maxDockerfile bounds what is read as a Dockerfile.
const maxDockerfile = 16 << 20

// runCall does what --check and --call ask for: it reads the Dockerfile and builds nothing.
func runCall(sh *shell, o BuildOptions) error {
	f, err := readDockerfile(o.Build.Input)
	if err != nil {
		return err
	}
	switch o.Call {
	case "check":
		return runCheck(sh, f, o.CallJSON)
	case "targets":
		return printTargets(sh.stdout, f, o)
	}
	return &usageError{Command: "build", Msg: fmt.Sprintf("cairn build has no --call=%s yet", o.Call), Hint: "there are check and targets"}
}

// readDockerfile finds the Dockerfile as a build does.
func readDockerfile(in build.Input) (*dockerfile.File, error) {
	if in.Dockerfile == "-" {
		data, err := io.ReadAll(io.LimitReader(in.DockerfileReader, maxDockerfile))
		if err != nil {
			return nil, fmt.Errorf("read Dockerfile from standard input: %w", err)
		}
		return dockerfile.Parse("Dockerfile", data)
	}
	if in.ContextTar != nil || isRemote(in.Context) {
		return nil, &usageError{Command: "build", Msg: "--check and --call need a directory, or the Dockerfile on standard input"}
	}
	names := []string{in.Dockerfile}
	if in.Dockerfile == "" {
		names = []string{filepath.Join(in.Context, "Dockerfile"), filepath.Join(in.Context, "dockerfile"), filepath.Join(in.Context, "Containerfile")}
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) && in.Dockerfile == "" {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read Dockerfile: %w", err)
		}
		return dockerfile.Parse(name, data)
	}
	return nil, &build.NoDockerfileError{Dir: in.Context}
}

// lintResult is what --check says as JSON; the names are buildx's.
type lintResult struct {
	Warnings []lintFinding `json:"warnings"`
}

type lintFinding struct {
	RuleName    string     `json:"ruleName"`
	Description string     `json:"description,omitempty"`
	URL         string     `json:"url,omitempty"`
	Detail      string     `json:"detail"`
	Location    lintRanges `json:"location"`
}

type lintRanges struct {
	Ranges []lintRange `json:"ranges"`
}

type lintRange struct {
	Start lintPosition `json:"start"`
	End   lintPosition `json:"end"`
}

type lintPosition struct {
	Line int `json:"line"`
}

// runCheck prints all warnings; any of them makes the exit status 1, as with buildx.
func runCheck(sh *shell, f *dockerfile.File, asJSON bool) error {
	found := append(append([]dockerfile.Warning(nil), f.Warnings...), dockerfile.Lint(f, dockerfile.LintOptions{})...)
	if asJSON {
		result := lintResult{Warnings: []lintFinding{}}
		for _, w := range found {
			result.Warnings = append(result.Warnings, lintFinding{
				RuleName: w.Rule, Description: w.Description, URL: w.URL, Detail: w.Text,
				Location: lintRanges{[]lintRange{{lintPosition{w.Range.Start}, lintPosition{w.Range.End}}}},
			})
		}
		e := json.NewEncoder(sh.stdout)
		e.SetIndent("", "  ")
		if err := e.Encode(result); err != nil {
			return err
		}
	} else {
		printFindings(sh.stdout, f, found)
	}
	if len(found) > 0 {
		return exit(exitFailed)
	}
	return nil
}

func printFindings(w io.Writer, f *dockerfile.File, found []dockerfile.Warning) {
	switch len(found) {
	case 0:
		fmt.Fprintln(w, "Check complete, no warnings found.")
		return
	case 1:
		fmt.Fprintln(w, "Check complete, 1 warning has been found!")
	default:
		fmt.Fprintf(w, "Check complete, %d warnings have been found!\n", len(found))
	}
	for _, finding := range found {
		fmt.Fprintf(w, "\nWARNING: %s", finding.Rule)
		if finding.URL != "" {
			fmt.Fprintf(w, " - %s", finding.URL)
		}
		fmt.Fprintf(w, "\n%s\n", finding.Text)
		if !finding.Range.IsZero() {
			fmt.Fprintf(w, "%s:%d\n%s", f.Name, finding.Range.Start, dockerfile.Excerpt(f.Source, []dockerfile.Range{finding.Range}))
		}
	}
}

// target is a stage as --call=targets shows it.
type target struct {
	Name        string `json:"name,omitempty"`
	Default     bool   `json:"default,omitempty"`
	Base        string `json:"base,omitempty"`
	Platform    string `json:"platform,omitempty"`
	Description string `json:"description,omitempty"`
}

func printTargets(w io.Writer, f *dockerfile.File, o BuildOptions) error {
	var targets []target
	for i, s := range f.Stages {
		targets = append(targets, target{
			Name: s.Name, Default: i == len(f.Stages)-1, Base: s.Base, Platform: s.Platform, Description: s.Comment,
		})
	}
	if o.CallJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{"targets": targets})
	}
	l := listing{Columns: []column{{"Target", "TARGET"}, {"Description", "DESCRIPTION"}}}
	for _, t := range targets {
		name := t.Name
		switch {
		case name == "" && t.Default:
			name = "(default)"
		case t.Default:
			name += " (default)"
		case name == "":
			continue
		}
		l.Rows = append(l.Rows, fields{"Target": name, "Description": strings.TrimSpace(t.Description)})
	}
	return l.print(w, "")
}
