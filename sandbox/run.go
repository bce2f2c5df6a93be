package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/sandbox/internal/wire"
)

// Run executes the command of spec and waits for it. The caller must be root of a user namespace (see Enter).
//
// It returns nil when the command exited with 0, *ExitError when it did not, *SetupError when it could not be started, and
// an error that wraps the context's cause when ctx ended: then everything was killed. An *OutputError may be joined to them,
// or come alone. When Run returns, no process of the sandbox lives, no mount of it remains, and all output has been written,
// but for what a writer did not take after ctx had ended. Run may be called from several goroutines.
func Run(ctx context.Context, spec Spec) error {
	w, err := spec.wire()
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("run: %w", context.Cause(ctx))
	}
	// The child is killed when the thread that started it ends: so this goroutine keeps its thread until it has waited.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	s := step{spec: &spec, super: newSupervision(&spec)}
	defer s.close()
	if s.cgroup, err = newCgroup(spec.Limits.Resources); err != nil {
		return err
	}
	if err := s.start(w); err != nil {
		return err
	}
	return s.wait(ctx)
}

// step is one running command.
type step struct {
	spec   *Spec
	cmd    *exec.Cmd
	report *os.File // what the child says
	stdio  stdio
	super  *supervision
	cgroup *cgroup
}

func (s *step) close() {
	if s.report != nil {
		s.report.Close()
	}
	_ = s.cgroup.remove() // an empty directory, which goes with the one above it
}

// start starts cairn-step and hands it its Spec.
func (s *step) start(w *wire.Spec) error {
	var pipes pipes
	defer pipes.closeChildEnds()
	specR, specW := pipes.toChild()
	reportR, reportW := pipes.fromChild()
	if pipes.err != nil {
		return setupError(wire.StageClone, pipes.err)
	}
	defer specW.Close()
	s.report = reportR
	program, err := openProgram()
	if err != nil {
		return setupError(wire.StageClone, err)
	}
	defer program.Close()
	if err := s.stdio.open(s.spec, &pipes); err != nil {
		s.stdio.abandon()
		return setupError(wire.StageClone, err)
	}
	files := append([]*os.File{specR, reportW, program}, s.stdio.socket()...)
	if s.super != nil {
		if w.Supervise, err = s.super.start(&pipes, s.cgroup, socketFD(files)); err != nil {
			s.abandon()
			return setupError(wire.StageSupervise, err)
		}
	}
	attr := &syscall.SysProcAttr{
		Cloneflags: s.spec.cloneflags(),
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true, // away from the user's terminal, into which TIOCSTI could type
	}
	s.cgroup.use(attr)
	s.cmd = &exec.Cmd{
		Path:       fmt.Sprintf("/proc/self/fd/%d", wire.FDProgram),
		Args:       []string{wire.ArgStep},
		Env:        []string{}, // the child reads none
		Stdin:      s.stdio.child[0],
		Stdout:     s.stdio.child[1],
		Stderr:     s.stdio.child[2],
		ExtraFiles: append(files, s.super.files()...), SysProcAttr: attr,
	}
	if err := s.cmd.Start(); err != nil {
		s.abandon()
		return setupError(wire.StageClone, err)
	}
	pipes.closeChildEnds()
	if err := json.NewEncoder(specW).Encode(w); err != nil && !errors.Is(err, unix.EPIPE) {
		_ = s.cmd.Process.Kill() // its report, or the lack of one, tells more than this
	}
	return nil
}

// abandon undoes what was prepared for a step that could not be started.
func (s *step) abandon() {
	s.stdio.abandon()
	s.super.abandon()
}

// wait sees the step through: setting up, running, the end of its output.
func (s *step) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.cmd.Process.Kill() })
	defer stop()
	done := make(chan struct{})
	defer close(done)
	s.super.watch(func() { _ = s.cmd.Process.Kill() })
	s.stdio.pump()

	ready, failed := wire.Outcome(s.report)
	if ready && failed == nil {
		s.stdio.connect()
		go s.forward(done)
	}
	_ = s.cmd.Wait() // the state tells all
	s.killLeft()
	lost := s.super.finish()
	outErr := s.stdio.finish(ctx)

	switch state := s.cmd.ProcessState; {
	case ctx.Err() != nil && !state.Success():
		return fmt.Errorf("run: %w", context.Cause(ctx))
	case failed != nil:
		return fromFailed(failed)
	case lost != nil:
		return lost
	case !ready:
		return &SetupError{Stage: wire.StageClone, Text: "cairn-step ended early: " + state.String()}
	case outErr != nil && !state.Success():
		return errors.Join(s.exitError(), outErr)
	case !state.Success():
		return s.exitError()
	}
	return outErr
}

// forward passes signals on until the step is over.
func (s *step) forward(done <-chan struct{}) {
	for {
		select {
		case sig, ok := <-s.spec.Signals:
			if !ok {
				return
			}
			_ = s.cmd.Process.Signal(sig) // it may have ended
		case <-done:
			return
		}
	}
}

// exitError is how the command ended.
func (s *step) exitError() *ExitError {
	exit := exitError(s.cmd.ProcessState)
	exit.OutOfMemory = exit.Signal == unix.SIGKILL && s.cgroup.outOfMemory()
	return exit
}

func exitError(state *os.ProcessState) *ExitError {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return &ExitError{Code: 128 + int(ws.Signal()), Signal: ws.Signal()}
	}
	return &ExitError{Code: state.ExitCode()}
}
