package sandbox

import (
	"errors"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/cairnbuild/cairn/sandbox/internal/wire"
)

// terminal is the pseudo-terminal of a step that asked for one. A nil *terminal is a step without.
type terminal struct {
	outer  *os.File // the Spec's TTY
	in     io.Reader
	out    io.Writer
	socket *net.UnixConn // the master comes over it
	peer   *os.File
	state  *term.State
	resize chan os.Signal
}

// socket is the child's descriptor for sending descriptors, if it has one.
func (s *stdio) socket() []*os.File {
	if s.term == nil {
		return nil
	}
	return []*os.File{s.term.peer}
}

func (s *stdio) openTerminal(spec *Spec, p *pipes) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	ours, peer := os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")
	defer ours.Close()
	p.child = append(p.child, peer)
	conn, err := net.FileConn(ours)
	if err != nil {
		return err
	}
	s.term = &terminal{outer: spec.Process.TTY, in: spec.Stdin, out: spec.Stdout, socket: conn.(*net.UnixConn), peer: peer}
	for i := range s.child { // until the child has made its terminal
		if s.child[i], err = openNull(p); err != nil {
			return err
		}
	}
	return nil
}

// connect takes the master from the child, which has started the command, and begins to copy.
func (s *stdio) connect() {
	if s.term == nil {
		return
	}
	if err := s.connectTerminal(); err != nil {
		s.outs = append(s.outs, &output{err: err})
	}
}

func (s *stdio) connectTerminal() error {
	t := s.term
	master, err := t.receive()
	if err != nil {
		return err
	}
	out := t.out
	if out == nil {
		out = io.Discard
	}
	in, err := input(t.in)
	if err == nil {
		err = s.addOutput(master, out)
	}
	if err != nil {
		master.Close()
		return err
	}
	t.raw(master)
	if in != nil {
		go t.typed(master, in)
	}
	s.copyOut(s.outs[0]) // ends with EIO when the last slave is closed
	return nil
}

// typed copies keys until there are no more, which for an outer terminal means that it has gone: then the inner one goes, too, and
// tells its session so. It may outlive the step, for one read.
func (t *terminal) typed(master *os.File, in io.Reader) {
	_, _ = io.Copy(struct{ io.Writer }{master}, in)
	if t.state != nil {
		master.Close()
	}
}

// receive reads the one descriptor that the child sends.
func (t *terminal) receive() (*os.File, error) {
	data, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := t.socket.ReadMsgUnix(data, oob)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return nil, err
	}
	if len(messages) != 1 {
		return nil, errors.New("no terminal received")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(fds[0])
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fds[0]), "ptmx"), nil
}

// sizeOf is the size that a new terminal has from the start: that of the outer one, if that is a terminal.
func sizeOf(outer *os.File) *wire.Size {
	ws, err := unix.IoctlGetWinsize(int(outer.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return &wire.Size{}
	}
	return &wire.Size{Rows: ws.Row, Columns: ws.Col}
}

// raw hands the outer terminal's keys and size through to master. An outer file that is no terminal is left alone.
func (t *terminal) raw(master *os.File) {
	fd := int(t.outer.Fd())
	conn, err := master.SyscallConn() // Fd would take master from the poller, and reads from it could not be ended
	if err != nil || !term.IsTerminal(fd) {
		return
	}
	t.state, _ = term.MakeRaw(fd)
	t.resize = make(chan os.Signal, 1)
	signal.Notify(t.resize, syscall.SIGWINCH)
	copySize := func() {
		if ws, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil {
			_ = conn.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, ws) })
		}
	}
	copySize()
	go func() {
		for range t.resize {
			copySize()
		}
	}()
}

// close gives the outer terminal back as it was.
func (t *terminal) close() {
	if t == nil {
		return
	}
	t.socket.Close()
	if t.state != nil {
		_ = term.Restore(int(t.outer.Fd()), t.state)
	}
	if t.resize != nil {
		signal.Stop(t.resize)
		close(t.resize)
	}
}
