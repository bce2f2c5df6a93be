package engine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// agents are the ssh agents that --ssh gives. Its methods may be called from several goroutines.
type agents struct {
	given []SSH

	mu sync.Mutex
	// sockets are those that were asked for, by id; "" for an id that no --ssh gives.
	sockets map[string]string
	closers []func()
}

// socket is where the agent for an id listens: the path given with --ssh id=path, else SSH_AUTH_SOCK. For keys given as files it is an
// agent of our own, which lives until close.
func (a *agents) socket(id string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if path, ok := a.sockets[id]; ok {
		return path, nil
	}
	path := ""
	for _, s := range a.given {
		if s.ID != id {
			continue
		}
		var err error
		if path, err = a.open(s); err != nil {
			return "", fmt.Errorf("--ssh %s: %w", id, err)
		}
		break
	}
	if a.sockets == nil {
		a.sockets = map[string]string{}
	}
	a.sockets[id] = path
	return path, nil
}

func (a *agents) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range a.closers {
		f()
	}
	a.closers, a.sockets = nil, nil
}

func (a *agents) open(s SSH) (string, error) {
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
	a.closers = append(a.closers, func() { _ = l.Close(); _ = os.RemoveAll(dir) })
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
