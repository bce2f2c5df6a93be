package dockerfile

import (
	"encoding/json"
	"fmt"
	"io"
)

// Dump writes what the file was parsed to, one instruction a line: its lines, its keyword, and its fields as JSON. Nothing in
// it is expanded.
func (f *File) Dump(w io.Writer) error {
	d := dumper{w: w}
	d.line("file %s escape=%c syntax=%q", f.Name, f.Escape, f.Syntax)
	for _, a := range f.Args {
		d.instruction(a)
	}
	for _, s := range f.Stages {
		d.line("%s stage %d name=%q base=%q platform=%q", lines(s.Range), s.Index, s.Name, s.Base, s.Platform)
		for _, i := range s.Instructions {
			d.instruction(i)
		}
	}
	if d.err != nil {
		return fmt.Errorf("dump %s: %w", f.Name, d.err)
	}
	return nil
}

// dumper writes until the first error.
type dumper struct {
	w   io.Writer
	err error
}

func (d *dumper) instruction(i Instruction) {
	fields, err := json.Marshal(i)
	if err != nil && d.err == nil {
		d.err = err
	}
	d.line("%s   %s %s", lines(i.Range()), i.Keyword(), fields)
}

func (d *dumper) line(format string, args ...any) {
	if d.err == nil {
		_, d.err = fmt.Fprintf(d.w, format+"\n", args...)
	}
}

func lines(r Range) string {
	if r.End > r.Start {
		return fmt.Sprintf("%d-%d", r.Start, r.End)
	}
	return fmt.Sprint(r.Start)
}
