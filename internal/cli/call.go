package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/engine"
	"github.com/cairnbuild/cairn/internal/store"
)

// runCall does what --check and --call ask for: it reads the Dockerfile and builds nothing.
func runCall(ctx context.Context, sh *shell, st *store.Store, o BuildOptions) error {
	in, err := engine.Inspect(ctx, st, o.Build)
	if err != nil {
		return err
	}
	switch o.Call {
	case "check":
		return runCheck(sh, in, o.CallJSON)
	case "targets":
		return printTargets(sh.text(), in.File, o.CallJSON)
	}
	return printOutline(sh.text(), in, o.CallJSON)
}

// lintResult is what --check says as JSON; the names are buildx's.
type lintResult struct {
	Warnings []lintFinding `json:"warnings"`
	Error    *lintError    `json:"buildError,omitempty"`
}

type lintFinding struct {
	RuleName    string     `json:"ruleName"`
	Description string     `json:"description,omitempty"`
	URL         string     `json:"url,omitempty"`
	Detail      string     `json:"detail"`
	Location    lintRanges `json:"location"`
}

// lintError is a mistake because of which the file can't be built.
type lintError struct {
	Message  string     `json:"message"`
	Location lintRanges `json:"location"`
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

func lintPlace(ranges ...dockerfile.Range) lintRanges {
	out := lintRanges{Ranges: []lintRange{}}
	for _, r := range ranges {
		if !r.IsZero() {
			out.Ranges = append(out.Ranges, lintRange{lintPosition{r.Start}, lintPosition{r.End}})
		}
	}
	return out
}

// runCheck prints all warnings; any of them makes the exit status 1, as with buildx. A mistake that would stop the build is an error.
func runCheck(sh *shell, in *engine.Inspection, asJSON bool) error {
	report := dockerfile.Check(in.File, in.Lint)
	found := append(append([]dockerfile.Warning(nil), in.File.Warnings...), report.Warnings...)
	if asJSON {
		if err := printLint(sh.text(), found, report.Err); err != nil {
			return err
		}
	} else if len(found) > 0 || report.Err == nil {
		printFindings(sh.text(), in.File, found)
	}
	if report.Err != nil {
		return report.Err
	}
	if len(found) > 0 {
		return exit(exitFailed)
	}
	return nil
}

func printLint(w io.Writer, found []dockerfile.Warning, mistake error) error {
	result := lintResult{Warnings: []lintFinding{}}
	for _, f := range found {
		result.Warnings = append(result.Warnings, lintFinding{
			RuleName: f.Rule, Description: f.Description, URL: f.URL, Detail: f.Text, Location: lintPlace(f.Range),
		})
	}
	var placed *dockerfile.Error
	if errors.As(mistake, &placed) {
		result.Error = &lintError{Message: placed.Msg, Location: lintPlace(placed.Ranges...)}
	}
	return printJSON(w, result)
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
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
		fmt.Fprint(w, "\nWARNING")
		for i, part := range []string{finding.Rule, finding.URL} {
			if part != "" {
				fmt.Fprint(w, []string{": ", " - "}[i], part)
			}
		}
		fmt.Fprintf(w, "\n%s\n", finding.Text)
		if !finding.Range.IsZero() {
			fmt.Fprintf(w, "%s:%d\n%s", f.Name, finding.Range.Start, dockerfile.Excerpt(f.Text, []dockerfile.Range{finding.Range}))
		}
	}
}

// printTargets lists the stages that can be built.
func printTargets(w io.Writer, f *dockerfile.File, asJSON bool) error {
	targets := dockerfile.Targets(f)
	if asJSON {
		return printJSON(w, map[string]any{"targets": targets})
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

// printOutline says which build arguments, secrets and agents a build of the target takes.
func printOutline(w io.Writer, in *engine.Inspection, asJSON bool) error {
	o, err := dockerfile.NewOutline(in.File, in.Lint)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(w, o)
	}
	if o.Name != "" || o.Description != "" {
		name := o.Name
		if name == "" {
			name = "(default)"
		}
		fmt.Fprintf(w, "TARGET:      %s\n", name)
		if o.Description != "" {
			fmt.Fprintf(w, "DESCRIPTION: %s\n", o.Description)
		}
		fmt.Fprintln(w)
	}
	if len(o.Args) > 0 {
		l := listing{Columns: []column{{"Name", "BUILD ARG"}, {"Value", "VALUE"}, {"Description", "DESCRIPTION"}}}
		for _, a := range o.Args {
			l.Rows = append(l.Rows, fields{"Name": a.Name, "Value": a.Value, "Description": a.Description})
		}
		if err := l.print(w, ""); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	for _, part := range []struct {
		title  string
		inputs []dockerfile.OutlineCredential
	}{{"SECRET", o.Secrets}, {"SSH", o.SSH}} {
		if err := printCredentials(w, part.title, part.inputs); err != nil {
			return err
		}
	}
	return nil
}

func printCredentials(w io.Writer, title string, inputs []dockerfile.OutlineCredential) error {
	if len(inputs) == 0 {
		return nil
	}
	l := listing{Columns: []column{{"Name", title}, {"Required", "REQUIRED"}}}
	for _, in := range inputs {
		required := ""
		if in.Required {
			required = "true"
		}
		l.Rows = append(l.Rows, fields{"Name": in.Name, "Required": required})
	}
	if err := l.print(w, ""); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return nil
}
