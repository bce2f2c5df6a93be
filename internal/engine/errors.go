package engine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/sandbox"
)

// ErrNeedsNamespace says that a step has to run, or a layer directory has to be read, and this process is not in a user
// namespace. Nothing was lost: the same build goes on inside one and finds what was recorded.
var ErrNeedsNamespace = errors.New("this build needs a user namespace")

// StepError is a step that did not succeed.
type StepError struct {
	// Step is its display number, Name what was shown.
	Step int
	Name string
	// Trigger says that it is an ONBUILD trigger of its base: the Dockerfile's lines show only the FROM.
	Trigger bool
	// File and Range are where the Dockerfile says so; Excerpt are the lines, ready to print.
	File    string
	Range   dockerfile.Range
	Excerpt string
	// Tail is the end of the command's output, for a RUN.
	Tail []byte
	// Hint is a way out, where there is one to tell.
	Hint string
	Err  error
}

// Error is one short line. It leaves out what Excerpt shows: the instruction.
func (e *StepError) Error() string {
	place := fmt.Sprintf("%s:%d: ", e.File, e.Range.Start)
	if e.Excerpt == "" || e.Trigger {
		place += shortName(e.Name) + ": "
	}
	return place + e.Err.Error()
}

// shortName cuts a step's name, which may be a whole script, at 80 characters.
func shortName(name string) string {
	line, _, more := strings.Cut(name, "\n")
	if r := []rune(line); len(r) > 80 {
		line, more = string(r[:79]), true
	}
	if more {
		line += "…"
	}
	return line
}

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// CommandError is a RUN command that ended with a status other than 0, or could not be started.
type CommandError struct {
	Args []string
	// Code is the exit code: 128+n for signal n, and as a shell gives them 127 and 126 for a program that is missing or that
	// cannot be executed.
	Code int
	Err  error
}

// Error says how the command ended and leaves out which it was: the step's name says that.
func (e *CommandError) Error() string {
	if setup := (*sandbox.SetupError)(nil); errors.As(e.Err, &setup) {
		return fmt.Sprintf("process could not be started: %v (exit code: %d)", setup, e.Code)
	}
	return fmt.Sprintf("process did not complete successfully: %v", e.Err)
}

// Unwrap returns the sandbox's error.
func (e *CommandError) Unwrap() error { return e.Err }

// ForeignError is a RUN whose program is made for a platform that this machine can't run.
type ForeignError struct {
	Platform string
	Err      error
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("run a program for %s: %v", e.Platform, e.Err)
}

// Unwrap returns the sandbox's error.
func (e *ForeignError) Unwrap() error { return e.Err }

// baseError makes a step's error of a base image that was not found.
func baseError(f *dockerfile.File, err error) error {
	var base *planner.BaseError
	if !errors.As(err, &base) {
		return err
	}
	return &StepError{
		Name: base.Name, File: f.Name, Range: base.Range, Excerpt: excerpt(f, base.Range),
		Hint: base.Hint, Err: base.Err,
	}
}

// excerpt are the Dockerfile's lines around a range, numbered.
func excerpt(f *dockerfile.File, r dockerfile.Range) string {
	if r.IsZero() {
		return ""
	}
	return dockerfile.Excerpt(f.Text, []dockerfile.Range{r})
}
