package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"
)

// fields is one row of a listing: the names are those that docker's --format knows.
type fields map[string]string

// column is one column of a listing's table.
type column struct{ Field, Title string }

// listing prints rows as --format asks: "" or "table" as a table, "json" as one object per line, "table TEMPLATE" as a
// table of what the Go template gives, and anything else as a Go template per row.
type listing struct {
	Columns []column
	// Titles are the titles of fields that are in no column by default.
	Titles map[string]string
	Rows   []fields
}

func (l *listing) print(w io.Writer, format string) error {
	text, isTable := strings.CutPrefix(format, "table")
	switch {
	case format == "json", format == "{{json .}}":
		return l.printJSON(w)
	case format == "", isTable && strings.TrimSpace(text) == "":
		return l.printTable(w)
	case isTable:
		return l.printTemplateTable(w, strings.TrimSpace(text))
	}
	t, err := parseTemplate(format)
	if err != nil {
		return err
	}
	for _, row := range l.Rows {
		if err := execute(w, t, row); err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) printJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	for _, row := range l.Rows {
		if err := e.Encode(row); err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) printTable(w io.Writer) error {
	tw := newTable(w)
	for i, c := range l.Columns {
		writeCell(tw, i, len(l.Columns), c.Title)
	}
	for _, row := range l.Rows {
		for i, c := range l.Columns {
			writeCell(tw, i, len(l.Columns), row[c.Field])
		}
	}
	return tw.Flush()
}

func writeCell(w io.Writer, i, n int, text string) {
	end := "\t"
	if i == n-1 {
		end = "\n"
	}
	fmt.Fprint(w, text, end)
}

func (l *listing) printTemplateTable(w io.Writer, text string) error {
	t, err := parseTemplate(text)
	if err != nil {
		return err
	}
	titles := fields{}
	for name := range l.Titles {
		titles[name] = l.Titles[name]
	}
	for _, c := range l.Columns {
		titles[c.Field] = c.Title
	}
	tw := newTable(w)
	for _, row := range append([]fields{titles}, l.Rows...) {
		if err := execute(tw, t, row); err != nil {
			return err
		}
	}
	return tw.Flush()
}

func newTable(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 10, 1, 3, ' ', 0) }

// parseTemplate reads a --format template; \t and \n may be written as in docker's.
func parseTemplate(text string) (*template.Template, error) {
	text = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(text)
	t, err := template.New("format").Option("missingkey=error").Funcs(template.FuncMap{
		"json": func(v any) (string, error) {
			b, err := json.Marshal(v)
			return string(b), err
		},
		"join": strings.Join, "lower": strings.ToLower, "upper": strings.ToUpper,
		"split": strings.Split, "println": fmt.Sprintln,
	}).Parse(text)
	if err != nil {
		return nil, &usageError{Msg: fmt.Sprintf("read --format: %v", err)}
	}
	return t, nil
}

func execute(w io.Writer, t *template.Template, data any) error {
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		return &usageError{Msg: fmt.Sprintf("apply --format: %v", err)}
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}
