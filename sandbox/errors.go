package sandbox

import (
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/sandbox/internal/wire"
)

// ExitError says that the user's command ran and did not succeed.
type ExitError struct {
	// Code is the exit status; 128 + Signal when a signal killed the command, as a shell shows it.
	Code int
	// Signal is what killed the command, 0 when it exited.
	Signal syscall.Signal
	// OutOfMemory says that the kernel killed it because of Resources.Memory.
	OutOfMemory bool
}

func (e *ExitError) Error() string {
	if e.OutOfMemory {
		return fmt.Sprintf("out of memory: more than the limit was needed (exit code: %d)", e.Code)
	}
	if e.Signal != 0 {
		return fmt.Sprintf("killed by signal %s (exit code: %d)", unix.SignalName(e.Signal), e.Code)
	}
	return fmt.Sprintf("exit code: %d", e.Code)
}

// LostError says that the program which Enter started was ended by a signal that nobody sent through this process.
type LostError struct{ Signal syscall.Signal }

func (e *LostError) Error() string {
	return fmt.Sprintf("cairn-userns, the process in the user namespace, was killed by signal %s", unix.SignalName(e.Signal))
}

// OutputError says that Stdout or Stderr could not take what the command wrote: what came after is lost, and the command's own
// writes have failed with EPIPE. A reader that has closed its end is not told as one.
type OutputError struct{ Err error }

func (e *OutputError) Error() string { return "pass the command's output on: " + e.Err.Error() }

// Unwrap gives the writer's error.
func (e *OutputError) Unwrap() error { return e.Err }

// SetupError says that a sandbox could not be made, or the command in it not be started: no instruction of the command has
// run. errors.Is sees the errno.
type SetupError struct {
	// Stage is what was being done, one of the Stage constants.
	Stage string
	// Op is the operation that failed and Path its object, both empty when there was none.
	Op, Path string
	// Errno is the system call's error, 0 when no system call failed.
	Errno syscall.Errno
	// Text is what there is to say besides, or instead of, the errno.
	Text string
}

// The stages that callers tell apart. Other values of SetupError.Stage are for people.
const (
	StageUserns  = wire.StageUserns // no user namespace: the kernel, a filter or an LSM forbids it
	StageMaps    = wire.StageMaps   // no id map: no range, or the map was refused
	StageNewuid  = wire.StageNewuid // newuidmap refused
	StageNewgid  = wire.StageNewgid
	StageMounts  = wire.StageMounts // a target is missing, or not what it should be
	StageRoot    = wire.StageRoot
	StageOverlay = wire.StageOverlay
	StageClone   = wire.StageClone  // the namespaces of a command
	StageChroot  = wire.StageChroot // not root, or without the capability
	StageProc    = wire.StageProc
	// StageSupervise: no listener (EBUSY: this is a sandbox with one id inside another), or its supervisor ended.
	StageSupervise = wire.StageSupervise
	StageUser      = wire.StageUser // ids that the id map does not have
	StageExec      = wire.StageExec // the program is missing (ENOENT) or can't be executed (EACCES, ENOEXEC)
)

func (e *SetupError) Error() string {
	var b strings.Builder
	b.WriteString(e.Stage)
	switch {
	case e.Path != "" && !strings.Contains(e.Stage, e.Path):
		fmt.Fprintf(&b, ": %s %s", e.Op, e.Path)
	case e.Op != "" && !strings.HasPrefix(e.Stage, e.Op):
		b.WriteString(": " + e.Op)
	}
	switch {
	case e.Text != "":
		b.WriteString(": " + e.Text)
	case e.Errno != 0:
		b.WriteString(": " + e.Errno.Error())
	}
	return b.String()
}

// Unwrap gives the errno.
func (e *SetupError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// fromFailed gives a child's failure its type back.
func fromFailed(f *wire.Failed) *SetupError {
	return &SetupError{Stage: f.Stage, Op: f.Op, Path: f.Path, Errno: f.Errno, Text: f.Text}
}

func setupError(stage string, err error) *SetupError {
	return fromFailed(wire.NewFailed(stage, err))
}
