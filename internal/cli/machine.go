package cli

import (
	"errors"
	"syscall"

	"github.com/cairnbuild/cairn/internal/doctor"
	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/sandbox"
)

// machineHints are the errors of system calls for which neither the Dockerfile nor the command line is to blame, with a way out
// of each.
func machineHints() []struct {
	errno syscall.Errno
	hint  string
} {
	return []struct {
		errno syscall.Errno
		hint  string
	}{
		{syscall.ENOSPC, "the disk is full: remove images with cairn rmi (or everything with cairn rmi --all), or use another disk with --root or CAIRN_ROOT"},
		{syscall.EDQUOT, "your disk quota is used up: remove images with cairn rmi, or use another disk with --root or CAIRN_ROOT"},
		{syscall.EROFS, "use a writable directory with --root or CAIRN_ROOT"},
		{syscall.EIO, "the disk or its file system reports errors (dmesg says which): use another disk with --root or CAIRN_ROOT"},
		{syscall.EUCLEAN, "the file system is damaged (dmesg says how): repair it with fsck, or use another disk with --root or CAIRN_ROOT"},
		{syscall.ESTALE, "the network file system lost the file: put the data directory on a local one with --root or CAIRN_ROOT"},
		{syscall.ENOLCK, "the file system gives no locks: put the data directory on a local one with --root or CAIRN_ROOT"},
		{syscall.EMLINK, "the file system allows no more hard links to one file: put the data directory on another one with --root or CAIRN_ROOT"},
		{syscall.EFBIG, "a file would be larger than allowed: raise the limit (ulimit -f), or use another file system with --root or CAIRN_ROOT"},
		{syscall.EMFILE, "raise the limit of open files (ulimit -n; LimitNOFILE= in a systemd unit)"},
		{syscall.ENFILE, "the machine has no more open files to give: as root: sysctl -w fs.file-max=1000000"},
		{syscall.EAGAIN, "there are as many processes as you may have: end some, or raise the limit (ulimit -u; TasksMax= in a systemd unit)"},
		{syscall.ENOMEM, "the machine, or the control group of this process, has no more memory"},
	}
}

// machineRule knows the errors of system calls that tell of the machine.
func machineRule(err error) (verdict, bool) {
	var setup *sandbox.SetupError
	if errors.As(err, &setup) && errors.Is(setup, syscall.ENOSPC) {
		switch setup.Stage {
		case sandbox.StageUserns, sandbox.StageMaps, sandbox.StageClone:
			return verdict{}, false // a limit of namespaces, of which setupRule knows more
		}
	}
	if errors.Is(err, mount.ErrTooManyLower) {
		return verdict{exitMachine, doctor.LayersFix().String()}, true
	}
	for _, m := range machineHints() {
		if errors.Is(err, m.errno) {
			return verdict{exitMachine, m.hint}, true
		}
	}
	return verdict{}, false
}

// outputRule: the result is there, but not where it was to be printed.
func outputRule(err error) (verdict, bool) {
	var e *outputError
	return verdict{exitMachine, "what was asked for is done, and only its output lost: send that elsewhere"}, errors.As(err, &e)
}

// streamsRule: it is not the store's disk that a container's output was for.
func streamsRule(err error) (verdict, bool) {
	var e *sandbox.OutputError
	if !errors.As(err, &e) {
		return verdict{}, false
	}
	v := verdict{Status: exitRunSetup}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		v.Hint = "make room where standard output or standard error goes to, or send it elsewhere"
	}
	return v, true
}

// lostRule: the process that did the work was killed.
func lostRule(err error) (verdict, bool) {
	var e *sandbox.LostError
	if !errors.As(err, &e) {
		return verdict{}, false
	}
	if e.Signal == syscall.SIGKILL {
		return verdict{exitMachine, "when the machine runs out of memory the kernel does that (dmesg, or journalctl -k, says so): free some, or build fewer things at once"}, true
	}
	return verdict{exitMachine, "a bug of cairn's, or somebody sent the signal: run it again with --debug and report what it says"}, true
}
