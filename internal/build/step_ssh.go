package build

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/cairnbuild/cairn/internal/mount"
)

// MissingSSHError is a required ssh agent that no --ssh gives.
type MissingSSHError struct{ ID string }

func (e *MissingSSHError) Error() string {
	return fmt.Sprintf("ssh agent %s: not found: pass --ssh %s", e.ID, e.ID)
}

// sshMount shows the agent's socket to the step through a socket of our own, whose owner and mode are the mount's.
func (w *workspace) sshMount(m runMount, root *stepRoot, dir string) (*mount.Mount, error) {
	id := m.ID
	if id == "" {
		id = "default"
	}
	agent, err := w.agentSocket(id)
	if err != nil {
		return nil, err
	}
	if agent == "" {
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
	go serveAgent(l, agent)
	mode := uint32(0o600)
	if m.Mode != nil {
		mode = *m.Mode
	}
	if err := chownOptional(name, m); err != nil {
		return nil, err
	}
	if err := os.Chmod(name, fileMode(mode)); err != nil {
		return nil, err
	}
	root.env = append(root.env, "SSH_AUTH_SOCK="+m.Target)
	return &mount.Mount{Type: mount.Bind, Source: name}, nil
}

// agentSocket is where the agent for an id listens: the path given with --ssh id=path, else SSH_AUTH_SOCK.
func (e *engine) agentSocket(id string) (string, error) {
	for _, s := range e.opts.Run.SSH {
		if s.ID != id {
			continue
		}
		if len(s.Paths) == 0 {
			sock := os.Getenv("SSH_AUTH_SOCK")
			if sock == "" {
				return "", fmt.Errorf("--ssh %s: SSH_AUTH_SOCK is not set", id)
			}
			return sock, nil
		}
		st, err := os.Stat(s.Paths[0])
		if err != nil {
			return "", fmt.Errorf("--ssh %s: %w", id, err)
		}
		if st.Mode()&os.ModeSocket == 0 {
			return "", fmt.Errorf("--ssh %s: %s is not an agent's socket: add the key to an agent with ssh-add and pass that", id, s.Paths[0])
		}
		return s.Paths[0], nil
	}
	return "", nil
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

// serveAgent passes every connection on until the listener is closed.
func serveAgent(l net.Listener, agent string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			a, err := net.Dial("unix", agent)
			if err != nil {
				return
			}
			defer a.Close()
			go func() {
				_, _ = io.Copy(a, c)
				_ = a.(*net.UnixConn).CloseWrite()
			}()
			_, _ = io.Copy(c, a)
		}()
	}
}
