package engine

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gotest.tools/v3/assert"
)

// fakeOp is an operation whose layer is one empty file. Like a RUN's its layer can come after it has ended.
type fakeOp struct {
	text, file string
	// stored, if set, is what the layer waits for after the operation is over.
	stored <-chan struct{}
	ran    func()
}

func (op *fakeOp) Reads() []*planner.Stage                                   { return nil }
func (op *fakeOp) StandsOnBelow() bool                                       { return true }
func (op *fakeOp) Describe(field func(string, ...string))                    { field("fake", op.text) }
func (op *fakeOp) inputs(context.Context, *workspace) ([]store.Input, error) { return nil, nil }

func (op *fakeOp) execute(ctx context.Context, w *workspace) (*layerRef, error) {
	b := index.NewBuilder()
	if err := b.Add(index.Entry{Path: op.file, Type: index.Regular, Mode: 0o644, MTime: time.Now().UTC().Truncate(time.Second), Offset: -1}); err != nil {
		return nil, err
	}
	ix, err := b.Build()
	if err != nil {
		return nil, err
	}
	if op.ran != nil {
		op.ran()
	}
	if op.stored == nil {
		return w.storeEntries(ctx, ix, noContent{})
	}
	ref := newLayerRef()
	ref.quick = ix
	w.packing.Go(func() error {
		select {
		case <-op.stored:
		case <-w.packCtx.Done():
		}
		r, err := w.storeEntries(w.packCtx, ix, noContent{})
		if err != nil {
			ref.settle(nil, err)
			return err
		}
		ref.settle(r.layer, nil)
		return nil
	})
	return ref, nil
}

// runChain builds a stage of these steps, the first at the bottom, and tells which were cached.
func runChain(t *testing.T, s *store.Store, opts Options, ops ...*fakeOp) (cached []string, final *snapshotRef) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stage := &planner.Stage{}
	for _, op := range ops {
		step := &planner.Step{Name: op.text, Parent: stage.Final, Op: op, NoCache: opts.Cache.NoCache}
		stage.Steps, stage.Final = append(stage.Steps, step), step
	}
	names := map[int]string{}
	e := newEngine(ctx, s, &opts, &planner.Plan{Stages: []*planner.Stage{stage}, Target: stage}, newEmitter(func(ev Event) {
		switch {
		case ev.Kind == StepStarted:
			names[ev.Step] = ev.Name
		case ev.Kind == StepFinished && ev.Cached:
			cached = append(cached, names[ev.Step])
		}
	}))
	defer e.close()
	e.project = &project{reading: &reading{events: e.events}}
	e.actionOf = func(op planner.Operation) (action, error) { return op.(*fakeOp), nil }
	final, err := e.result(ctx, stage.Final)
	assert.NilError(t, err)
	assert.NilError(t, e.settle(ctx))
	return cached, final
}

func newTestStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), t.TempDir())
	assert.NilError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func TestWhatFollowsAStepWithTheSameResultStaysCached(t *testing.T) {
	s := newTestStore(t)
	runChain(t, s, Options{}, &fakeOp{text: "a", file: "x", stored: closed()}, &fakeOp{text: "b", file: "y", stored: closed()}, &fakeOp{text: "c", file: "z"})
	// The first has another text, so it runs, and its layer takes its time; the steps above have been seen, so they wait for it.
	late := make(chan struct{})
	time.AfterFunc(200*time.Millisecond, func() { close(late) })
	cached, _ := runChain(t, s, Options{}, &fakeOp{text: "a2", file: "x", stored: late}, &fakeOp{text: "b", file: "y"}, &fakeOp{text: "c", file: "z"})
	assert.DeepEqual(t, cached, []string{"b", "c"})
	// Another result is another matter.
	cached, _ = runChain(t, s, Options{}, &fakeOp{text: "a3", file: "x3", stored: closed()}, &fakeOp{text: "b", file: "y"}, &fakeOp{text: "c", file: "z"})
	assert.Equal(t, len(cached), 0)
}

func TestAStepNeverSeenBeforeWaitsForNoHashing(t *testing.T) {
	s := newTestStore(t)
	ran := make(chan struct{})
	cached, _ := runChain(t, s, Options{}, &fakeOp{text: "a", file: "x", stored: ran}, &fakeOp{text: "b", file: "y", ran: func() { close(ran) }})
	assert.Equal(t, len(cached), 0)
	// Nor does one that may not be cached.
	ran = make(chan struct{})
	opts := Options{Cache: CacheOptions{NoCache: true}}
	runChain(t, s, opts, &fakeOp{text: "a", file: "x", stored: ran}, &fakeOp{text: "b", file: "y", ran: func() { close(ran) }})
}

func TestTheOldLayerIsUsedForTheSameContent(t *testing.T) {
	s := newTestStore(t)
	_, before := runChain(t, s, Options{}, &fakeOp{text: "a", file: "x"})
	time.Sleep(time.Second) // another mtime
	_, after := runChain(t, s, Options{}, &fakeOp{text: "b", file: "x"})
	assert.Equal(t, after.layers[0].layer.ID(), before.layers[0].layer.ID())
}

func TestTwoBuildsRunAStepOnce(t *testing.T) {
	root := t.TempDir()
	var mu sync.Mutex
	ran := 0
	count := func() { mu.Lock(); ran++; mu.Unlock(); time.Sleep(100 * time.Millisecond) }
	var wg sync.WaitGroup
	for range 4 {
		s, err := store.Open(t.Context(), root)
		assert.NilError(t, err)
		defer s.Close()
		wg.Go(func() {
			late := make(chan struct{})
			time.AfterFunc(300*time.Millisecond, func() { close(late) })
			runChain(t, s, Options{}, &fakeOp{text: "a", file: "x", ran: count, stored: late})
		})
	}
	wg.Wait()
	assert.Equal(t, ran, 1, "who waited for the lock found no record")
}

func TestWants(t *testing.T) {
	images := fakeImages{"base": imageWith(func(*oci.Config) {}), "final": imageWith(func(*oci.Config) {})}
	p := mustPlan(t, "FROM base AS a\nCOPY x /\nRUN y\nCOPY z /\nFROM final\nCOPY --from=a / /\n", Options{}, images)
	w := wantsOf(p, &Options{})
	marked := func(m map[*planner.Step]bool) (out []string) {
		for s := range m {
			out = append(out, s.Name)
		}
		slices.Sort(out)
		return out
	}
	assert.DeepEqual(t, marked(w.dir), []string{"[a 1/4] FROM docker.io/library/base:latest", "[a 2/4] COPY x /"})
	assert.DeepEqual(t, marked(w.blob), []string{"[stage-1 1/2] FROM docker.io/library/final:latest", "[stage-1 2/2] COPY --from=a / /"})
	only := wantsOf(p, &Options{Output: Output{Exports: []Export{{Type: "tar"}}}})
	assert.Equal(t, len(only.blob), 0, "nothing is compressed for a plain tar")
}

// TestHistoryTimes: a layer has its step's time, what has no layer that of the layer before, the base image its own (docs/semantics.md 113).
func TestHistoryTimes(t *testing.T) {
	old := time.Unix(1e9, 0).UTC()
	images := fakeImages{"base": imageWith(func(c *oci.Config) { c.History = []ispec.History{{CreatedBy: "base", Created: &old, EmptyLayer: true}} })}
	p := mustPlan(t, "FROM base\nENV A=b\nCOPY one /\nLABEL c=d\nCOPY two /\nCMD x\n", Options{}, images)
	times := func(epoch *time.Time) []int64 {
		e := newEngine(t.Context(), nil, &Options{Epoch: epoch}, p, newEmitter(nil))
		st := &snapshotRef{}
		for i, s := range p.Target.Steps {
			if i > 0 {
				r := newLayerRef()
				r.created = time.Unix(2e9+int64(i), 0)
				st = st.with(r)
			}
			f := &future{done: make(chan struct{}), snapshot: st}
			close(f.done)
			e.futures[s] = f
		}
		c := planner.CloneConfig(p.Target.Config)
		c.RootFS.DiffIDs = []digest.Digest{"a", "b"}
		assert.NilError(t, e.fillHistory(t.Context(), &c))
		out := []int64{c.Created.Unix()}
		for _, h := range c.History {
			out = append(out, h.Created.Unix())
		}
		return out
	}
	assert.DeepEqual(t, times(nil), []int64{2e9 + 2, 1e9, 2e9 + 1, 2e9 + 1, 2e9 + 1, 2e9 + 2, 2e9 + 2})
	epoch := time.Unix(17e8, 0)
	assert.DeepEqual(t, times(&epoch), []int64{17e8, 1e9, 17e8, 17e8, 17e8, 17e8, 17e8})
}
