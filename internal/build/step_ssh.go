package build

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/cairnbuild/cairn/internal/mount"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// MissingSSHError is a required ssh agent that no --ssh gives.
type MissingSSHError struct{ ID string }

func (e *MissingSSHError) Error() string {
	return fmt.Sprintf("ssh agent %s: not found", e.ID)
}

// sshMount shows the agent's socket to the step through a socket of our own, whose owner and mode are the mount's.
func (w *workspace) sshMount(m runMount, root *stepRoot, dir string) (*mount.Mount, error) {
	id := m.ID
	if id == "" {
		id = "default"
	}
	socket, err := w.agentSocket(id)
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
	if err := os.Chmod(name, fileMode(mode)); err != nil {
		return nil, err
	}
	root.env = append(root.env, "SSH_AUTH_SOCK="+m.Target)
	return &mount.Mount{Type: mount.Bind, Source: name}, nil
}

// agentSocket is where the agent for an id listens: the path given with --ssh id=path, else SSH_AUTH_SOCK. For keys given as files it is
// an agent of our own, which lives as long as the engine.
func (e *engine) agentSocket(id string) (string, error) {
	e.agentsMu.Lock()
	defer e.agentsMu.Unlock()
	if path, ok := e.agents[id]; ok {
		return path, nil
	}
	path := ""
	for _, s := range e.opts.Run.SSH {
		if s.ID != id {
			continue
		}
		var err error
		if path, err = e.openAgent(s); err != nil {
			return "", fmt.Errorf("--ssh %s: %w", id, err)
		}
		break
	}
	if e.agents == nil {
		e.agents = map[string]string{}
	}
	e.agents[id] = path
	return path, nil
}

func (e *engine) openAgent(s SSH) (string, error) {
	if len(s.Paths) == 0 {
		if sock := os.Getenv("SSH_AUTH_SOCK"); sock != "" {
			return sock, nil
		}
		return "", errors.New("SSH_AUTH_SOCK is not set")
	}
	keys := agent.NewKeyring()
	for _, p := range s.Paths {
		st, err := os.Stat(p)
		if err != nil {
			return "", err
		}
		if st.Mode()&os.ModeSocket != 0 {
			if len(s.Paths) > 1 {
				return "", fmt.Errorf("%s is an agent's socket: it can't be given together with other paths", p)
			}
			return p, nil
		}
		if err := addKey(keys, p); err != nil {
			return "", err
		}
	}
	dir, err := os.MkdirTemp("", "cairn-agent-") // 0700; short, as a socket's name has to be
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "agent")
	l, err := net.Listen("unix", name)
	if err != nil {
		_ = os.RemoveAll(dir)
		return "", err
	}
	e.onClose(func() { _ = l.Close(); _ = os.RemoveAll(dir) })
	go serveConns(l, func(c net.Conn) { _ = agent.ServeAgent(keys, c) })
	return name, nil
}

// maxKey bounds what is read as a private key.
const maxKey = 100 << 10

// addKey puts the private key in a file into an agent of ours, under the file's name, without its directory.
func addKey(keys agent.Agent, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return err
	}
	key, err := ssh.ParseRawPrivateKey(data)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return fmt.Errorf("the key %s needs a passphrase: add it to an agent with ssh-add and pass that", path)
	}
	if err != nil {
		return fmt.Errorf("read key %s: %w", path, err)
	}
	return keys.Add(agent.AddedKey{PrivateKey: key, Comment: filepath.Base(path)})
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

// serveConns hands every connection to serve until the listener is closed.
func serveConns(l net.Listener, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			serve(c)
		}()
	}
}

// serveAgent lets the other side list the keys of the agent and sign with them, and nothing else.
func serveAgent(c net.Conn, socket string) {
	a, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer a.Close()
	_ = agent.ServeAgent(readOnlyAgent{agent.NewClient(a)}, c)
}

// readOnlyAgent keeps a step from changing the agent that it was lent.
type readOnlyAgent struct{ agent.ExtendedAgent }

var errReadOnlyAgent = errors.New("this agent can only be used, not changed")

func (readOnlyAgent) Add(agent.AddedKey) error   { return errReadOnlyAgent }
func (readOnlyAgent) Remove(ssh.PublicKey) error { return errReadOnlyAgent }
func (readOnlyAgent) RemoveAll() error           { return errReadOnlyAgent }
func (readOnlyAgent) Lock([]byte) error          { return errReadOnlyAgent }
func (readOnlyAgent) Unlock([]byte) error        { return errReadOnlyAgent }
func (readOnlyAgent) Extension(string, []byte) ([]byte, error) {
	return nil, agent.ErrExtensionUnsupported
}
