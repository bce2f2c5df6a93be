package cli

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/cairnbuild/cairn/internal/progress"
)

// output is standard output for results. It remembers its first error, so that no place that prints has to look for one: the
// command fails in the end. It may be written to from several goroutines.
type output struct {
	f *os.File

	mu  sync.Mutex
	err error
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	n, err := o.f.Write(p)
	if err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.err == nil {
			o.err = err
		}
	}
	return n, err
}

// failure is the first error of writing, or nil.
func (o *output) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// text is standard output for what a stranger's image or Dockerfile may have written.
func (sh *shell) text() io.Writer { return progress.VisibleWriter(sh.out) }

// outputError says that a result could not be written to standard output.
type outputError struct{ Err error }

func (e *outputError) Error() string {
	cause := e.Err
	if file := (*fs.PathError)(nil); errors.As(cause, &file) {
		cause = file.Err
	}
	return "write standard output: " + cause.Error()
}
func (e *outputError) Unwrap() error { return e.Err }

// keepBrokenPipes makes a write to a pipe that nobody reads any more an error instead of the end of this process. On standard
// error such a pipe costs messages and nothing else, as with docker and podman; on standard output it ends the command with the
// status that a shell gives a process which SIGPIPE ended, and without a word.
func keepBrokenPipes() (undo func()) {
	// A handler, not SIG_IGN: programs that are started from here would inherit that.
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGPIPE)
	return func() { signal.Stop(ignored) }
}

// outcome is the error of a command after a look at standard output.
func (sh *shell) outcome(err error) error {
	failed := sh.out.failure()
	switch {
	case failed == nil:
		return err
	case errors.Is(failed, syscall.EPIPE):
		return exit(exitBrokenPipe)
	case err == nil || errors.Is(err, failed):
		return &outputError{failed}
	}
	return err
}

// display shows events on standard error in one of progress.Modes.
func (sh *shell) display(mode string) (progress.Display, error) {
	d, err := progress.New(mode, sh.stderr)
	if err != nil {
		return nil, &usageError{Msg: err.Error()}
	}
	sh.machine = progress.IsMachine(mode)
	return d, nil
}

// closeDisplay ends a display and returns err. That messages could not be written is no failure of the work, unless a program
// reads them: it must not take the half of a build for the whole.
func (sh *shell) closeDisplay(d progress.Display, err error) error {
	failed := d.Close()
	if err != nil || !sh.machine || errors.Is(failed, syscall.EPIPE) {
		return err
	}
	return failed
}
