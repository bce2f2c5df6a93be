package sandbox_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/sandbox"
)

// openPTY makes a terminal for the test to sit at.
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	assert.NilError(t, err)
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	assert.NilError(t, err)
	assert.NilError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	assert.NilError(t, err)
	t.Cleanup(func() {
		master.Close()
		slave.Close()
	})
	return master, slave
}

// screen collects what a command shows.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *screen) waitFor(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if strings.Contains(s.String(), text) {
			return
		}
	}
	t.Fatalf("no %q in %q", text, s.String())
}

func TestTerminal(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	master, slave := openPTY(t)
	assert.NilError(t, unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 31, Col: 97}))
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	assert.NilError(t, err)

	var shown screen
	spec := sh(root, "tty; stty size; trap 'stty size' WINCH; trap 'echo interrupted' INT; ls -l /proc/self/fd/0 | sed 's/.*-> //'; "+
		"test -c /dev/console && echo console > /dev/console; echo ready; "+
		"while :; do read line || continue; echo \"got $line\"; test \"$line\" = end && exit 9; done")
	spec.Process.TTY = slave
	spec.Stdin = slave
	spec.Stdout = &shown
	done := make(chan error)
	go func() { done <- sandbox.Run(t.Context(), spec) }()

	shown.waitFor(t, "ready\r\n")
	assert.Equal(t, shown.String(), "/dev/pts/0\r\n31 97\r\n/dev/pts/0\r\nconsole\r\nready\r\n")
	_, err = master.WriteString("hello\r")
	assert.NilError(t, err)
	shown.waitFor(t, "got hello")

	// Keys are the inner terminal's to interpret.
	_, err = master.WriteString("\x03\r")
	assert.NilError(t, err)
	shown.waitFor(t, "interrupted")

	// The new terminal follows the old one's size.
	assert.NilError(t, unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 80}))
	assert.NilError(t, unix.Kill(os.Getpid(), unix.SIGWINCH))
	time.Sleep(50 * time.Millisecond)
	_, err = master.WriteString("x\r")
	assert.NilError(t, err)
	shown.waitFor(t, "40 80")

	_, err = master.WriteString("end\r")
	assert.NilError(t, err)
	err = <-done
	assert.DeepEqual(t, err, &sandbox.ExitError{Code: 9})
	assert.Assert(t, strings.HasSuffix(shown.String(), "got end\r\n"), shown.String())
	after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	assert.NilError(t, err)
	assert.DeepEqual(t, before, after)
}

// -t without a terminal outside.
func TestTerminalFromPipe(t *testing.T) {
	if !inside(t) {
		return
	}
	null, err := os.Open(os.DevNull)
	assert.NilError(t, err)
	defer null.Close()
	spec := sh(newRoot(t), "tty; id -u; sleep 0.1; echo end")
	spec.Process.TTY = null
	if full() {
		spec.Process.UID = 1000
	}
	out := mustOutput(t, spec)
	assert.Assert(t, strings.HasPrefix(out, "/dev/pts/0") && strings.HasSuffix(out, "end"), out)

	spec.Process.Args = []string{"missing"}
	_, err = output(t, spec)
	assert.ErrorIs(t, err, os.ErrNotExist)
}
