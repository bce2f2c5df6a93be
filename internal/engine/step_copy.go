package engine

import (
	"context"
	"io"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/copier"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci/index"
)

// copyOp does a COPY or ADD.
type copyOp struct{ *planner.Copy }

// inputs is the manifest of everything that is copied.
func (op *copyOp) inputs(ctx context.Context, w *workspace) ([]store.Input, error) {
	g, err := op.gather(ctx, w)
	if err != nil {
		return nil, err
	}
	return storeInputs(g), nil
}

// gather finds everything that is copied. The key and the layer are made of one and the same value.
func (op *copyOp) gather(ctx context.Context, w *workspace) (*copier.Gathered, error) {
	w.gathering.Lock()
	defer w.gathering.Unlock()
	if w.gathered != nil {
		return w.gathered, nil
	}
	r, err := op.request(ctx, w)
	if err != nil {
		return nil, err
	}
	w.gathered, err = copier.Gather(ctx, *r)
	return w.gathered, err
}

// request makes the instruction's request. Remote sources are fetched here, once per build.
func (op *copyOp) request(ctx context.Context, w *workspace) (*copier.Request, error) {
	r := &copier.Request{
		Dest: op.Dest, Workdir: "/", Chown: op.In.Chown, Chmod: op.In.Chmod, Link: op.In.Link, Parents: op.In.Parents,
		Exclude: op.In.Exclude, Epoch: w.opts.Epoch, Now: w.now(), TempDir: w.tempDir,
	}
	unpack := op.In.Add
	if op.In.Unpack != nil {
		unpack = *op.In.Unpack
	}
	needsFrom := false
	for _, s := range op.Sources {
		item := copier.Item{Pattern: s.Text, Unpack: unpack}
		switch s.Kind {
		case dockerfile.LocalSource:
			needsFrom = true
		default:
			var err error
			if item, err = w.fetch(ctx, op.In, s); err != nil {
				return nil, err
			}
		}
		r.Sources = append(r.Sources, item)
	}
	for _, f := range op.In.Heredocs {
		r.Sources = append(r.Sources, copier.InlineItem(f.Name, []byte(f.Content), w.now()))
	}
	if needsFrom {
		var err error
		if r.From, err = w.copySource(ctx, op.Origin); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// tempDir makes a directory that is removed when the step is over.
func (w *workspace) tempDir() (string, error) {
	tmp, err := w.store.TempDir("add")
	if err != nil {
		return "", err
	}
	w.onStepEnd(func() { _ = tmp.Close() })
	return tmp.Path(), nil
}

// copySource is what is copied or mounted from.
func (w *workspace) copySource(ctx context.Context, from planner.Origin) (copier.Source, error) {
	switch from.Kind {
	case planner.OriginContext:
		return w.project.open(ctx)
	case planner.OriginNamed:
		return w.project.openNamed(ctx, from.Context)
	}
	files := w.filesOf(from)
	t, err := files.Tree(ctx)
	if err != nil {
		return nil, err
	}
	return copier.NewStage(t, snapshotFiles{files}), nil
}

// filesOf is the file system of a stage, or an empty one.
func (w *workspace) filesOf(from planner.Origin) *snapshotRef {
	if from.Kind != planner.OriginStage {
		return emptySnapshot
	}
	return w.from[from.Stage]
}

// snapshotFiles reads the files of a snapshot for COPY --from. Waiting for a layer that is still being hashed happens here, where its
// content is needed.
type snapshotFiles struct{ s *snapshotRef }

func (c snapshotFiles) Open(ctx context.Context, layer int, e index.Entry) (io.ReadCloser, error) {
	l, err := c.s.layers[layer].stored(ctx)
	if err != nil {
		return nil, err
	}
	return l.OpenFile(ctx, e.Path)
}

func (c snapshotFiles) Digests(ctx context.Context, layer int) (*index.Index, error) {
	l, err := c.s.layers[layer].stored(ctx)
	if err != nil {
		return nil, err
	}
	return l.EnsureDigests(ctx)
}

// storeInputs is a copy's manifest as the store keeps it.
func storeInputs(g *copier.Gathered) []store.Input {
	var out []store.Input
	for in := range g.Inputs() {
		out = append(out, store.Input{Name: in.Name, Digest: in.Digest(), Detail: in.Detail()})
	}
	return out
}

func (op *copyOp) execute(ctx context.Context, w *workspace) (*layerRef, error) {
	below, err := w.below.Tree(ctx)
	if err != nil {
		return nil, err
	}
	g, err := op.gather(ctx, w)
	if err != nil {
		return nil, err
	}
	res, err := g.Apply(ctx, below)
	if err != nil {
		return nil, err
	}
	defer res.Close()
	for _, text := range res.Warnings {
		w.warn(text)
	}
	return w.storeEntries(ctx, res.Index, res)
}

// warn remarks on the step's instruction.
func (w *workspace) warn(text string) {
	f := w.plan.File
	w.events.emit(Event{Kind: Warned, Warning: &Warning{Text: text, File: f.Name, Line: w.step.Range.Start, Excerpt: excerpt(f, w.step.Range)}})
}
