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

// hold keeps events back until release, or for ever: what happened before the engine moves into a user namespace happens again there.
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

// vertex is one numbered step of the display.
type vertex struct {
	m     *emitter
	id    int
	began time.Time
}

// start numbers a step and shows it.
func (m *emitter) start(name string) *vertex {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	v := &vertex{m: m, id: m.next, began: time.Now()}
	m.emitLocked(Event{Kind: StepStarted, Step: v.id, Name: name, Time: v.began})
	return v
}

func (v *vertex) output(stream int, p []byte) {
	v.m.emit(Event{Kind: StepOutput, Step: v.id, Stream: stream, Data: append([]byte(nil), p...)})
}

func (v *vertex) status(name string, current, total int64, done bool) {
	v.m.emit(Event{Kind: StepStatus, Step: v.id, Name: name, Current: current, Total: total, Done: done})
}

func (v *vertex) finish(cached bool, err error) {
	if errors.Is(err, context.Canceled) {
		err = context.Canceled
	}
	v.m.emit(Event{Kind: StepFinished, Step: v.id, Cached: cached, Err: err, Duration: time.Since(v.began)})
}

// do shows f as one step.
func (m *emitter) do(name string, f func(*vertex) error) error {
	v := m.start(name)
	err := f(v)
	v.finish(false, err)
	return err
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
