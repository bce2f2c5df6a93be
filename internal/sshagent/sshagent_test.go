package sshagent

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"gotest.tools/v3/assert"
)

// keyFile makes a private key in a file.
func keyFile(t *testing.T, passphrase string) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	assert.NilError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	assert.NilError(t, err)
	name := filepath.Join(t.TempDir(), "id")
	assert.NilError(t, os.WriteFile(name, pem.EncodeToMemory(block), 0o600))
	return name
}

func dial(t *testing.T, socket string) agent.ExtendedAgent {
	t.Helper()
	c, err := net.Dial("unix", socket)
	assert.NilError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return agent.NewClient(c)
}

// TestForward: who an agent is lent to can use its keys and change nothing.
func TestForward(t *testing.T) {
	a, err := Open([]string{keyFile(t, "")})
	assert.NilError(t, err)
	defer a.Close()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "lent"))
	assert.NilError(t, err)
	defer l.Close()
	go Forward(l, a.Socket)
	lent := dial(t, l.Addr().String())
	keys, err := lent.List()
	assert.NilError(t, err)
	assert.Equal(t, len(keys), 1)
	assert.Equal(t, keys[0].Comment, "id")
	_, err = lent.Sign(keys[0], []byte("data"))
	assert.NilError(t, err)

	_, other, err := ed25519.GenerateKey(rand.Reader)
	assert.NilError(t, err)
	assert.Assert(t, lent.Add(agent.AddedKey{PrivateKey: other}) != nil)
	assert.Assert(t, lent.Remove(keys[0]) != nil)
	assert.Assert(t, lent.RemoveAll() != nil)
	assert.Assert(t, lent.Lock([]byte("x")) != nil)
	keys, err = dial(t, a.Socket).List()
	assert.NilError(t, err)
	assert.Equal(t, len(keys), 1)
}

func TestOpen(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	_, err := Open(nil)
	assert.ErrorContains(t, err, "SSH_AUTH_SOCK is not set")
	t.Setenv("SSH_AUTH_SOCK", "/run/agent")
	a, err := Open(nil)
	assert.NilError(t, err)
	assert.Equal(t, a.Socket, "/run/agent")
	_, err = Open([]string{keyFile(t, "secret")})
	assert.ErrorContains(t, err, "needs a passphrase")

	own, err := Open([]string{keyFile(t, "")})
	assert.NilError(t, err)
	same, err := Open([]string{own.Socket})
	assert.NilError(t, err)
	same.Close() // somebody else's
	assert.Equal(t, same.Socket, own.Socket)
	_, err = Open([]string{own.Socket, keyFile(t, "")})
	assert.ErrorContains(t, err, "can't be given together")
	own.Close()
	_, err = os.Stat(own.Socket)
	assert.ErrorIs(t, err, os.ErrNotExist)
}
