package progress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/cairnbuild/cairn/internal/engine"
)

// How long the display stays with a step that is silent while others have something to say, and how often a running
// transfer is mentioned.
const (
	stayWithSilent = time.Second
	stayAtMost     = 10 * time.Second
	mentionEvery   = 5 * time.Second
)

// plainStep is one step's part of the log.
type plainStep struct {
	number  int
	name    string
	began   time.Time
	output  [3]lineBuffer // by stream
	pending []string      // lines not printed yet, without "#N "
	waiting time.Time     // when the oldest of them came
	named   bool          // the header stands in the log
	over    bool
	// mentioned is when a status was last printed, by name.
	mentioned map[string]time.Time
}

// plain writes a log that reads well though steps run side by side: lines of one step stay together, a blank line stands
// between groups, and every line carries its step's number.
type plain struct {
	w     *bufio.Writer
	style Style

	steps map[int]*plainStep
	order []*plainStep // steps with something pending, oldest first
	// current is the step that has the floor, printed the one that the last line was about; lastLine and since are when
	// current last spoke and when it got the floor.
	current, printed *plainStep
	lastLine, since  time.Time
	wrote            bool
	warnings         []*engine.Warning
	finished         *engine.Event
}

func newPlain(w io.Writer, style Style) *plain {
	return &plain{w: bufio.NewWriter(w), style: style, steps: map[int]*plainStep{}}
}

// Event implements Display. It does not need a clock of its own: time is that of the events.
func (p *plain) Event(ev engine.Event) {
	s := p.steps[ev.Step]
	switch ev.Kind {
	case engine.StepStarted:
		s = &plainStep{number: ev.Step, name: stepName(ev), began: ev.Time, mentioned: map[string]time.Time{}}
		p.steps[ev.Step] = s
		p.say(s, ev.Time)
	case engine.Warned:
		p.warnings = append(p.warnings, ev.Warning)
		return
	case engine.BuildFinished:
		p.finished = &ev
		return
	}
	if s == nil {
		return
	}
	switch ev.Kind {
	case engine.StepOutput:
		p.lines(s, ev.Time, s.output[stream(ev)].add(ev.Data))
	case engine.StepStatus:
		p.status(s, ev)
	case engine.StepFinished:
		p.finish(s, ev)
	}
	p.tick(ev.Time)
}

func stream(ev engine.Event) int {
	if ev.Stream == 2 {
		return 2
	}
	return 1
}

func (p *plain) lines(s *plainStep, at time.Time, lines []string) {
	for _, l := range lines {
		p.say(s, at, fmt.Sprintf("%.3f %s", max(0, at.Sub(s.began).Seconds()), clean(l, p.style.Colour)))
	}
}

func (p *plain) status(s *plainStep, ev engine.Event) {
	last, seen := s.mentioned[ev.Name]
	if seen && !ev.Done && ev.Time.Sub(last) < mentionEvery {
		return
	}
	if !seen && !ev.Done {
		s.mentioned[ev.Name] = ev.Time // the first mention comes when it takes long
		return
	}
	s.mentioned[ev.Name] = ev.Time
	p.say(s, ev.Time, clean(statusText(ev), false))
}

func (p *plain) finish(s *plainStep, ev engine.Event) {
	for i := range s.output {
		p.lines(s, ev.Time, s.output[i].flush())
	}
	switch {
	case errors.Is(ev.Err, context.Canceled):
		p.say(s, ev.Time, "CANCELED")
	case ev.Err != nil:
		p.say(s, ev.Time, strings.Split("ERROR: "+Visible(ev.Err.Error()), "\n")...)
	case ev.Cached:
		p.say(s, ev.Time, "CACHED")
	default:
		p.say(s, ev.Time, "DONE "+seconds(ev.Duration))
	}
	s.over = true
}

// say queues lines of a step; no line at all queues the step's header.
func (p *plain) say(s *plainStep, at time.Time, lines ...string) {
	if len(s.pending) == 0 {
		s.waiting = at
		for _, o := range p.order {
			if o == s {
				s.pending = append(s.pending, lines...)
				return
			}
		}
		p.order = append(p.order, s)
	}
	s.pending = append(s.pending, lines...)
}

// tick prints what may be printed at this time.
func (p *plain) tick(now time.Time) {
	for {
		if p.current != nil {
			if len(p.current.pending) > 0 {
				p.print(p.current, now)
			}
			if p.current.over {
				p.current = nil
				continue
			}
			if !p.mayLeave(now) {
				break
			}
		}
		next := p.next(p.current)
		if next == nil {
			break
		}
		p.current, p.since = next, now
		p.print(next, now)
	}
	p.w.Flush()
}

// mayLeave says whether another step may take the floor from one that is not over.
func (p *plain) mayLeave(now time.Time) bool {
	next := p.next(p.current)
	if next == nil {
		return false
	}
	waited := now.Sub(next.waiting)
	return waited >= stayWithSilent && now.Sub(p.lastLine) >= stayWithSilent || waited >= stayAtMost && now.Sub(p.since) >= stayAtMost
}

// next is the step that has been waiting longest to say something.
func (p *plain) next(not *plainStep) *plainStep {
	for _, s := range p.order {
		if s != not {
			return s
		}
	}
	return nil
}

// print writes all pending lines of a step, under its header when the log was last about another one.
func (p *plain) print(s *plainStep, now time.Time) {
	if !s.named || p.printed != s {
		if p.wrote {
			fmt.Fprintln(p.w)
		}
		fmt.Fprintf(p.w, "#%d %s\n", s.number, s.name)
		s.named = true
	}
	for _, l := range s.pending {
		fmt.Fprintf(p.w, "#%d %s\n", s.number, l)
	}
	s.pending = nil
	p.wrote, p.lastLine = true, now
	for i, o := range p.order {
		if o == s {
			p.order = append(p.order[:i:i], p.order[i+1:]...)
			break
		}
	}
	p.printed = s
}

// Close implements Display.
func (p *plain) Close() error {
	if p.current != nil && len(p.current.pending) > 0 {
		p.print(p.current, p.lastLine)
	}
	for len(p.order) > 0 {
		p.print(p.order[0], p.lastLine)
	}
	printWarnings(p.w, p.warnings)
	if p.finished != nil {
		if p.wrote {
			fmt.Fprintln(p.w)
		}
		fmt.Fprintln(p.w, summary(*p.finished))
	}
	return p.w.Flush()
}

// ticking calls an inner plain's tick by the clock too, so that a line is not held back until the next event.
type ticking struct {
	mu    sync.Mutex
	inner *plain
	stop  chan struct{}
	done  chan struct{}
}

func startPlain(w io.Writer, style Style) *ticking {
	t := &ticking{inner: newPlain(w, style), stop: make(chan struct{}), done: make(chan struct{})}
	go t.run()
	return t
}

func (t *ticking) run() {
	defer close(t.done)
	clock := time.NewTicker(250 * time.Millisecond)
	defer clock.Stop()
	for {
		select {
		case <-t.stop:
			return
		case now := <-clock.C:
			t.mu.Lock()
			t.inner.tick(now)
			t.mu.Unlock()
		}
	}
}

// Event implements Display.
func (t *ticking) Event(ev engine.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inner.Event(ev)
}

// Close implements Display.
func (t *ticking) Close() error {
	close(t.stop)
	<-t.done
	return t.inner.Close()
}
