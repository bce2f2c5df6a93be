package sandbox

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
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

// stdio connects a step's three standard files with what the Spec names.
type stdio struct {
	child [3]*os.File
	in    io.Reader
	inTo  *os.File // our end of stdin, nil when the child has a file
	outs  []*output
	wg    sync.WaitGroup
	dead  atomic.Bool // the step is: what is still unread must come at once
	term  *terminal
}

// output is one pipe to copy out of.
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

// same compares writers that may not be comparable.
func same(a, b io.Writer) (yes bool) {
	defer func() { _ = recover() }()
	return a != nil && a == b
}

func (s *stdio) openInput(r io.Reader, p *pipes) (err error) {
	switch r := r.(type) {
	case nil:
		s.child[0], err = openNull(p)
	case *os.File:
		s.child[0] = r
	default:
		s.in = r
		s.child[0], s.inTo = p.toChild()
	}
	return errors.Join(err, p.err)
}

func (s *stdio) openOutput(w io.Writer, p *pipes) (*os.File, error) {
	switch w := w.(type) {
	case nil:
		return openNull(p)
	case *os.File:
		return w, nil
	}
	r, child := p.fromChild()
	s.outs = append(s.outs, &output{from: r, to: w})
	return child, p.err
}

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
		// Nobody waits for this one: the reader may never return.
		go func() {
			_, _ = io.Copy(s.inTo, s.in) // EPIPE when the command does not want it
			s.inTo.Close()
		}()
	}
	for _, o := range s.outs {
		s.copyOut(o)
	}
}

// copyOut copies until the last writer has closed. A destination that fails does not stop the command: the rest is dropped.
func (s *stdio) copyOut(o *output) {
	s.wg.Go(func() {
		defer o.from.Close()
		buf := make([]byte, 32<<10)
		for {
			if s.dead.Load() {
				_ = o.from.SetReadDeadline(time.Now().Add(grace))
			}
			n, err := o.from.Read(buf)
			if n > 0 && o.err == nil {
				_, o.err = o.to.Write(buf[:n])
			}
			if err != nil {
				return
			}
		}
	})
}

// finish waits until all output is written, and returns the first error of a destination.
func (s *stdio) finish() error {
	s.dead.Store(true)
	for _, o := range s.outs {
		_ = o.from.SetReadDeadline(time.Now().Add(grace)) // for the read that waits; it is an error when already closed
	}
	s.wg.Wait()
	s.term.close()
	for _, o := range s.outs {
		if o.err != nil {
			return o.err
		}
	}
	return nil
}
