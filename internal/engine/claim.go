package engine

import (
	"context"
	"time"

	"github.com/cairnbuild/cairn/internal/store"
	"github.com/opencontainers/go-digest"
)

// claim is a step's key and, where it could be had, the lock that makes this build its only runner.
type claim struct {
	done   chan struct{} // closed when the rest is set
	cancel context.CancelFunc
	key    digest.Digest
	inputs []store.Input
	err    error
	unlock func()
}

// claimed is a claim whose key is known and locked.
func claimed(key digest.Digest, inputs []store.Input, unlock func()) *claim {
	c := &claim{done: make(chan struct{}), cancel: func() {}, key: key, inputs: inputs, unlock: unlock}
	close(c.done)
	return c
}

// claimWait is how long a running step waits for a lock that another build has: that one runs it already, and so do we.
const claimWait = 20 * time.Millisecond

// claimLater computes the key of a step that runs already, as soon as the layers below it are known, and then locks it. The layer
// below is recorded at that moment, and a second build that stands right behind us finds the lock taken.
func (e *engine) claimLater(w *workspace) *claim {
	ctx, cancel := context.WithCancel(e.packCtx)
	c := &claim{done: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(c.done)
		if c.key, c.inputs, c.err = e.key(ctx, w); c.err != nil {
			return
		}
		wait, stop := context.WithTimeout(ctx, claimWait)
		defer stop()
		if unlock, err := e.store.LockKey(wait, c.key); err == nil {
			c.unlock = unlock
		}
	}()
	return c
}

// release gives the lock back, or stops waiting for it. Once.
func (c *claim) release() {
	c.cancel()
	<-c.done
	if c.unlock != nil {
		c.unlock()
	}
}
