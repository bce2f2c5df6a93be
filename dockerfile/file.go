package dockerfile

import (
	"strconv"
	"strings"
)

// Range is a run of source lines, both ends included, counted from 1. The zero Range is "no place".
type Range struct {
	Start int `json:"start"`
	End   int `json:"end"`
}

// IsZero reports whether the range names no line.
func (r Range) IsZero() bool { return r == Range{} }

// File is a parsed Dockerfile.
type File struct {
	// Name is how messages call the file: the path as the user gave it.
	Name string
	// Text is the file as it was read.
	Text []byte
	// Escape is the escape character: a backslash unless "# escape=" says a backtick.
	Escape rune
	// Syntax is the value of "# syntax=", or empty. It is not obeyed: the language of this package is built in.
	Syntax string
	// Args are the ARG instructions before the first FROM. They are seen by FROM instructions only.
	Args []*Arg
	// Stages are in the order of the file; there is at least one.
	Stages []*Stage
	// Warnings are remarks that are no lint rule's. Lint does not repeat them.
	Warnings []Warning
	// Check are the options of "# check=".
	Check CheckOptions

	// emptyContinuations are the last lines of instructions with an empty line inside.
	emptyContinuations []Range
}

// Stage is one FROM and the instructions after it. Base and Platform are as written: expand them with Lex.Word and the
// global arguments.
type Stage struct {
	Index int
	// Name is lower case; empty for a stage without AS.
	Name     string
	Base     string
	Platform string
	// Instructions do not include the FROM.
	Instructions []Instruction
	// Range is that of the FROM instruction.
	Range Range
	// Comment is the stage's description: the rest of a comment line right above FROM that starts with the stage's
	// name.
	Comment string
	// Original is the FROM instruction as one line.
	Original string

	at written
}

// Warning is something worth saying about a Dockerfile that does not stop a build.
type Warning struct {
	// Rule is the lint rule's name; empty for other remarks.
	Rule string
	// Description is what the rule is about, in general; Text what was found.
	Description string
	Text        string
	// URL explains the rule.
	URL   string
	Range Range
}

// CheckOptions say which lint rules count, as "# check=" does.
type CheckOptions struct {
	// Skip are names of rules that stay silent; SkipAll silences all but experimental rules.
	Skip    []string
	SkipAll bool
	// Experimental are names of experimental rules to turn on; ExperimentalAll turns on all.
	Experimental    []string
	ExperimentalAll bool
	// Error makes any violation an error.
	Error bool
}

// Errorf makes an Error about some lines of the file.
func (f *File) Errorf(r Range, format string, args ...any) *Error {
	return f.origin().errorf(r, format, args...)
}

// Stage finds a stage by name, ignoring case, among the stages before the given index, and takes the last of several
// with one name. A FROM passes its own stage's index; COPY --from, RUN --mount=from and --target pass len(f.Stages),
// because BuildKit resolves them when all stages are known.
func (f *File) Stage(name string, before int) (*Stage, bool) {
	name = strings.ToLower(name)
	if name == "" {
		return nil, false
	}
	for i := min(before, len(f.Stages)) - 1; i >= 0; i-- {
		if f.Stages[i].Name == name {
			return f.Stages[i], true
		}
	}
	return nil, false
}

// FromStage finds the stage that COPY --from or a mount's from means: by name, the last one in the file with it, or by
// number. It is false for an image or a named context.
func (f *File) FromStage(from string) (*Stage, bool) {
	if n, err := strconv.Atoi(from); err == nil && 0 <= n && n < len(f.Stages) {
		return f.Stages[n], true
	}
	return f.Stage(from, len(f.Stages))
}

// Target returns the stage to build: the last one with that name, the one with that number, or the last of all when
// target is empty. The error is an *Error.
func (f *File) Target(target string) (*Stage, error) {
	if target == "" {
		return f.Stages[len(f.Stages)-1], nil
	}
	if s, ok := f.FromStage(target); ok {
		return s, nil
	}
	e := f.Errorf(Range{}, "target stage %q could not be found", target)
	if match := f.SimilarStage(target); match != "" {
		e.Hint = didYouMean(match)
	} else if names := f.stageNames(); len(names) > 0 {
		e.Hint = "there are " + strings.Join(names, ", ")
	}
	return nil, e
}

// SimilarStage returns the name of a stage that is spelled almost like name, or "".
func (f *File) SimilarStage(name string) string { return nearest(name, f.stageNames(), true) }

func (f *File) stageNames() []string {
	var names []string
	for _, s := range f.Stages {
		if s.Name != "" {
			names = append(names, s.Name)
		}
	}
	return names
}

func (f *File) origin() *origin { return &origin{name: f.Name, text: f.Text} }
