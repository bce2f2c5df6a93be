package engine

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/cairnbuild/cairn/internal/copier"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/snapshot"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// engine runs one plan. Each step is a future: asked for by whoever needs its result, run at most once.
type engine struct {
	store   *store.Store
	opts    *Options
	plan    *planner.Plan
	events  *emitter
	bases   *bases
	project *project
	want    wants
	// actionOf tells how an operation is done.
	actionOf func(planner.Operation) (action, error)
	// dry makes it look results up and run nothing: a miss is errMiss, or ErrNeedsNamespace when a namespace would be needed.
	dry bool
	// fail ends all steps because of the first error; nil in a rehearsal.
	fail context.CancelCauseFunc

	mu      sync.Mutex
	futures map[*planner.Step]*future
	// hits are the layers that a dry engine found. The engine after it takes them as they are: they stay locked, so nothing has to be
	// looked up twice, and nothing can have changed between.
	hits    map[*planner.Step]*layerRef
	fetched map[string]copier.Item // by source
	spares  map[*layerRef]*snapshot.Root
	cleanup []func()
	// packing runs the hashing and packing of finished layers behind the steps that follow; packers bounds it by the cores.
	packing *errgroup.Group
	packCtx context.Context
	packers *semaphore.Weighted
	network sharedNetwork
}

type future struct {
	done     chan struct{}
	snapshot *snapshotRef
	err      error
}

// errMiss is what a dry engine answers for a step that has no recorded result and needs no namespace.
var errMiss = errors.New("not in the cache")

func newEngine(ctx context.Context, s *store.Store, opts *Options, plan *planner.Plan, ev *emitter) *engine {
	e := &engine{store: s, opts: opts, plan: plan, events: ev, actionOf: actionOf, futures: map[*planner.Step]*future{}, hits: map[*planner.Step]*layerRef{}, fetched: map[string]copier.Item{}, spares: map[*layerRef]*snapshot.Root{}}
	e.packing, e.packCtx = errgroup.WithContext(ctx)
	e.packers = semaphore.NewWeighted(int64(max(2, runtime.NumCPU())))
	e.want = wantsOf(plan, opts)
	return e
}

// result returns the file system that a step leaves; nil is the empty one.
func (e *engine) result(ctx context.Context, s *planner.Step) (*snapshotRef, error) {
	if s == nil {
		return emptySnapshot, nil
	}
	e.mu.Lock()
	f, ok := e.futures[s]
	if !ok {
		f = &future{done: make(chan struct{})}
		e.futures[s] = f
	}
	e.mu.Unlock()
	if !ok {
		f.snapshot, f.err = e.run(ctx, s)
		close(f.done)
		if f.err != nil && e.fail != nil {
			e.fail(f.err) // at once: what this step is waited for with may take long
		}
		return f.snapshot, f.err
	}
	select {
	case <-f.done:
		return f.snapshot, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run waits for what the step stands on, then looks it up or executes it.
func (e *engine) run(ctx context.Context, s *planner.Step) (*snapshotRef, error) {
	w := &workspace{engine: e, step: s, from: map[*planner.Stage]*snapshotRef{}}
	if op, ok := s.Op.(*planner.Image); ok {
		return w.imageSnapshot(ctx, op)
	}
	var err error
	if w.action, err = e.actionOf(s.Op); err != nil {
		return nil, err
	}
	// No context of this group's own: a step that others wait for, too, must not be cancelled because one that needs it failed.
	// The failure of any step ends the whole build through fail.
	var g errgroup.Group
	g.Go(func() (err error) {
		w.below, err = e.result(ctx, s.Parent)
		return err
	})
	var mu sync.Mutex // of w.from
	for _, stage := range s.Op.Reads() {
		g.Go(func() error {
			from, err := e.result(ctx, stage.Final)
			mu.Lock()
			defer mu.Unlock()
			w.from[stage] = from
			return err
		})
	}
	if err := g.Wait(); err != nil {
		if e.dry && errors.Is(err, errMiss) && needsNamespace(s.Op) {
			return nil, ErrNeedsNamespace
		}
		return nil, err
	}
	ref, err := e.layer(ctx, w)
	if err != nil {
		return nil, err
	}
	return w.below.with(ref), nil
}

// layer finds the step's layer in the store or makes it.
func (e *engine) layer(ctx context.Context, w *workspace) (*layerRef, error) {
	if ref := e.rehearsed(w.step); ref != nil {
		e.events.start(w.step.Name).finish(true, nil)
		return ref, nil
	}
	if !w.step.NoCache && (w.settled() || e.store.HasHint(definitionKey(w.step))) {
		key, inputs, err := e.key(ctx, w)
		if errors.Is(err, errMiss) {
			return nil, missing(w) // it would have to read a base image that is not here
		}
		if err != nil {
			return nil, e.stepError(w, err)
		}
		if ref := e.cached(w, key); ref != nil {
			return ref, nil
		}
		if e.dry {
			return nil, missing(w)
		}
		unlock, err := e.store.LockKey(ctx, key)
		if err != nil {
			return nil, err
		}
		if ref := e.cached(w, key); ref != nil { // another build made it while we waited
			unlock()
			return ref, nil
		}
		return e.execute(ctx, w, claimed(key, inputs, unlock))
	}
	if e.dry {
		return nil, missing(w)
	}
	return e.execute(ctx, w, e.claimLater(w))
}

// settled reports whether the step's key can be computed without waiting for layers that are still being hashed.
func (w *workspace) settled() bool {
	for _, s := range w.from {
		if !s.settled() {
			return false
		}
	}
	return w.below.settled()
}

// missing is what a dry engine answers for a step without a record.
func missing(w *workspace) error {
	if needsNamespace(w.step.Op) {
		return ErrNeedsNamespace
	}
	return errMiss
}

// cached returns the recorded layer for the key, or nil.
func (e *engine) cached(w *workspace, key digest.Digest) *layerRef {
	if w.step.NoCache {
		return nil
	}
	rec, ok := e.store.LookupStep(key)
	if !ok {
		return nil
	}
	l, err := e.store.Layer(rec.Layer)
	if err != nil {
		return nil // a record without its layer is a miss
	}
	e.onClose(l.Release)
	ref := storedRef(l, rec.Created)
	if e.dry {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.hits[w.step] = ref
		return ref
	}
	e.events.start(w.step.Name).finish(true, nil)
	return ref
}

// rehearsed returns the layer that the dry engine before this one found for the step, or nil. It found the same layers below.
func (e *engine) rehearsed(s *planner.Step) *layerRef {
	if e.dry {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.hits[s]
}

// inherit takes over what a dry engine found, and the locks on it.
func (e *engine) inherit(dry *engine) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hits, e.cleanup = dry.hits, append(e.cleanup, dry.cleanup...)
	dry.cleanup = nil
}

// execute runs the step and sees to it that its result is recorded. The claim is held until the record is there, so that whoever
// waits for it finds the result.
func (e *engine) execute(ctx context.Context, w *workspace, c *claim) (*layerRef, error) {
	if err := e.await(ctx, w); err != nil {
		c.release()
		return nil, e.stepError(w, err)
	}
	v := e.events.start(w.step.Name)
	w.id, w.v = v.id, v
	ref, err := w.action.execute(ctx, w)
	w.end()
	v.finish(false, err)
	if err != nil {
		c.release()
		return nil, e.stepError(w, err)
	}
	if ref.created.IsZero() {
		ref.created = e.now()
	}
	e.packing.Go(func() error {
		defer c.release()
		return e.record(e.packCtx, w, ref, c)
	})
	return ref, nil
}

// await waits for what a step stands on or reads and what others bring here: base images that are being fetched, and for a RUN
// the directories of the layers. Their time is not the step's.
func (e *engine) await(ctx context.Context, w *workspace) error {
	reads := slices.Collect(maps.Values(w.from))
	if w.step.Op.StandsOnBelow() {
		reads = append(reads, w.below)
	}
	for _, s := range reads {
		if err := s.fetched(ctx); err != nil {
			return err
		}
	}
	if _, ok := w.step.Op.(*planner.Run); !ok || e.opts.Machine.Copies() || !e.opts.Machine.InNamespace() {
		return nil
	}
	return e.events.slowly("[internal] extract layers", func(*vertex) error {
		for _, s := range reads {
			if _, err := s.Dirs(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// record writes the step's record once its layer is in the store.
func (e *engine) record(ctx context.Context, w *workspace, ref *layerRef, c *claim) error {
	l, err := ref.stored(ctx)
	if err != nil {
		return err
	}
	<-c.done
	if c.err != nil {
		return c.err
	}
	rec := store.Step{Key: c.key, Layer: l.ID(), Inputs: c.inputs, Created: ref.created, Description: w.step.Name}
	if err := e.store.PutStep(rec); err != nil {
		return err
	}
	return e.store.PutHint(definitionKey(w.step), c.key)
}

// key computes the step's key and the manifest of the files that went into it.
func (e *engine) key(ctx context.Context, w *workspace) (digest.Digest, []store.Input, error) {
	leave := e.project.reading.enter()
	inputs, err := w.action.inputs(ctx, w)
	leave()
	if err != nil {
		return "", nil, err
	}
	h := newHasher("step")
	if w.step.Op.StandsOnBelow() {
		below, err := w.below.chain(ctx)
		if err != nil {
			return "", nil, err
		}
		h.field("below", string(below))
	}
	e.describe(h, w.step)
	h.inputs(inputs)
	return h.digest(), inputs, nil
}

func (e *engine) describe(h *hasher, s *planner.Step) {
	if e.opts.Epoch != nil {
		h.field("epoch", e.opts.Epoch.UTC().Format(time.RFC3339))
	}
	s.Op.Describe(h.field)
}

// definitionKey names a step by what it says alone, without the content of any file and whatever lies below. A record under it means
// that the step ran before somewhere: only then is it worth waiting for content ids to look for a result. What lies below stays out of
// it so that a hint outlives a change of the steps before.
func definitionKey(s *planner.Step) digest.Digest {
	h := newHasher("definition")
	s.Op.Describe(h.field)
	return h.digest()
}

// now is the time that goes into history and new entries: SOURCE_DATE_EPOCH where there is one. Whole seconds.
func (e *engine) now() time.Time {
	if e.opts.Epoch != nil {
		return e.opts.Epoch.UTC()
	}
	return time.Now().UTC().Truncate(time.Second)
}

func (e *engine) onClose(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cleanup = append(e.cleanup, f)
}

// close releases locks and temporary directories; nothing may run any more.
func (e *engine) close() {
	for i := len(e.cleanup) - 1; i >= 0; i-- {
		e.cleanup[i]()
	}
	e.cleanup = nil
}

// stepError gives a failure its place and the lines around it.
func (e *engine) stepError(w *workspace, err error) error {
	var step *StepError
	if errors.As(err, &step) || errors.Is(err, ErrNeedsNamespace) || errors.Is(err, context.Canceled) {
		return err
	}
	se := &StepError{Step: w.id, Name: w.step.Name, Trigger: w.step.Trigger, File: e.plan.File.Name, Range: w.step.Range, Err: err}
	se.Excerpt = excerpt(e.plan.File, w.step.Range)
	se.Hint = stepHint(err)
	if w.tail != nil {
		se.Tail = w.tail.bytes()
	}
	return se
}
