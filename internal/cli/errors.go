package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/cairnbuild/cairn/internal/engine"
	"github.com/cairnbuild/cairn/internal/progress"
)

// The exit statuses, as exitStatus in help.go documents them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitDockerfile  = 3
	exitMachine     = 4
	exitRegistry    = 5
	exitBug         = 70
	exitRunSetup    = 125 // of `cairn run`, as docker's
	exitRunNoExec   = 126
	exitRunNotFound = 127
	exitInterrupted = 130
	exitBrokenPipe  = 141 // as a shell shows the end by SIGPIPE
)

// usageError is a wrong command line.
type usageError struct {
	Command string // whose help is pointed at; "" for cairn's own
	Msg     string
	Hint    string
}

func (e *usageError) Error() string { return e.Msg }

// hintedError carries a way out that only the place where it happened knows.
type hintedError struct {
	Err  error
	Hint string
}

func (e *hintedError) Error() string { return e.Err.Error() }
func (e *hintedError) Unwrap() error { return e.Err }

// statusError asks for an exit status. Err is what to print; nil when all was said already.
type statusError struct {
	Status int
	Err    error
}

func (e *statusError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Status)
	}
	return e.Err.Error()
}
func (e *statusError) Unwrap() error { return e.Err }

// exit returns a *statusError without a message, or nil for status 0.
func exit(status int) error {
	if status == 0 {
		return nil
	}
	return &statusError{Status: status}
}

// asError is errors.As with the type of target inferred.
func asError[T error](err error, target *T) bool { return errors.As(err, target) }

// verdict is what the table says of an error.
type verdict struct {
	Status int
	Hint   string
}

// judge is the one table of errors: the first rule that knows the error gives status and hint.
func judge(err error) verdict {
	for _, rule := range errorRules() {
		if v, ok := rule(err); ok {
			var step *engine.StepError
			if errors.As(err, &step) && step.Hint != "" {
				v.Hint = step.Hint
			}
			return v
		}
	}
	return verdict{Status: exitFailed}
}

// report prints the error and returns the exit status.
func (sh *shell) report(ctx context.Context, err error) int {
	var interrupted *interruptedError
	var asked *statusError
	switch {
	case err == nil:
		return exitOK
	case asError(err, &asked) && asked.Err == nil:
		return asked.Status
	case errors.As(context.Cause(ctx), &interrupted):
		sh.printError(interrupted, verdict{Status: exitInterrupted})
		return exitInterrupted
	}
	v := judge(err)
	if asked != nil {
		v.Status = asked.Status
	}
	sh.printError(err, v)
	return v.Status
}

// parts are the errors that errors.Join put together, as a command gives them that works on several things.
func parts(err error) []error {
	var asked *statusError
	if errors.As(err, &asked) && asked == err {
		err = asked.Err
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return nil
}

// printError prints the one error that ends a command: first, for a failed step, its last output and the Dockerfile's
// lines, then the error and the hint.
func (sh *shell) printError(err error, v verdict) {
	if sh.machine {
		var command *engine.CommandError
		var code int
		if errors.As(err, &command) {
			code = command.Code
		}
		line, _ := json.Marshal(struct {
			Event    string `json:"event"`
			Error    string `json:"error"`
			Hint     string `json:"hint,omitempty"`
			Status   int    `json:"status"`
			ExitCode int    `json:"exitCode,omitempty"` // of the RUN that failed
		}{"error", err.Error(), v.Hint, v.Status, code})
		fmt.Fprintf(sh.stderr, "%s\n", progress.Visible(string(line)))
		return
	}
	if several := parts(err); len(several) > 1 {
		for _, e := range several {
			sh.printError(e, judge(e))
		}
		return
	}
	var step *engine.StepError
	if errors.As(err, &step) {
		progress.PrintFailure(sh.stderr, step)
	} else if text := excerpt(err); text != "" {
		fmt.Fprint(sh.stderr, progress.Visible(text))
	}
	fmt.Fprintf(sh.stderr, "error: %s\n", progress.Visible(strings.TrimRight(err.Error(), "\n")))
	if v.Hint != "" {
		fmt.Fprintf(sh.stderr, "hint: %s\n", progress.Visible(v.Hint))
	}
}
