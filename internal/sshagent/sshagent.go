// Package sshagent offers ssh agents: one for keys in files, and one that can be used and not changed for somebody
// else's.
package sshagent

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Agent is a listening agent.
type Agent struct {
	// Socket is where it listens.
	Socket string
	close  func()
}

// Close ends an agent of ours, and leaves another one alone.
func (a *Agent) Close() {
	if a.close != nil {
		a.close()
	}
}

// Open gives the agent for what --ssh names: the one whose socket paths is, a new one that has the private keys in the
// files of paths, or that of SSH_AUTH_SOCK for no paths.
func Open(paths []string) (*Agent, error) {
	if len(paths) == 0 {
		if sock := os.Getenv("SSH_AUTH_SOCK"); sock != "" {
			return &Agent{Socket: sock}, nil
		}
		return nil, errors.New("SSH_AUTH_SOCK is not set")
	}
	keys := agent.NewKeyring()
	for _, p := range paths {
		st, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		if st.Mode()&os.ModeSocket != 0 {
			if len(paths) > 1 {
				return nil, fmt.Errorf("%s is an agent's socket: it can't be given together with other paths", p)
			}
			return &Agent{Socket: p}, nil
		}
		if err := addKey(keys, p); err != nil {
			return nil, err
		}
	}
	return offer(keys)
}

// offer listens for those who want to use the keys.
func offer(keys agent.Agent) (*Agent, error) {
	dir, err := os.MkdirTemp("", "cairn-agent-") // 0700; short, as a socket's name has to be
	if err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "agent")
	l, err := net.Listen("unix", name)
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	go serve(l, func(c net.Conn) { _ = agent.ServeAgent(keys, c) })
	return &Agent{Socket: name, close: func() { _ = l.Close(); _ = os.RemoveAll(dir) }}, nil
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

// serve hands every connection to handle until the listener is closed.
func serve(l net.Listener, handle func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			handle(c)
		}()
	}
}

// Forward lets whoever connects to l list the keys of the agent at socket and sign with them, and nothing else, until l
// is closed.
func Forward(l net.Listener, socket string) {
	serve(l, func(c net.Conn) {
		a, err := net.Dial("unix", socket)
		if err != nil {
			return
		}
		defer a.Close()
		_ = agent.ServeAgent(readOnly{agent.NewClient(a)}, c)
	})
}

// readOnly keeps whoever an agent is lent to from changing it.
type readOnly struct{ agent.ExtendedAgent }

var errReadOnly = errors.New("this agent can only be used, not changed")

func (readOnly) Add(agent.AddedKey) error   { return errReadOnly }
func (readOnly) Remove(ssh.PublicKey) error { return errReadOnly }
func (readOnly) RemoveAll() error           { return errReadOnly }
func (readOnly) Lock([]byte) error          { return errReadOnly }
func (readOnly) Unlock([]byte) error        { return errReadOnly }
func (readOnly) Extension(string, []byte) ([]byte, error) {
	return nil, agent.ErrExtensionUnsupported
}
