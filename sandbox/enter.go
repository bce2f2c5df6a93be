package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/cairnbuild/cairn/sandbox/internal/wire"
)

// EnterOptions says how the program is started again inside a user namespace.
type EnterOptions struct {
	// Args is the whole command line; Args[0] is replaced by the name under which RunIfChild knows the process.
	Args []string
	// Env is the environment; nil is this process's.
	Env []string
	// Stdin, Stdout and Stderr are handed on; nil is /dev/null.
	Stdin, Stdout, Stderr *os.File
	// ExtraFiles are descriptors 3, 4, ... inside.
	ExtraFiles []*os.File
	IDs        IDMode
	Isolation  Isolation
	// Cgroup lets the program inside bound Resources: it, and this process, go into a cgroup of their own. The error may be a
	// *LimitsError.
	Cgroup bool
	// Notice, when not nil, is told in one line each which lesser rung than the best was taken, why, and what it costs.
	Notice func(string)
}

// killAfter is how long the program inside may take to end after a context did.
const killAfter = 10 * time.Second

// Enter starts this program again as cairn-userns: root of a new user namespace with a mount and pid namespace of its own,
// where RunIfChild returns and main goes on with o.Args. It waits for it and returns its exit status, 128 + the signal's
// number when one killed it.
//
// SIGINT, SIGTERM, SIGQUIT, SIGHUP and SIGWINCH are forwarded; those that keys send only when this process is not in the
// foreground of its terminal, because there the terminal has sent them to both. When ctx ends, SIGTERM is sent, and SIGKILL
// ten seconds later: call Enter with a context that the forwarded signals do not end.
//
// Whatever kills this process or the one inside: the kernel kills everything in the namespace with it.
//
// err is a *SetupError when the namespace can't be made, and then nothing of the program has run, and a *LostError when a signal
// killed the program that was neither forwarded nor sent because of ctx: mostly the kernel's, out of memory.
func Enter(ctx context.Context, o EnterOptions) (exit int, err error) {
	if o.Cgroup {
		undo, err := leaveCgroup()
		if err != nil {
			return 0, err
		}
		defer undo()
	}
	entries, err := o.entries()
	if err != nil {
		return 0, err
	}
	// The child is killed when the thread that started it ends: so this goroutine keeps its thread until it has waited.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var why error
	for _, e := range entries {
		if why != nil {
			e.why = why
		}
		exit, err = e.enter(ctx)
		var failed *SetupError
		if !errors.As(err, &failed) {
			return exit, err
		}
		if why == nil || !e.chroot { // why there is no namespace says more than why there is no chroot
			why = err
		}
	}
	return exit, why
}

// entry is one attempt.
type entry struct {
	*EnterOptions
	ids    idMap
	chroot bool  // without namespaces, and without ids
	why    error // for a notice that this is not the best
	noProc error // likewise, that there is no pid namespace
}

// enter goes without a pid namespace where the kernel would not let that have its /proc.
func (e *entry) enter(ctx context.Context) (int, error) {
	exit, err := e.enterWith(ctx, !e.chroot)
	var failed *SetupError
	if errors.As(err, &failed) && failed.Stage == wire.StageOwnProc {
		e.noProc = err
		return e.enterWith(ctx, false)
	}
	return exit, err
}

func (e *entry) enterWith(ctx context.Context, ownPIDs bool) (int, error) {
	var p pipes
	defer p.closeChildEnds()
	goR, goW := p.toChild()
	reportR, reportW := p.fromChild()
	if p.err != nil {
		return 0, setupError(wire.StageUserns, p.err)
	}
	defer goW.Close()
	defer reportR.Close()
	cmd := e.command(goR, reportW, ownPIDs)
	if err := cmd.Start(); err != nil {
		return 0, setupError(wire.StageUserns, err)
	}
	p.closeChildEnds()
	if e.ids.tools {
		if err := e.ids.runTools(cmd.Process.Pid); err != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			return 0, err
		}
		_, _ = goW.Write([]byte{'g'}) // EPIPE: the child is gone, and its reports say so, here and below
	}
	_ = json.NewEncoder(goW).Encode(wire.Go{Extra: len(e.ExtraFiles), OwnPIDs: ownPIDs})
	defer keepTerminal(e.Stdin)()
	return e.await(ctx, cmd, reportR)
}

// command starts the first stage when the map comes from tools, after execve. Without them the map is there before, and the
// second stage keeps the capabilities that it is born with: under no_new_privs there is no other way to them.
func (e *entry) command(goR, reportW *os.File, ownPIDs bool) *exec.Cmd {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if !e.chroot {
		attr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
	}
	if ownPIDs {
		attr.Cloneflags |= syscall.CLONE_NEWPID
	}
	name := wire.ArgMaps
	switch {
	case e.chroot:
		name = wire.ArgChroot
	case !e.ids.tools:
		name = wire.ArgUserns
		e.ids.fill(attr)
	}
	cmd := &exec.Cmd{
		Path: self, Args: append([]string{name}, e.Args[min(1, len(e.Args)):]...), Env: e.Env,
		ExtraFiles: append([]*os.File{goR, reportW}, e.ExtraFiles...), SysProcAttr: attr,
	}
	if e.Stdin != nil { // a nil file in the interface would be a closed descriptor
		cmd.Stdin = e.Stdin
	}
	if e.Stdout != nil {
		cmd.Stdout = e.Stdout
	}
	if e.Stderr != nil {
		cmd.Stderr = e.Stderr
	}
	return cmd
}

// await mirrors the child.
func (e *entry) await(ctx context.Context, cmd *exec.Cmd, reportR *os.File) (int, error) {
	signals := make(chan os.Signal, 8)
	if !signal.Ignored(syscall.SIGHUP) { // after nohup it stays so, inside, too
		signal.Notify(signals, syscall.SIGHUP)
	}
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGWINCH)
	defer signal.Stop(signals)
	done := make(chan struct{})
	go mirrorSignals(ctx, cmd.Process, signals, done)

	ready, failed := wire.Outcome(reportR)
	if ready && failed == nil && e.Notice != nil {
		e.announce()
	}
	_ = cmd.Wait() // the state tells all
	close(done)

	state := cmd.ProcessState
	switch {
	case failed != nil:
		return 0, fromFailed(failed)
	case !ready && ctx.Err() != nil:
		return 0, fmt.Errorf("enter the user namespace: %w", context.Cause(ctx))
	case !ready:
		return 0, &SetupError{Stage: wire.StageStart, Text: state.String()}
	}
	if state.Success() {
		return 0, nil
	}
	ended := exitError(state)
	switch ended.Signal {
	case 0, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP:
		return ended.Code, nil
	}
	if ctx.Err() != nil {
		return ended.Code, nil
	}
	return 0, &LostError{Signal: ended.Signal}
}

// mirrorSignals forwards signals, and turns the end of ctx into one, until done.
func mirrorSignals(ctx context.Context, child *os.Process, signals <-chan os.Signal, done <-chan struct{}) {
	ended := ctx.Done()
	var kill <-chan time.Time
	for {
		select {
		case <-done:
			return
		case <-ended:
			ended = nil
			_ = child.Signal(syscall.SIGTERM)
			timer := time.NewTimer(killAfter)
			defer timer.Stop()
			kill = timer.C
		case <-kill:
			_ = child.Kill()
		case sig := <-signals:
			if fromKeys(sig) && inForeground() {
				continue
			}
			_ = child.Signal(sig)
		}
	}
}

// keepTerminal returns a function that gives a terminal its present settings back: a child that is killed can't.
func keepTerminal(f *os.File) func() {
	if f == nil || !term.IsTerminal(int(f.Fd())) {
		return func() {}
	}
	state, err := term.GetState(int(f.Fd()))
	if err != nil {
		return func() {}
	}
	return func() { _ = term.Restore(int(f.Fd()), state) }
}

// fromKeys tells the signals that a terminal sends to its whole foreground process group.
func fromKeys(sig os.Signal) bool {
	return sig == syscall.SIGINT || sig == syscall.SIGQUIT || sig == syscall.SIGWINCH
}

// inForeground reports whether this process group, to which the child belongs, has the terminal.
func inForeground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
