package build

import (
	"context"

	"github.com/cairnbuild/cairn/internal/store"
)

// operation is what a step does. Its values are final when the plan is made; it keeps no state of a run.
type operation interface {
	// sources are the steps, beside the parent, whose file systems it reads. They may be nil: an empty file system.
	sources() []*Step
	// describe adds all that decides the result, apart from the contents of files, to a key.
	describe(h *hasher)
	// inputs lists the files it reads, with digests, for the key and for --explain.
	inputs(ctx context.Context, w *workspace) ([]store.Input, error)
	// standsOnBelow is false for a COPY --link, whose layer does not depend on the file system below it.
	standsOnBelow() bool
	// execute makes the step's layer.
	execute(ctx context.Context, w *workspace) (*layerRef, error)
}

// workspace is what one step works with.
type workspace struct {
	*engine
	step *Step
	// id is the step's display number.
	id int
	v  *vertex
	// tail is the end of what the step's command printed.
	tail *tail
	// below is the file system that the parent leaves; from are those of operation.sources, in the same order.
	below *state
	from  []*state
	// leases are the cache mounts in use, by the directory of their mount.
	leases map[string]*store.CacheLease

	ends []func()
}

// onStepEnd has f called when the step's command is over.
func (w *workspace) onStepEnd(f func()) { w.ends = append(w.ends, f) }

func (w *workspace) end() {
	for i := len(w.ends) - 1; i >= 0; i-- {
		w.ends[i]()
	}
	w.ends = nil
}
