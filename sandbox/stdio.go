package sandbox

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long output may still be missing after the last process has ended. None should be: the kernel has closed
// every writer by then, unless the command has sent its descriptor to a process outside.
const grace = 2 * time.Second

// pipes makes pipes and remembers which ends belong to the child. The first error stays.
type pipes struct {
	err   error
	child []*os.File
}

// toChild returns the child's and our end of a pipe that we write to.
func (p *pipes) toChild() (r, w *os.File) {
	r, w = p.make()
	p.child = append(p.child, r)
	return r, w
}

// fromChild returns our and the child's end of a pipe that we read from.
func (p *pipes) fromChild() (r, w *os.File) {
	r, w = p.make()
	p.child = append(p.child, w)
	return r, w
}

func (p *pipes) make() (r, w *os.File) {
	r, w, err := os.Pipe()
	if p.err == nil {
		p.err = err
	}
	return r, w
}

// closeChildEnds may be called twice.
func (p *pipes) closeChildEnds() {
	for _, f := range p.child {
		if f != nil {
			f.Close()
		}
	}
	p.child = nil
}

// stdio connects a step's three standard files with what the Spec names. What the command gets are pipes, or a terminal, of
// its own: through /proc/self/fd it could open a file that it was given anew, to read what it may only write, to cut it
// short or to write what it may only read, and a terminal to type into it.
type stdio struct {
	child [3]*os.File
	in    io.Reader
	inTo  *os.File // our end of stdin, nil when there is none
	outs  []*output
	wg    sync.WaitGroup
	dead  atomic.Bool // the step is: what is still unread must come at once
	term  *terminal
}

// output is one pipe, or terminal, to copy out of.
type output struct {
	from *os.File
	to   io.Writer
	err  error
}

// open makes the files of the child.
func (s *stdio) open(spec *Spec, p *pipes) error {
	if spec.Process.TTY != nil {
		return s.openTerminal(spec, p)
	}
	if err := s.openInput(spec.Stdin, p); err != nil {
		return err
	}
	var err error
	if s.child[1], err = s.openOutput(spec.Stdout, p); err != nil {
		return err
	}
	if same(spec.Stdout, spec.Stderr) {
		s.child[2] = s.child[1]
		return nil
	}
	s.child[2], err = s.openOutput(spec.Stderr, p)
	return err
}

// same compares writers, which may not be comparable. Files are the same when what they write to is, such as one terminal or
// after 2>&1.
func same(a, b io.Writer) (yes bool) {
	defer func() { _ = recover() }()
	if a == nil || a == b {
		return a != nil
	}
	fileA, okA := a.(*os.File)
	fileB, okB := b.(*os.File)
	if !okA || !okB {
		return false
	}
	infoA, errA := fileA.Stat()
	infoB, errB := fileB.Stat()
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

func (s *stdio) openInput(r io.Reader, p *pipes) (err error) {
	if r == nil {
		s.child[0], err = openNull(p)
		return err
	}
	if s.in, err = input(r); err != nil {
		return err
	}
	s.child[0], s.inTo = p.toChild()
	return p.err
}

// input is how a Spec's Stdin is read.
func input(r io.Reader) (io.Reader, error) {
	if f, ok := r.(*os.File); ok {
		return newStream(f)
	}
	return r, nil
}

func (s *stdio) openOutput(w io.Writer, p *pipes) (*os.File, error) {
	if w == nil {
		return openNull(p)
	}
	r, child := p.fromChild()
	if p.err != nil {
		return nil, p.err
	}
	return child, s.addOutput(r, w)
}

// addOutput has what comes from a file copied to a writer.
func (s *stdio) addOutput(from *os.File, w io.Writer) error {
	o := &output{from: from, to: w}
	if f, ok := w.(*os.File); ok {
		to, err := newStream(f)
		if err != nil {
			return err
		}
		o.to = to
		widen(from)
	}
	s.outs = append(s.outs, o)
	return nil
}

// wide is the size of a pipe, in bytes, through which whole files may go, and of the buffer at its end: half the time of what
// the kernel gives without being asked.
const wide = 256 << 10

// widen makes a pipe hold more, if this user does not have too many of that kind already.
func widen(f *os.File) {
	if conn, err := f.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, wide) })
	}
}

// openNull opens what the child replaces by the sandbox's own.
func openNull(p *pipes) (*os.File, error) {
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err == nil {
		p.child = append(p.child, f)
	}
	return f, err
}

// abandon closes our ends of a step that was never started.
func (s *stdio) abandon() {
	if s.inTo != nil {
		s.inTo.Close()
	}
	for _, o := range s.outs {
		o.from.Close()
	}
	s.term.close()
}

// pump starts copying.
func (s *stdio) pump() {
	if s.inTo != nil {
		go s.copyIn(s.inTo)
	}
	for _, o := range s.outs {
		s.copyOut(o)
	}
}

// copyIn copies until there is no more, or the command does not want it. Nobody waits for this: the reader may never return.
func (s *stdio) copyIn(to *os.File) {
	_, _ = io.Copy(struct{ io.Writer }{to}, s.in) // without the ways around, which end in the same one for a pipe
	to.Close()
}

// copyOut copies until the last writer has closed, or the destination fails: then the command's writes fail, too.
func (s *stdio) copyOut(o *output) {
	s.wg.Go(func() {
		defer o.from.Close()
		buf := make([]byte, wide)
		for {
			if s.dead.Load() {
				_ = o.from.SetReadDeadline(time.Now().Add(grace))
			}
			n, err := o.from.Read(buf)
			if n > 0 {
				_, o.err = o.to.Write(buf[:n])
			}
			if err != nil || o.err != nil {
				return
			}
		}
	})
}

// finish waits until all output is written, and returns the first error of a destination as an *OutputError. Once ctx has ended it
// does not wait for long for a destination that takes nothing.
func (s *stdio) finish(ctx context.Context) error {
	s.dead.Store(true)
	for _, o := range s.outs {
		_ = o.from.SetReadDeadline(time.Now().Add(grace)) // for the read that waits; it is an error when already closed
	}
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-stuck(ctx, done):
		s.term.close()
		return nil // the context's error says more
	}
	s.term.close()
	for _, o := range s.outs {
		// A reader who has left has seen what it wanted, and the command was told.
		if o.err != nil && !errors.Is(o.err, unix.EPIPE) {
			return &OutputError{Err: o.err}
		}
	}
	return nil
}

// stuck returns a channel that is closed a while after ctx has ended, unless done is closed before.
func stuck(ctx context.Context, done <-chan struct{}) <-chan struct{} {
	c := make(chan struct{})
	go func() {
		select {
		case <-done:
			return
		case <-ctx.Done():
		}
		select {
		case <-done:
		case <-time.After(2 * grace):
			close(c)
		}
	}()
	return c
}
