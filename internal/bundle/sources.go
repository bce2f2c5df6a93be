package bundle

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/snapshot"
	"github.com/cairnbuild/cairn/internal/sshagent"
)

// File is a file with this content.
type File struct {
	Content []byte
	Attr
	// Memory keeps it from every disk, as far as anything can be mounted.
	Memory bool
}

// Agent is an ssh agent that can be used and not changed, through a socket with the Attr.
type Agent struct {
	// Socket is the agent's own, outside.
	Socket string
	Attr
}

// Cache is a directory that outlives the Bundle.
type Cache struct {
	// ID names it. Mounts of one ID show the same directory, unless they are Private.
	ID      string
	Private bool
	// Lend waits for its turn and gives the directory until release. create makes a new one in the store's file system.
	Lend func(ctx context.Context, create func() (dir string, err error)) (dir string, release func(), err error)
	// Fill makes what a new one has at first; nil leaves it empty.
	Fill Made
	// Attr is that of a new one.
	Attr
}

func (s File) open(_ context.Context, m *maker, readOnly bool, i int) (mount.Mount, error) {
	dir := m.dir(i)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return mount.Mount{}, err
	}
	if s.Memory && m.machine.mounts() {
		if err := m.attach(mount.Mount{Type: mount.Tmpfs, Mode: 0o700}, dir); err != nil {
			return mount.Mount{}, err
		}
	}
	name := filepath.Join(dir, "file")
	if err := os.WriteFile(name, s.Content, 0o600); err != nil {
		return mount.Mount{}, err
	}
	return m.shown(name, s.Attr, readOnly)
}

func (s Agent) open(_ context.Context, m *maker, _ bool, i int) (mount.Mount, error) {
	dir := m.dir(i)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return mount.Mount{}, err
	}
	name := filepath.Join(dir, "agent")
	l, err := listenShort(name)
	if err != nil {
		return mount.Mount{}, fmt.Errorf("offer the ssh agent: %w", err)
	}
	m.b.onClose(func() { _ = l.Close() })
	go sshagent.Forward(l, s.Socket)
	return m.shown(name, s.Attr, false)
}

// shown is the mount of a file of ours, once it has its owner and its permissions.
func (m *maker) shown(name string, a Attr, readOnly bool) (mount.Mount, error) {
	if err := m.setOwner(name, a); err != nil {
		return mount.Mount{}, err
	}
	return mount.Mount{Type: mount.Bind, Source: name, ReadOnly: readOnly}, os.Chmod(name, snapshot.FileMode(a.Mode))
}

// listenShort makes a socket. The name of one has 107 bytes at most, and the store may lie deep, so it is bound under a
// short one.
func listenShort(name string) (net.Listener, error) {
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	l, err := net.Listen("unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(name)))
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	return l, nil
}

// leaseCaches takes the caches of all mounts, in the order of their ids and not in that of the mounts: two processes
// that lock the same caches would wait for each other for ever. A cache that is mounted twice is taken once.
func (m *maker) leaseCaches(ctx context.Context) error {
	var order []int
	for i, req := range m.o.Mounts {
		if _, ok := req.Source.(Cache); ok {
			order = append(order, i)
		}
	}
	cache := func(i int) Cache { return m.o.Mounts[i].Source.(Cache) }
	sort.SliceStable(order, func(a, b int) bool { return cache(order[a]).ID < cache(order[b]).ID })
	taken := map[string]string{}
	for _, i := range order {
		c := cache(i)
		if dir, ok := taken[c.ID]; ok && !c.Private {
			m.leased[i] = dir
			continue
		}
		dir, release, err := c.Lend(ctx, func() (string, error) { return c.create(ctx, m, m.dir(i)) })
		if err != nil {
			return fmt.Errorf("%s: %w", m.o.Mounts[i].Name, err)
		}
		m.b.onClose(release)
		m.leased[i], taken[c.ID] = dir, dir
	}
	return nil
}

func (s Cache) open(_ context.Context, m *maker, readOnly bool, i int) (mount.Mount, error) {
	return mount.Mount{Type: mount.Bind, Source: m.leased[i], ReadOnly: readOnly}, nil
}

// create makes a new cache below dir.
func (s Cache) create(ctx context.Context, m *maker, dir string) (string, error) {
	cache := filepath.Join(dir, "cache")
	var err error
	if s.Fill != nil {
		cache, err = s.Fill(ctx, dir)
	} else {
		err = os.MkdirAll(cache, 0o755)
	}
	if err != nil {
		return "", err
	}
	if s.UID != 0 || s.GID != 0 {
		if err := m.machine.Owners().SetOwner(cache, s.UID, s.GID); err != nil {
			return "", err
		}
	}
	return cache, os.Chmod(cache, snapshot.FileMode(s.Mode))
}
