package engine

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/snapshot"
)

// MissingSSHError is a required ssh agent that no --ssh gives.
type MissingSSHError struct{ ID string }

func (e *MissingSSHError) Error() string {
	return fmt.Sprintf("ssh agent %s: not found", e.ID)
}

// sshMount shows the agent's socket to the step through a socket of our own, whose owner and mode are the mount's.
func (w *workspace) sshMount(m planner.Mount, root *stepRoot, dir string) (*mount.Mount, error) {
	id := m.ID
	if id == "" {
		id = "default"
	}
	socket, err := w.project.agents.socket(id)
	if err != nil {
		return nil, err
	}
	if socket == "" {
		if m.Required {
			return nil, &MissingSSHError{ID: id}
		}
		return nil, nil
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	// Unix sockets have names of 107 bytes at most; the store may lie deep, a tmpfs of our own does not help. Bind by the short name.
	name := filepath.Join(dir, "agent")
	l, err := listenShort(name)
	if err != nil {
		return nil, fmt.Errorf("offer the ssh agent: %w", err)
	}
	w.onStepEnd(func() { _ = l.Close() })
	go serveConns(l, func(c net.Conn) { serveAgent(c, socket) })
	mode := uint32(0o600)
	if m.Mode != nil {
		mode = *m.Mode
	}
	if err := w.chownOptional(root, name, m); err != nil {
		return nil, err
	}
	if err := os.Chmod(name, snapshot.FileMode(mode)); err != nil {
		return nil, err
	}
	root.env = append(root.env, "SSH_AUTH_SOCK="+m.Target)
	return &mount.Mount{Type: mount.Bind, Source: name}, nil
}

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
