package engine

import (
	"context"
	"errors"
	"sync"
	"time"
)

// emitter numbers steps in the order in which they first appear and hands events on, one at a time.
type emitter struct {
	mu      sync.Mutex
	next    int
	onEvent func(Event)
	began   time.Time
	held    []Event // while holding is set
	holding bool
	early   bool // something is shown although holding is set
}

func newEmitter(f func(Event)) *emitter { return &emitter{onEvent: f, began: time.Now()} }

func (m *emitter) emit(ev Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.emitLocked(ev)
}

func (m *emitter) emitLocked(ev Event) {
	if m.onEvent == nil {
		return
	}
	if ev.Time.IsZero() {
		ev.Time = time.Now()
	}
	if m.holding {
		m.held = append(m.held, ev)
		return
	}
	m.onEvent(ev)
}

// hold keeps events back until release, or for ever: what happened before the engine moves into a user namespace happens
// again there. What takes long is shown all the same, as step 0.
func (m *emitter) hold() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.holding = true
}

func (m *emitter) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.holding = false
	for _, ev := range m.held {
		m.onEvent(ev)
	}
	m.held = nil
}

// warn reports remarks; they are shown at the end.
func (m *emitter) warn(warnings []Warning) {
	for _, w := range warnings {
		m.emit(Event{Kind: Warned, Warning: &w})
	}
}

func (m *emitter) elapsed() time.Duration { return time.Since(m.began) }

// slowAfter is how long something may take before it is shown as a step that is of no interest otherwise.
const slowAfter = time.Second

// vertex is one step of the display. It is shown from the start, or when show is called.
type vertex struct {
	m     *emitter
	name  string
	began time.Time
	// internal says that it is none of the Dockerfile's steps.
	internal bool

	// Under m.mu: whether it is to be seen, and under which number; early is one that is shown although events are held back.
	shown, early, over bool
	id                 int
}

// start shows a step of the Dockerfile.
func (m *emitter) start(name string) *vertex {
	v := &vertex{m: m, name: name, began: time.Now()}
	m.mu.Lock()
	defer m.mu.Unlock()
	v.number()
	return v
}

// number gives the vertex the next number and shows it. The caller holds m.mu.
func (v *vertex) number() {
	v.m.next++
	v.id, v.shown = v.m.next, true
	v.m.emitLocked(Event{Kind: StepStarted, Step: v.id, Name: v.name, Internal: v.internal, Time: v.began})
}

// do shows f as one step, which is none of the Dockerfile's.
func (m *emitter) do(name string, f func(*vertex) error) error {
	m.mu.Lock()
	holding := m.holding
	m.mu.Unlock()
	v, settle := m.startSlowly(name)
	if !holding {
		v.showNow()
	}
	err := f(v)
	v.showNow()
	settle(err)
	return err
}

// showNow numbers a vertex that is not shown yet.
func (v *vertex) showNow() {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	if !v.shown {
		v.number()
	}
}

// slowly shows f as a step only when it takes long.
func (m *emitter) slowly(name string, f func(*vertex) error) error {
	v, settle := m.startSlowly(name)
	err := f(v)
	settle(err)
	return err
}

// hidden makes a step, none of the Dockerfile's, that is shown when somebody calls show.
func (m *emitter) hidden(name string) *vertex {
	return &vertex{m: m, name: name, began: time.Now(), internal: true}
}

// startSlowly is the first half of slowly; settle, called once, is the second.
func (m *emitter) startSlowly(name string) (v *vertex, settle func(error)) {
	v = m.hidden(name)
	timer := time.AfterFunc(slowAfter, v.show)
	return v, func(err error) {
		timer.Stop()
		v.finish(false, err)
	}
}

// show shows what takes long: under a number of its own, or while events are held back as step 0, if nothing else is.
func (v *vertex) show() {
	m := v.m
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case v.over || v.shown || m.onEvent == nil || m.holding && m.early:
	case m.holding:
		v.shown, v.early, m.early = true, true, true
		m.onEvent(Event{Kind: StepStarted, Name: v.name, Internal: true, Time: v.began})
	default:
		v.number()
	}
}

// emit reports something of a vertex that is shown.
func (v *vertex) emit(ev Event) {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	switch ev.Step = v.id; {
	case v.early:
		ev.Time = time.Now()
		v.m.onEvent(ev)
	case v.shown:
		v.m.emitLocked(ev)
	}
	if ev.Kind == StepFinished {
		v.over = true
		v.m.early = v.m.early && !v.early
	}
}

func (v *vertex) output(stream int, p []byte) {
	v.emit(Event{Kind: StepOutput, Stream: stream, Data: append([]byte(nil), p...)})
}

func (v *vertex) status(name string, current, total int64, done bool) {
	v.emit(Event{Kind: StepStatus, Name: name, Current: current, Total: total, Done: done})
}

func (v *vertex) finish(cached bool, err error) {
	if errors.Is(err, context.Canceled) {
		err = context.Canceled
	}
	v.emit(Event{Kind: StepFinished, Cached: cached, Err: err, Duration: time.Since(v.began)})
}

// counter shows how many bytes of total something has come to, a few times a second, once it takes long. It may be used from
// several goroutines.
type counter struct {
	v     *vertex
	name  string
	total int64

	mu   sync.Mutex
	n    int64
	last time.Time
	said bool
}

// statusEvery is how often a number of bytes is shown.
const statusEvery = 300 * time.Millisecond

func (v *vertex) count(name string, total int64) *counter {
	return &counter{v: v, name: name, total: total, last: time.Now()}
}

// Write counts p.
func (c *counter) Write(p []byte) (int, error) {
	c.add(int64(len(p)))
	return len(p), nil
}

func (c *counter) add(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += n
	if now := time.Now(); now.Sub(c.last) > statusEvery {
		c.last, c.said = now, true
		c.v.status(c.name, c.current(), c.total, false)
	}
}

// current leaves out what a tar has beside the content.
func (c *counter) current() int64 {
	if c.total > 0 {
		return min(c.n, c.total)
	}
	return c.n
}

// done says the last number, if there was one before.
func (c *counter) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said {
		c.v.status(c.name, c.current(), c.total, true)
	}
}

// outputWriter makes a step's output stream an io.Writer and keeps its last lines for the error.
type outputWriter struct {
	v      *vertex
	stream int
	tail   *tail
}

func (w *outputWriter) Write(p []byte) (int, error) {
	w.tail.add(p)
	w.v.output(w.stream, p)
	return len(p), nil
}

// tail keeps the last bytes of both streams.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

// tailSize is how many bytes of output an error carries along.
const tailSize = 16 << 10

func (t *tail) add(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*tailSize {
		t.buf = append([]byte(nil), t.buf[len(t.buf)-tailSize:]...)
	}
}

func (t *tail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]byte(nil), t.buf[max(0, len(t.buf)-tailSize):]...)
}
