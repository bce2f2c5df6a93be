package engine

import (
	"sync"
	"time"
)

// reading shows that the context is being read, when that takes long. Steps read it at the same time, each as much as its key
// needs.
type reading struct {
	events *emitter

	mu    sync.Mutex
	steps int // that are reading
	v     *vertex
	count *counter
}

// enter says that a step begins to read; leave is called once, when it has.
func (r *reading) enter() (leave func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.steps--; r.steps == 0 && r.v != nil {
			r.count.done()
			r.v.finish(false, nil)
			r.v = nil
		}
	}
}

// read counts bytes that were read.
func (r *reading) read(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.steps == 0 {
		return
	}
	if r.v == nil {
		r.v = r.events.hidden("[internal] load build context")
		r.count = r.v.count("reading context", 0)
	}
	if time.Since(r.v.began) > slowAfter {
		r.v.show()
	}
	r.count.add(n)
}
