package doctor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/snapshot"
	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/sandbox"
)

// Answer is what the program says that was started in a namespace.
type Answer struct {
	// IDs is the id map, Isolation what Run has.
	IDs       string `json:"ids"`
	Isolation string `json:"isolation"`
	// The rest are errors, "" where something works: a new /proc, the kinds of snapshots, blocks that copies share, Landlock,
	// a command without network, one
	// with a network of its own, a command at all.
	Proc     string `json:"proc"`
	Overlay  string `json:"overlay"`
	Tmpfs    string `json:"tmpfs"`
	Reflink  string `json:"reflink"`
	Landlock string `json:"landlock"`
	Network  string `json:"network"`
	Private  string `json:"privateNetwork"`
	Ran      string `json:"ran"`
}

// Inside tries what can only be tried in the process in which commands are run. tmp is an empty directory of the data
// directory's file system.
func Inside(ctx context.Context, tmp string) Answer {
	text := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	a := Answer{IDs: sandbox.CurrentIDs().Map, Isolation: string(sandbox.CurrentIsolation())}
	chroot := sandbox.CurrentIsolation() == sandbox.IsolationChroot
	a.Proc = text(tryProc())
	for kind, answer := range map[snapshot.Kind]*string{snapshot.Overlay: &a.Overlay, snapshot.Tmpfs: &a.Tmpfs} {
		m, err := snapshot.Choose(ctx, snapshot.Options{Want: kind, Dir: tmp, NoMounts: chroot})
		if err == nil {
			m.Close()
		}
		*answer = text(err)
	}
	a.Reflink = text(tryReflink(tmp))
	a.Landlock = text(tryLandlock())
	a.Ran = text(tryRun(ctx, tmp, sandbox.NetworkHost))
	a.Network = text(tryRun(ctx, tmp, sandbox.NetworkNone))
	a.Private = text(tryPrivate(ctx, tmp))
	return a
}

func tryProc() error {
	fd, err := sys.FSMount("proc", 0)
	fd.Close()
	return err
}

// tryReflink copies a file as copies of layers are made.
func tryReflink(tmp string) error {
	dir, err := os.MkdirTemp(tmp, "reflink-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	from, err := os.Create(filepath.Join(dir, "from"))
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(filepath.Join(dir, "to"))
	if err != nil {
		return err
	}
	defer to.Close()
	if _, err := from.WriteString("x"); err != nil {
		return err
	}
	return sys.CloneFile(to, from)
}

// tryLandlock closes abstract sockets off on a thread that ends with it.
func tryLandlock() error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		result <- sys.Landlock(sys.ScopeAbstractSockets)
	}()
	return <-result
}

// tryPrivate starts the program that carries a private network.
func tryPrivate(ctx context.Context, tmp string) error {
	n, err := sandbox.StartNetwork(ctx, tmp)
	if err != nil {
		return err
	}
	n.Close()
	return nil
}

// tryRun runs this program in a root file system that has nothing else. That it can't be loaded there is no failure: then
// the sandbox was ready.
func tryRun(ctx context.Context, tmp string, network sandbox.Network) error {
	root, err := os.MkdirTemp(tmp, "root-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	for _, dir := range []string{"proc", "sys", "dev"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := errors.Join(os.Chmod(root, 0o755), copyProgram(filepath.Join(root, "cairn"))); err != nil {
		return err
	}
	var out bytes.Buffer
	err = sandbox.Run(ctx, sandbox.Spec{
		Root: mount.Mount{Type: mount.Bind, Source: root}, Network: network, Stdout: &out, Stderr: &out,
		Process: sandbox.Process{Args: []string{"/cairn", "version"}},
	})
	var setup *sandbox.SetupError
	if errors.As(err, &setup) && setup.Stage == sandbox.StageExec {
		return nil
	}
	if err != nil && out.Len() > 0 {
		return errors.New(err.Error() + ": " + strings.TrimSpace(out.String()))
	}
	return err
}

func copyProgram(to string) error {
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}
