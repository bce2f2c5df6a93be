package engine

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/copy"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
)

// copyOp does a COPY or ADD.
type copyOp struct{ *planner.Copy }

// inputs is the manifest of everything that is copied.
func (op *copyOp) inputs(ctx context.Context, w *workspace) ([]store.Input, error) {
	r, err := op.request(ctx, w)
	if err != nil {
		return nil, err
	}
	m, err := copy.Inputs(ctx, *r)
	if err != nil {
		return nil, err
	}
	return storeInputs(m), nil
}

// request makes the instruction's request. Remote sources are fetched here, once per build.
func (op *copyOp) request(ctx context.Context, w *workspace) (*copy.Request, error) {
	r := &copy.Request{
		Dest: op.Dest, Workdir: "/", Chmod: op.In.Chmod, Link: op.In.Link, Parents: op.In.Parents, Exclude: op.In.Exclude,
		Epoch: w.opts.Epoch, Now: w.now(),
	}
	unpack := op.In.Add
	if op.In.Unpack != nil {
		unpack = *op.In.Unpack
	}
	needsFrom := false
	for _, s := range op.Sources {
		item := copy.Item{Pattern: s.Text, Unpack: unpack}
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
		r.Sources = append(r.Sources, copy.InlineItem(f.Name, []byte(f.Content), w.now()))
	}
	if needsFrom {
		var err error
		if r.From, err = w.copySource(ctx, op.Origin); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// copySource is what is copied or mounted from.
func (w *workspace) copySource(ctx context.Context, from planner.Origin) (copy.Source, error) {
	switch from.Kind {
	case planner.OriginContext:
		return w.project.open(ctx)
	case planner.OriginNamed:
		return w.project.openNamed(ctx, from.Context)
	}
	files := w.filesOf(from)
	t, err := files.tree(ctx)
	if err != nil {
		return nil, err
	}
	return copy.NewStage(t, snapshotFiles{files}), nil
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
func storeInputs(m copy.Manifest) []store.Input {
	out := make([]store.Input, 0, len(m))
	for _, in := range m {
		out = append(out, store.Input{Name: in.Name, Digest: in.Digest(), Detail: in.Detail()})
	}
	return out
}

func (op *copyOp) execute(ctx context.Context, w *workspace) (*layerRef, error) {
	below, err := w.below.tree(ctx)
	if err != nil {
		return nil, err
	}
	r, err := op.request(ctx, w)
	if err != nil {
		return nil, err
	}
	if op.In.Chown != "" {
		if r.Chown, err = op.owner(below); err != nil {
			return nil, err
		}
	}
	tmp, err := w.store.TempDir("add")
	if err != nil {
		return nil, err
	}
	defer tmp.Close()
	r.TempDir = tmp.Path()
	res, err := copy.Apply(ctx, below, *r)
	if err != nil {
		return nil, err
	}
	defer res.Close()
	for _, text := range res.Warnings {
		w.warn(text)
	}
	return w.storeEntries(ctx, res.Index, res)
}

// owner resolves --chown in the image's own passwd and group; with --link only numbers have a meaning.
func (op *copyOp) owner(below *tree.Tree) (*copy.Owner, error) {
	var passwd, group []byte
	spec := op.In.Chown
	if op.In.Link {
		parts := strings.Split(spec, ":")
		for i, p := range parts {
			if p == "root" {
				parts[i] = "0"
			}
		}
		spec = strings.Join(parts, ":")
	} else {
		passwd, group = below.Passwd(), below.Group()
	}
	uid, gid, err := copy.ResolveOwner(passwd, group, spec)
	if err != nil {
		return nil, fmt.Errorf("--chown=%s: %w", op.In.Chown, err)
	}
	return &copy.Owner{UID: uid, GID: gid}, nil
}

// warn remarks on the step's instruction.
func (w *workspace) warn(text string) {
	f := w.plan.File
	w.events.emit(Event{Kind: Warned, Warning: &Warning{Text: text, File: f.Name, Line: w.step.Range.Start, Excerpt: excerpt(f, w.step.Range)}})
}
