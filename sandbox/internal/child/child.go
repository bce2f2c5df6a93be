// Package child is everything that runs in cairn-step between its start and the execve of the user's command: it is the
// first process of the new namespaces, builds the root file system's mounts, gives up what the command must not have, and
// becomes the command, as process 1, as `docker run` users expect. When that ends, the kernel kills the rest of the pid
// namespace and drops the mounts.
//
// It runs on one locked thread, starts no goroutine, logs nothing, and reports one typed failure (package wire).
package child

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/sandbox/internal/wire"
)

// Main runs the step whose Spec waits on wire.FDIn. It does not return.
func Main() {
	runtime.LockOSThread()
	os.Exit(run())
}

// run returns only when the command could not be started; the status is then of no interest, the report is.
func run() (status int) {
	var c child
	defer func() {
		if r := recover(); r != nil {
			report(wire.Report{Failed: &wire.Failed{Stage: c.stage, Text: fmt.Sprint("panic: ", r)}})
			status = 70
		}
	}()
	err := c.start()
	report(wire.Report{Failed: wire.NewFailed(c.stage, err)})
	return 70
}

// report writes to the parent. There is nobody to tell when that fails: the parent is gone, and we with it.
func report(r wire.Report) {
	b, err := json.Marshal(r)
	for err == nil && len(b) > 0 {
		var n int
		if n, err = unix.Write(wire.FDReport, b); err == unix.EINTR {
			n, err = 0, nil
		}
		b = b[max(n, 0):]
	}
}

// child is a step on its way. The descriptors are closed by execve.
type child struct {
	spec  wire.Spec
	stage string // what is being done

	root   sys.FD // of the new root, "/" once it is entered
	proc   sys.FD // mount of the new /proc
	null   sys.FD // mount of /dev/null
	pts    sys.FD // mount of the new /dev/pts
	dev    []devNode
	sysfs  sys.FD
	mounts []sys.FD // of spec.Mounts
}

type stage struct {
	name string
	do   func() error
}

// start does each stage in turn and ends in the command; it returns the error of the one that failed.
func (c *child) start() error {
	c.stage = wire.StageRead
	if err := c.readSpec(); err != nil {
		return err
	}
	stages := c.stages()
	if c.spec.Chroot {
		stages = c.chrootStages()
	}
	for _, s := range stages {
		c.stage = s.name
		if err := s.do(); err != nil {
			return err
		}
	}
	return nil
}

func (c *child) stages() []stage {
	return []stage{
		{wire.StageNetwork, c.network},

		// Sources are opened before the root changes, targets resolved after.
		{wire.StageRoot, c.openRoot},
		{wire.StageSources, c.openSources},
		{wire.StageProc, c.openProc},
		{wire.StageSys, c.openSys},
		{wire.StageDev, c.openDev},
		{wire.StagePivot, c.pivot},
		{wire.StageProc, c.placeProc},
		{wire.StageSys, c.placeSys},
		{wire.StageDev, c.placeDev},
		{wire.StageMask, c.mask},
		{wire.StageMounts, c.placeMounts},

		{wire.StageHostname, c.hostname},
		{wire.StageTerminal, c.terminal},
		{wire.StageDir, c.workingDir},
		{wire.StageRoot, c.readonlyRoot},
		{wire.StageLimits, c.limits},
		{wire.StageScope, c.scope},
		{wire.StageBounding, c.bounding},
		{wire.StageFilter, c.filter},
		{wire.StageUser, c.user},
		{wire.StageSupervise, c.supervise},
		{wire.StageCaps, c.capabilities},
		{wire.StageExec, c.exec},
	}
}

func (c *child) readSpec() error {
	in := os.NewFile(wire.FDIn, "spec")
	defer in.Close()
	b, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, &c.spec)
}
