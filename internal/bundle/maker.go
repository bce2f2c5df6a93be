package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/snapshot"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
	"github.com/cairnbuild/cairn/sandbox"
)

// maker makes one Bundle.
type maker struct {
	machine Machine
	o       Options
	kernel  attacher
	b       *Bundle
	points  *snapshot.Points
	mounts  []mounted
	// leased are the directories of cache mounts, by the index of their mount.
	leased map[int]string
}

// mounted is a mount of the Bundle.
type mounted struct {
	mount.Mount
	// outside says that its source is not the store's.
	outside bool
}

func newMaker(m Machine, o Options) *maker {
	spec := sandbox.Spec{
		Hostname: o.Hostname, Network: o.Network.Mode, Private: o.Network.Private, Limits: o.Limits,
		Insecure: o.Insecure, ReadonlyRoot: o.ReadonlyRoot,
		Owners: sandbox.Owners{Lower: map[string]*owners.Table{}, Upper: owners.NewTable()},
	}
	return &maker{machine: m, o: o, kernel: kernel{}, b: &Bundle{spec: spec, machine: m}, leased: map[int]string{}}
}

func (m *maker) make(ctx context.Context) (b *Bundle, err error) {
	defer func() {
		if err != nil {
			b = nil
			if cerr := m.b.Close(); cerr != nil {
				err = errors.Join(err, cerr)
			}
		}
	}()
	if m.b.tree, err = m.o.Layers.Tree(ctx); err != nil {
		return nil, err
	}
	m.points = snapshot.NewPoints(m.b.tree)
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if _, err := m.points.Need(dir, true); err != nil {
			return nil, err
		}
	}
	if err := m.networkFiles(); err != nil {
		return nil, err
	}
	if err := m.mountAll(ctx); err != nil {
		return nil, err
	}
	changes, err := m.workingDir()
	if err != nil {
		return nil, err
	}
	if m.machine.Copies() {
		return m.b, m.copyRoot(ctx, changes)
	}
	return m.b, m.overlayRoot(ctx, changes)
}

// overlayRoot stacks the layers' directories under an upper one.
func (m *maker) overlayRoot(ctx context.Context, changes *index.Index) error {
	lower, err := dirs(ctx, m.o.Layers)
	if err != nil {
		return err
	}
	if m.machine.Owners() == owners.Record {
		for _, dir := range lower {
			if m.b.spec.Owners.Lower[dir], err = m.o.Layers.Owners(dir); err != nil {
				return err
			}
		}
	}
	stack, err := m.machine.snapshots().Stack(ctx, snapshot.StackOptions{
		Dir: m.o.Dir, Lower: lower, Points: m.points, Changes: changes, Owners: m.machine.Owners(),
	})
	if err != nil {
		return err
	}
	m.b.upper, m.b.spec.Root = stack.Upper, stack.Mount()
	for _, mnt := range m.mounts {
		m.b.spec.Mounts = append(m.b.spec.Mounts, mnt.Mount)
	}
	return nil
}

// copyRoot copies the layers' files, unless a copy is there.
func (m *maker) copyRoot(ctx context.Context, changes *index.Index) error {
	c := m.o.Copy
	if c == nil {
		var err error
		if c, err = m.copyFiles(ctx, m.o.Layers, filepath.Join(m.o.Dir, "root"), "."); err != nil {
			return err
		}
	}
	m.b.copied = c
	m.b.spec.Owners.Upper = c.Table
	m.b.spec.Root = mount.Mount{Type: mount.Bind, Source: c.Dir}
	points, err := m.points.Index()
	if err != nil {
		return err
	}
	if err := c.Add(points, false); err != nil {
		return err
	}
	if err := c.Add(changes, true); err != nil {
		return err
	}
	var movable []mount.Mount
	for _, mnt := range m.mounts {
		m.b.covered = append(m.b.covered, mnt.Target)
		if m.machine.mounts() || mnt.outside {
			m.b.spec.Mounts = append(m.b.spec.Mounts, mnt.Mount)
		} else {
			movable = append(movable, mnt.Mount)
		}
	}
	if err := m.b.place(movable, filepath.Base(m.o.Dir)); err != nil {
		return err
	}
	return c.Begin()
}

// copyFiles copies what is at the path sub of the layers' tree, and the directories above it, to a new directory.
func (m *maker) copyFiles(ctx context.Context, l Layers, dir, sub string) (*snapshot.Root, error) {
	t, err := l.Tree(ctx)
	if err != nil {
		return nil, err
	}
	done := func(int64) {}
	if m.o.OnCopy != nil {
		done = m.o.OnCopy()
	}
	c, err := snapshot.Write(ctx, dir, t, snapshot.WriteOptions{Open: l.Open, Owners: m.machine.Owners(), Sub: sub})
	if err != nil {
		return nil, err
	}
	done(c.Bytes)
	return c, nil
}

// dirs are the layers' directories, the uppermost first and each once.
func dirs(ctx context.Context, l Layers) ([]string, error) {
	all, err := l.Dirs(ctx)
	if err != nil {
		return nil, err
	}
	return withoutRepeats(all)
}

// withoutRepeats keeps the uppermost of equal directories: overlayfs refuses a directory that it has already, and what
// lies further down is hidden by its equal above. One directory can have two names while its layer is being stored.
func withoutRepeats(dirs []string) ([]string, error) {
	var out []string
	var seen []os.FileInfo
	for _, d := range dirs {
		st, err := os.Stat(d)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(seen, func(o os.FileInfo) bool { return os.SameFile(o, st) }) {
			out, seen = append(out, d), append(seen, st)
		}
	}
	return out, nil
}

// workingDir is a layer with the working directory and its parents, as far as the image lacks them.
func (m *maker) workingDir() (*index.Index, error) {
	b := tree.NewBuilder(m.b.tree)
	if rel := relative(m.o.WorkingDir); rel != "." {
		if _, _, err := m.b.tree.Resolve(rel); errors.Is(err, fs.ErrNotExist) {
			if _, err := b.MkdirAll(rel, 0o755, 0, 0, m.o.Now); err != nil {
				return nil, fmt.Errorf("create working directory %s: %w", m.o.WorkingDir, err)
			}
		}
	}
	return b.Index()
}

// networkFiles makes resolv.conf and hosts and mounts them over the image's.
func (m *maker) networkFiles() error {
	resolv, err := sandbox.ResolvConf(m.o.Network.Mode == sandbox.NetworkHost || m.o.Network.Mode == "")
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{{"resolv.conf", resolv}, {"hosts", sandbox.Hosts(m.o.Hostname, m.o.Network.Hosts)}} {
		target, err := m.points.Need("/etc/"+f.name, false)
		if err != nil {
			return err
		}
		source := filepath.Join(m.o.Dir, f.name)
		if err := writeFile(source, f.content, 0o644); err != nil {
			return err
		}
		m.mounts = append(m.mounts, mounted{Mount: mount.Mount{Type: mount.Bind, Source: source, Target: target}})
	}
	return nil
}

// writeFile makes a file with this mode, whatever the umask is. It is never readable by more than the mode says.
func writeFile(name string, content []byte, mode uint32) error {
	if err := os.WriteFile(name, content, 0o600); err != nil {
		return err
	}
	return os.Chmod(name, snapshot.FileMode(mode))
}
