// Command agentls lists the keys of the ssh agent at $SSH_AUTH_SOCK, one comment a line: what `ssh-add -l` needs a whole
// distribution for. It is static, so that it runs in any image.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

// The messages of the ssh agent protocol (draft-ietf-sshm-ssh-agent).
const (
	requestIdentities = 11
	identitiesAnswer  = 12
)

func main() {
	if err := list(os.Getenv("SSH_AUTH_SOCK")); err != nil {
		fmt.Fprintln(os.Stderr, "agentls:", err)
		os.Exit(1)
	}
}

func list(socket string) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte{0, 0, 0, 1, requestIdentities}); err != nil {
		return err
	}
	var size uint32
	if err := binary.Read(c, binary.BigEndian, &size); err != nil {
		return err
	}
	answer := make([]byte, min(size, 1<<20))
	if _, err := io.ReadFull(c, answer); err != nil {
		return err
	}
	if len(answer) < 5 || answer[0] != identitiesAnswer {
		return errors.New("the agent answers with something else")
	}
	rest := answer[5:]
	for range binary.BigEndian.Uint32(answer[1:]) {
		_, rest = next(rest)
		var comment string
		comment, rest = next(rest)
		fmt.Println(comment)
	}
	return nil
}

// next takes one length-prefixed string off.
func next(b []byte) (string, []byte) {
	if len(b) < 4 {
		return "", nil
	}
	n := min(int(binary.BigEndian.Uint32(b)), len(b)-4)
	return string(b[4 : 4+n]), b[4+n:]
}
