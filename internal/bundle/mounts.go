package bundle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/overlay"
)

// Mount is something to be shown at a place of the root file system.
type Mount struct {
	// Target is an absolute path in the root. It is made where the layers lack it, and is then no change.
	Target string
	Source Source
	// ReadOnly keeps the command from writing to it. What is written to a Made or a Part is thrown away in any case.
	ReadOnly bool
	// Name is what errors call the mount: "RUN --mount=type=cache".
	Name string
}

// Source says what a Mount shows. It is one of Outside, Made, Part, Tmpfs, File, Agent, Cache.
type Source interface {
	// open makes the source, if need be in dir, a name that is free. i is the index of the Mount.
	open(ctx context.Context, m *maker, readOnly bool, i int) (mount.Mount, error)
}

// Outside is a file or directory of the machine, of which nothing is known. It can't be shown where nothing can be
// mounted.
type Outside string

// Made is a function that makes a file or a directory, owned by root and without links on the way to it, below dir. dir
// does not exist yet, and is in the store's file system.
type Made func(ctx context.Context, dir string) (path string, err error)

// Part is a file or directory of other layers.
type Part struct {
	Layers Layers
	// Path is relative to their root; empty for all of it. Links on the way are followed inside the layers.
	Path string
}

// Tmpfs is an empty file system in memory, of Size bytes at most; 0 is the kernel's default.
type Tmpfs struct{ Size int64 }

// Attr are the owner and the permissions of a file.
type Attr struct {
	UID, GID int
	Mode     uint32
}

var errFileWritable = errors.New(
	"a single file can only be mounted read-only: mount the directory that it is in, or leave out rw")

// dir is where the i-th mount has what it needs.
func (m *maker) dir(i int) string { return filepath.Join(m.o.Dir, fmt.Sprintf("mount-%d", i)) }

// mountAll prepares the Mounts, and the places where they go.
func (m *maker) mountAll(ctx context.Context) error {
	if err := m.leaseCaches(ctx); err != nil {
		return err
	}
	for i, req := range m.o.Mounts {
		mnt, err := req.Source.open(ctx, m, req.ReadOnly, i)
		if err != nil {
			return fmt.Errorf("%s: %w", req.Name, err)
		}
		_, outside := req.Source.(Outside)
		isDir, err := showsDir(mnt, outside)
		if err != nil {
			return fmt.Errorf("%s: %w", req.Name, err)
		}
		mnt.Target = path.Clean(req.Target)
		// /dev is a file system of its own, where the sandbox makes what is missing.
		if !strings.HasPrefix(mnt.Target, "/dev/") {
			if mnt.Target, err = m.points.Need(req.Target, isDir); err != nil {
				return err
			}
		}
		m.mounts = append(m.mounts, mounted{mnt, outside})
	}
	return nil
}

// showsDir reports whether a mount is on a directory. The source of one may be a link only where it is the user's own.
func showsDir(m mount.Mount, outside bool) (bool, error) {
	if m.Type != mount.Bind {
		return true, nil
	}
	stat := os.Lstat
	if outside {
		stat = os.Stat
	}
	st, err := stat(m.Source)
	return err == nil && st.IsDir(), err
}

// attach mounts mnt on a directory of the Bundle's until Close: a mount that stayed would keep the directory there.
func (m *maker) attach(mnt mount.Mount, at string) error {
	if err := m.kernel.attach(mnt, at); err != nil {
		return err
	}
	m.b.onClose(func() { _ = m.kernel.detach(at) })
	return nil
}

func (s Outside) open(_ context.Context, _ *maker, readOnly bool, _ int) (mount.Mount, error) {
	return mount.Mount{Type: mount.Bind, Source: string(s), ReadOnly: readOnly}, nil
}

func (s Tmpfs) open(context.Context, *maker, bool, int) (mount.Mount, error) {
	return mount.Mount{Type: mount.Tmpfs, Size: s.Size, Mode: 0o1777, NoSuid: true, NoDev: true}, nil
}

func (s Made) open(ctx context.Context, m *maker, readOnly bool, i int) (mount.Mount, error) {
	source, err := s(ctx, m.dir(i))
	if err != nil {
		return mount.Mount{}, err
	}
	return m.discarding(source, readOnly, i)
}

// open shows the layers' directories, stacked read-only in this process's mount namespace, or a copy.
func (s Part) open(ctx context.Context, m *maker, readOnly bool, i int) (mount.Mount, error) {
	source, err := s.path(ctx, m, m.dir(i))
	if err != nil {
		return mount.Mount{}, err
	}
	return m.discarding(source, readOnly, i)
}

func (s Part) path(ctx context.Context, m *maker, dir string) (string, error) {
	t, err := s.Layers.Tree(ctx)
	if err != nil {
		return "", err
	}
	real, _, err := t.Resolve(relative(s.Path))
	if err != nil {
		return "", fmt.Errorf("find /%s: %w", s.Path, err)
	}
	root := filepath.Join(dir, "root")
	if m.machine.Copies() {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
		_, err := m.copyFiles(ctx, s.Layers, root, real)
		return filepath.Join(root, real), err
	}
	lower, err := dirs(ctx, s.Layers)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	switch len(lower) {
	case 0:
	case 1:
		root = lower[0]
	default:
		if err := m.attach((overlay.Stack{Lower: lower}).Mount(), root); err != nil {
			return "", err
		}
	}
	return mount.Inside(root, real)
}

// discarding shows source read-only, or so that what is written is thrown away.
func (m *maker) discarding(source string, readOnly bool, i int) (mount.Mount, error) {
	if readOnly {
		return mount.Mount{Type: mount.Bind, Source: source, ReadOnly: true}, nil
	}
	if m.machine.Copies() { // and this one is ours alone
		return mount.Mount{Type: mount.Bind, Source: source}, nil
	}
	st, err := os.Lstat(source)
	if err != nil {
		return mount.Mount{}, err
	}
	if !st.IsDir() {
		return mount.Mount{}, errFileWritable
	}
	// The writable side is an overlay of its own, attached where the sandbox binds it from.
	dir := m.dir(i)
	upper, work, merged := filepath.Join(dir, "upper"), filepath.Join(dir, "work"), filepath.Join(dir, "merged")
	stack := overlay.Stack{Lower: []string{source}, Upper: upper, Work: work}
	for _, d := range []string{upper, work, merged} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return mount.Mount{}, err
		}
	}
	if err := m.attach(stack.Mount(), merged); err != nil {
		return mount.Mount{}, err
	}
	return mount.Mount{Type: mount.Bind, Source: merged}, nil
}

// setOwner gives the file behind a mount, which may be a socket, the owner that the mount asks for.
func (m *maker) setOwner(name string, a Attr) error {
	if a.UID == 0 && a.GID == 0 {
		return nil
	}
	if m.machine.Owners() == owners.Chown {
		return os.Lchown(name, a.UID, a.GID)
	}
	t := owners.NewTable()
	t.Set(filepath.Base(name), owners.Owner{UID: a.UID, GID: a.GID})
	m.b.spec.Owners.Lower[filepath.Dir(name)] = t
	return nil
}

// relative is a path as package tree takes it.
func relative(p string) string {
	p = path.Clean("/" + p)
	if p == "/" {
		return "."
	}
	return strings.TrimPrefix(p, "/")
}
