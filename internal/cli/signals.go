package cli

import (
	"context"
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
// third ends the process as it would without us: somebody is in a hurry.
func watchSignals(parent context.Context) (context.Context, *interrupts) {
	ctx, cancel := context.WithCancelCause(parent)
	i := &interrupts{cancel: cancel, signals: make(chan os.Signal, 8), done: make(chan struct{})}
	signal.Notify(i.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
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
			if count == 3 {
				signal.Reset(s)
				_ = syscall.Kill(os.Getpid(), s.(syscall.Signal))
			}
		}
	}
}

// leave gives the signals to somebody else: they cancel nothing any more. It may be called again.
func (i *interrupts) leave() {
	i.once.Do(func() {
		signal.Stop(i.signals)
		close(i.done)
	})
}

// forwarded returns the signals that are for a container's command, and what ends their delivery. Two equal ones in a moment
// are one.
func forwarded() (<-chan os.Signal, func()) {
	in, out, done := make(chan os.Signal, 16), make(chan os.Signal), make(chan struct{})
	signal.Notify(in, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		last := map[os.Signal]time.Time{}
		for {
			select {
			case <-done:
				return
			case s := <-in:
				if time.Since(last[s]) < sameStroke {
					continue
				}
				last[s] = time.Now()
				select {
				case out <- s:
				case <-done:
					return
				}
			}
		}
	}()
	return out, func() {
		signal.Stop(in)
		close(done)
	}
}
