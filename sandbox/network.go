package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// PrivateNetwork is a network namespace with a way out: a program of this machine, pasta or slirp4netns, carries what is sent there
// to the host's network as an ordinary user's connections. The host's loopback interface, and what listens on it, cannot be reached.
// Commands in one PrivateNetwork share its interfaces and ports. It ends with this process, or with Close.
type PrivateNetwork struct {
	path string // where the namespace is mounted
	stop func()
}

// NetworkError says why there is no private network.
type NetworkError struct {
	// Tried are the programs that were started, and how each failed; empty when none is installed.
	Tried []error
	// Err is what stands in the way of all of them.
	Err error
}

func (e *NetworkError) Error() string {
	switch {
	case e.Err != nil:
		return "private network: " + e.Err.Error()
	case len(e.Tried) > 0:
		return "private network: " + strings.ReplaceAll(errors.Join(e.Tried...).Error(), "\n", "; ")
	}
	return "private network: neither pasta (package passt) nor slirp4netns is installed"
}

// Unwrap gives the errors beneath.
func (e *NetworkError) Unwrap() []error { return append([]error{e.Err}, e.Tried...) }

// networkStart is how long such a program may take to be ready.
const networkStart = 20 * time.Second

// StartNetwork makes a private network; dir is a directory of this process's own that stays until Close. It must be called in
// cairn-userns. The error is a *NetworkError, or wraps the context's cause.
func StartNetwork(ctx context.Context, dir string) (*PrivateNetwork, error) {
	if CurrentIsolation() == IsolationChroot {
		return nil, &NetworkError{Err: errors.New("namespaces are not allowed here")}
	}
	if err := checkTUN(); err != nil {
		return nil, &NetworkError{Err: err}
	}
	n := &PrivateNetwork{path: filepath.Join(dir, "netns")}
	if err := n.make(); err != nil {
		return nil, &NetworkError{Err: err}
	}
	var failed NetworkError
	for _, p := range []struct {
		name  string
		start func(ctx context.Context, program, dir string) error
	}{{"pasta", n.startPasta}, {"slirp4netns", n.startSlirp}} {
		program, err := exec.LookPath(p.name)
		if err != nil {
			continue
		}
		limited, cancel := context.WithTimeoutCause(ctx, networkStart, fmt.Errorf("not ready after %s", networkStart))
		err = p.start(limited, program, dir)
		if err != nil && limited.Err() != nil {
			err = context.Cause(limited)
		}
		cancel()
		if err == nil {
			return n, nil
		}
		if ctx.Err() != nil {
			n.Close()
			return nil, fmt.Errorf("start network: %w", context.Cause(ctx))
		}
		failed.Tried = append(failed.Tried, fmt.Errorf("%s: %w", p.name, err))
	}
	n.Close()
	return nil, &failed
}

// Close ends it. No command may be in it any more.
func (n *PrivateNetwork) Close() {
	if n.stop != nil {
		n.stop()
		n.stop = nil
	}
	_ = unix.Unmount(n.path, unix.MNT_DETACH)
	_ = os.Remove(n.path)
}

// tunDevice is what both programs need.
const tunDevice = "/dev/net/tun"

func checkTUN() error {
	f, err := os.OpenFile(tunDevice, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("%w: this machine's administrator has to allow it for users (modprobe tun; chmod 666 %s)", err, tunDevice)
	}
	return f.Close()
}

// make makes the namespace, and keeps it by mounting it on a file: so it needs no process, and no right to look at one.
func (n *PrivateNetwork) make() error {
	f, err := os.OpenFile(n.path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, for it is in the wrong network
		err := os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET))
		if err == nil {
			err = os.NewSyscallError("mount", unix.Mount("/proc/thread-self/ns/net", n.path, "", unix.MS_BIND, ""))
		}
		done <- err
	}()
	return <-done
}

// startPasta starts pasta, which goes into the background when it is ready. It keeps its standard files open: they are no pipes.
func (n *PrivateNetwork) startPasta(ctx context.Context, program, dir string) error {
	pid, log := filepath.Join(dir, "pasta.pid"), filepath.Join(dir, "pasta.log")
	out, err := os.Create(log)
	if err != nil {
		return err
	}
	defer out.Close()
	// No ports in either direction, no host's loopback by way of the gateway's address, and no other user: only 0 is sure to exist.
	cmd := exec.CommandContext(ctx, program, "--config-net", "--no-map-gw", "-t", "none", "-u", "none", "-T", "none", "-U", "none",
		"--quiet", "--runas", "0", "--pid", pid, "--netns", n.path)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		if said, _ := os.ReadFile(log); len(bytes.TrimSpace(said)) > 0 {
			err = errors.New(lastLine(said))
		}
		return err
	}
	n.stop = func() {
		if b, err := os.ReadFile(pid); err == nil {
			if number, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && number > 1 {
				_ = unix.Kill(number, unix.SIGTERM)
			}
		}
	}
	return nil
}

// startSlirp starts slirp4netns, which says by one byte that it is ready and ends with a pipe of ours.
func (n *PrivateNetwork) startSlirp(ctx context.Context, program, _ string) error {
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer readyR.Close()
	exitR, exitW, err := os.Pipe()
	if err != nil {
		return errors.Join(err, readyW.Close())
	}
	var said bytes.Buffer
	cmd := exec.Command(program, "--configure", "--mtu=65520", "--disable-host-loopback", "--netns-type=path",
		"--ready-fd=3", "--exit-fd=4", n.path, "tap0")
	cmd.Stderr, cmd.ExtraFiles = &said, []*os.File{readyW, exitR}
	err = cmd.Start()
	_, _ = readyW.Close(), exitR.Close()
	if err != nil {
		return errors.Join(err, exitW.Close())
	}
	end := func() { _, _ = exitW.Close(), cmd.Wait() }
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	if k, _ := readyR.Read(make([]byte, 1)); k == 1 {
		n.stop = end
		return nil
	}
	end()
	if said.Len() > 0 {
		return errors.New(lastLine(said.Bytes()))
	}
	return errors.New(cmd.ProcessState.String())
}

func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
