package engine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/planner"
)

// ErrNeedsNamespace says that a step has to run, or a layer directory has to be read, and this process is not in a user
// namespace. Nothing was lost: the same build goes on inside one and finds what was recorded.
var ErrNeedsNamespace = errors.New("this build needs a user namespace")

// StepError is a step that did not succeed.
type StepError struct {
	// Step is its display number, Name what was shown.
	Step int
	Name string
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

func (e *StepError) Error() string {
	return fmt.Sprintf("%s:%d: %s: %v", e.File, e.Range.Start, e.Name, e.Err)
}

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// CommandError is a RUN command that ended with a status other than 0.
type CommandError struct {
	Args []string
	// Code is the exit code, 128+n for signal n.
	Code int
	Err  error
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("process %q did not complete successfully: exit code: %d", strings.Join(e.Args, " "), e.Code)
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
