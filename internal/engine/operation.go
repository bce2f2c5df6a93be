package engine

import (
	"context"
	"fmt"
	"sync"

	"github.com/cairnbuild/cairn/internal/copier"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/store"
)

// action is how the engine does what an operation says.
type action interface {
	// inputs lists the files it reads, with digests, for the key and for --explain.
	inputs(ctx context.Context, w *workspace) ([]store.Input, error)
	// execute makes the step's layer.
	execute(ctx context.Context, w *workspace) (*layerRef, error)
}

// actionOf is the action of an operation. An image has none: its layers are there, or are fetched.
func actionOf(op planner.Operation) (action, error) {
	switch op := op.(type) {
	case *planner.Run:
		return &runOp{op}, nil
	case *planner.Copy:
		return &copyOp{op}, nil
	case *planner.Workdir:
		return &workdirOp{op}, nil
	}
	return nil, fmt.Errorf("a plan has a step that this engine can't do: %T", op)
}

// workspace is what one step works with.
type workspace struct {
	*engine
	step   *planner.Step
	action action
	// id is the step's display number.
	id int
	v  *vertex
	// tail is the end of what the step's command printed.
	tail *tail
	// below is the file system that the parent leaves; from are those of the stages that the operation reads.
	below *snapshotRef
	from  map[*planner.Stage]*snapshotRef

	ends []func()

	// gathered is what a COPY found; gathering is held while it does.
	gathering sync.Mutex
	gathered  *copier.Gathered
}

// onStepEnd has f called when the step is over.
func (w *workspace) onStepEnd(f func()) { w.ends = append(w.ends, f) }

func (w *workspace) end() {
	for i := len(w.ends) - 1; i >= 0; i-- {
		w.ends[i]()
	}
	w.ends = nil
}
