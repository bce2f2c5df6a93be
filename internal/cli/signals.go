package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// interruptedError is the cause of a context that a signal cancelled.
type interruptedError struct{ Signal os.Signal }

func (e *interruptedError) Error() string {
	if e.Signal == os.Interrupt {
		return "interrupted"
	}
	return "interrupted by signal: " + e.Signal.String()
}

// hurry is how many signals that ask for an end are an order: docker's number.
const hurry = 3

// sameStroke is how close two equal signals are one: a key's signal reaches the whole process group, and may come once more
// from whoever passes signals on.
const sameStroke = 100 * time.Millisecond

// interrupts turns signals into the end of a context.
type interrupts struct {
	cancel  context.CancelCauseFunc
	signals chan os.Signal
	done    chan struct{}
	once    sync.Once
}

// watchSignals returns a context that the first SIGINT, SIGTERM or SIGHUP cancels with an *interruptedError as cause. The
// third ends the process as it would without us: somebody is in a hurry. After nohup, SIGHUP stays ignored.
func watchSignals(parent context.Context) (context.Context, *interrupts) {
	ctx, cancel := context.WithCancelCause(parent)
	i := &interrupts{cancel: cancel, signals: make(chan os.Signal, 8), done: make(chan struct{})}
	notify(i.signals, syscall.SIGINT, syscall.SIGTERM)
	go i.watch()
	return ctx, i
}

func (i *interrupts) watch() {
	var count int
	var last time.Time
	for {
		select {
		case <-i.done:
			return
		case s := <-i.signals:
			if time.Since(last) < sameStroke {
				continue
			}
			last = time.Now()
			count++
			i.cancel(&interruptedError{Signal: s})
			if count == hurry {
				endNow(s)
			}
		}
	}
}

// endNow ends this process as the signal would without us. The first process of a pid namespace it does not end.
func endNow(s os.Signal) {
	signal.Reset(s)
	number := s.(syscall.Signal)
	_ = syscall.Kill(os.Getpid(), number)
	time.Sleep(sameStroke) // until it is delivered
	os.Exit(128 + int(number))
}

// leave gives the signals to somebody else: they cancel nothing any more. It may be called again.
func (i *interrupts) leave() {
	i.once.Do(func() {
		signal.Stop(i.signals)
		close(i.done)
	})
}

// notify has the signals and SIGHUP sent to c, but for a SIGHUP that the caller has had ignored.
func notify(c chan<- os.Signal, signals ...os.Signal) {
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	signal.Notify(c, signals...)
}

// killedError is the cause of a context that ended because a command did not, however often it was asked to.
type killedError struct{ interruptedError }

func (e *killedError) Error() string {
	return e.interruptedError.Error() + ": the command had not ended and was killed"
}

// forwarding passes signals on to a container's command. Two equal ones in a moment are one. The third that asks for an end is
// an order: a process 1 gets only what it has a handler for.
type forwarding struct {
	notice func(string)
	kill   context.CancelCauseFunc
	in     chan os.Signal
	done   chan struct{}
}

// start begins and returns the signals that are for the command.
func (f *forwarding) start() <-chan os.Signal {
	f.in, f.done = make(chan os.Signal, 16), make(chan struct{})
	notify(f.in, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	out := make(chan os.Signal)
	go f.run(out)
	return out
}

func (f *forwarding) run(out chan<- os.Signal) {
	last := map[os.Signal]time.Time{}
	var waiting []os.Signal // for the command to be there
	for asked := 0; ; {
		var next os.Signal
		var deliver chan<- os.Signal
		if len(waiting) > 0 {
			next, deliver = waiting[0], out
		}
		select {
		case <-f.done:
			return
		case deliver <- next:
			waiting = waiting[1:]
		case s := <-f.in:
			if time.Since(last[s]) < sameStroke {
				continue
			}
			last[s] = time.Now()
			if s == syscall.SIGINT || s == syscall.SIGTERM {
				asked++
				f.insist(asked, s)
			}
			if len(waiting) < cap(f.in) {
				waiting = append(waiting, s)
			}
		}
	}
}

// insist sees to it that the command ends when it was asked to for the asked-th time.
func (f *forwarding) insist(asked int, s os.Signal) {
	switch {
	case asked == hurry-1:
		f.notice("the command has not ended; once more kills it")
	case asked == hurry:
		f.kill(&killedError{interruptedError{Signal: s}})
	case asked > hurry:
		endNow(s)
	}
}

// stop ends it, whether or not it has begun.
func (f *forwarding) stop() {
	if f.in != nil {
		signal.Stop(f.in)
		close(f.done)
	}
}

// interruptible reads from r until ctx ends: a read from a terminal or a pipe does not end by itself. Its caller closes it.
func interruptible(ctx context.Context, r io.Reader) io.ReadCloser {
	out, in := io.Pipe()
	stop := context.AfterFunc(ctx, func() { in.CloseWithError(context.Cause(ctx)) })
	go func() {
		_, err := io.Copy(in, r)
		in.CloseWithError(err)
		stop()
	}()
	return out
}
