package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/planner"
)

// log is an emitter whose events are a list of words.
type log struct {
	mu    sync.Mutex
	words []string
}

func (l *log) emitter() *emitter {
	return newEmitter(func(ev Event) {
		l.mu.Lock()
		defer l.mu.Unlock()
		switch ev.Kind {
		case StepStarted:
			l.words = append(l.words, fmt.Sprintf("start %d %s", ev.Step, ev.Name))
		case StepStatus:
			l.words = append(l.words, fmt.Sprintf("status %d %s %d", ev.Step, ev.Name, ev.Current))
		case StepFinished:
			l.words = append(l.words, fmt.Sprintf("finish %d", ev.Step))
		}
	})
}

func (l *log) said() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.words)
}

// A base image that is being fetched is waited for before the step that stands on it is shown: the time is not the step's.
func TestWaitingForABaseIsNotTheStepsTime(t *testing.T) {
	var l log
	s, events := newTestStore(t), l.emitter()
	step := &planner.Step{Name: "[2/2] RUN x", Op: &fakeOp{text: "x", file: "x"}}
	stage := &planner.Stage{Steps: []*planner.Step{step}, Final: step}
	e := newEngine(t.Context(), s, &Options{}, &planner.Plan{Stages: []*planner.Stage{stage}, Target: stage}, events)
	defer e.close()
	e.project = &project{reading: &reading{events: events}}
	base := newLayerRef()
	layer, err := (&fakeOp{text: "base", file: "y"}).execute(t.Context(), &workspace{engine: e, step: step, v: events.hidden("")})
	assert.NilError(t, err)
	fetch := sync.OnceFunc(func() {
		v := events.start("[1/2] FROM y")
		v.finish(false, nil)
		base.settle(layer.layer, nil)
	})
	base.diffID, base.load = layer.layer.DiffID(), func(context.Context) { fetch() }
	w := &workspace{engine: e, step: step, action: step.Op.(*fakeOp), below: emptySnapshot.with(base)}
	_, err = e.execute(t.Context(), w, e.claimLater(w))
	assert.NilError(t, err)
	assert.NilError(t, e.settle(t.Context()))
	assert.DeepEqual(t, l.said(), []string{"start 1 [1/2] FROM y", "finish 1", "start 2 [2/2] RUN x", "finish 2"})
}

// What takes no time is not shown, and what takes long is, also while events are held back.
func TestSlowStepsAreShown(t *testing.T) {
	var l log
	m := l.emitter()
	assert.NilError(t, m.slowly("fast", func(*vertex) error { return nil }))
	v, settle := m.startSlowly("slow")
	v.status("unseen", 1, 0, false)
	v.show()
	v.status("seen", 2, 0, false)
	settle(nil)
	v.show() // too late

	m.hold()
	first, settleFirst := m.startSlowly("held")
	second, settleSecond := m.startSlowly("beside it")
	first.show()
	second.show() // one at a time
	settleFirst(nil)
	settleSecond(nil)
	assert.NilError(t, m.do("in order", func(*vertex) error { return nil }))
	err := m.do("failed", func(v *vertex) error { v.show(); return errors.New("x") })
	assert.ErrorContains(t, err, "x")
	want := []string{
		"start 1 slow", "status 1 seen 2", "finish 1",
		"start 0 held", "finish 0", "start 0 failed", "finish 0",
	}
	assert.DeepEqual(t, l.said(), want)
	m.release()
	assert.DeepEqual(t, l.said(), append(want, "start 2 in order", "finish 2"))
}

// Bytes are mentioned a few times a second, and at the end when they were mentioned before.
func TestCounter(t *testing.T) {
	var l log
	v := l.emitter().start("COPY")
	c := v.count("copying files", 10)
	c.add(4)
	c.done()
	assert.DeepEqual(t, l.said(), []string{"start 1 COPY"})
	c.last = time.Now().Add(-time.Minute)
	c.add(1)
	c.add(1)
	c.add(20) // a tar is more than its content
	c.done()
	assert.DeepEqual(t, l.said()[1:], []string{"status 1 copying files 5", "status 1 copying files 10"})
}

// Reading the context is shown once for all steps that read it at the same time, and only when it takes long.
func TestReadingTheContextIsShown(t *testing.T) {
	var l log
	r := &reading{events: l.emitter()}
	r.read(1) // nobody asked
	leave := r.enter()
	r.read(1)
	leave()
	assert.Equal(t, len(l.said()), 0)

	leaveA, leaveB := r.enter(), r.enter()
	r.read(1)
	r.v.began, r.count.last = time.Now().Add(-time.Minute), time.Now().Add(-time.Minute)
	r.read(2)
	leaveA()
	r.read(3)
	leaveB()
	assert.DeepEqual(t, l.said(), []string{
		"start 1 [internal] load build context", "status 1 reading context 3", "status 1 reading context 6", "finish 1",
	})
}

// The error of a step says what the lines above it don't show, in one short line.
func TestStepErrorIsShort(t *testing.T) {
	e := &StepError{Name: "[1/1] RUN a\nb", File: "f", Range: dockerfile.Range{Start: 3}, Err: errors.New("why")}
	assert.Equal(t, e.Error(), "f:3: [1/1] RUN a…: why")
	e.Excerpt = "lines"
	assert.Equal(t, e.Error(), "f:3: why")
	e.Trigger = true
	assert.Equal(t, e.Error(), "f:3: [1/1] RUN a…: why")
}
