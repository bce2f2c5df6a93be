package engine

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/snapshot"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
	"github.com/cairnbuild/cairn/oci/tree"
	"github.com/cairnbuild/cairn/sandbox"
	units "github.com/docker/go-units"
)

// snapshots is how this build makes root file systems.
func (e *engine) snapshots() *snapshot.Maker {
	if m := e.opts.Run.Snapshots; m != nil {
		return m
	}
	return &snapshot.Maker{Kind: snapshot.Overlay}
}

// copies says that RUN steps work on copies instead of overlays.
func (e *engine) copies() bool { return e.snapshots().Kind == snapshot.Copy }

// copyRoot makes the root file system of a RUN as a copy of the layers below: the one that the step before left, if nobody
// took it, else a new one.
func (w *workspace) copyRoot(ctx context.Context, op *runOp, root *stepRoot, points *snapshot.Points, tmp string) error {
	var err error
	c := w.takeSpare(w.below)
	if c == nil {
		if c, err = w.writeCopy(ctx, w.below, filepath.Join(tmp, "root"), "."); err != nil {
			return err
		}
	}
	root.copied, root.table = c, c.Table
	root.mount = mount.Mount{Type: mount.Bind, Source: c.Dir}
	added, err := points.Index()
	if err != nil {
		return err
	}
	if err := c.Add(added, false); err != nil {
		return err
	}
	dir, err := w.workingDir(ctx, op.Dir)
	if err != nil {
		return err
	}
	if err := c.Add(dir, true); err != nil {
		return err
	}
	for _, m := range root.mounts {
		root.covered = append(root.covered, m.Target)
	}
	if sandbox.CurrentIsolation() == sandbox.IsolationChroot {
		if err := root.place(tmp); err != nil {
			return err
		}
	}
	return c.Begin()
}

// writeCopy copies what is at the path sub of a snapshot, and the directories above it.
func (w *workspace) writeCopy(ctx context.Context, s *snapshotRef, dir, sub string) (*snapshot.Root, error) {
	t, err := s.tree(ctx)
	if err != nil {
		return nil, err
	}
	layers, err := s.stored(ctx)
	if err != nil {
		return nil, err
	}
	const name = "copying the layers' files"
	w.v.status(name, 0, 0, false)
	c, err := snapshot.Write(ctx, dir, t, snapshot.WriteOptions{Open: contentOf(layers), Owners: w.ownersMode(), Sub: sub})
	if err != nil {
		return nil, err
	}
	w.v.status(fmt.Sprintf("%s: %s", name, units.HumanSize(float64(c.Bytes))), c.Bytes, c.Bytes, true)
	return c, nil
}

// contentOf reads the files of a tree of layers.
func contentOf(layers []*store.Layer) snapshot.Content {
	return func(ctx context.Context, n tree.Node) (io.ReadCloser, error) {
		return layers[n.Layer].OpenFile(ctx, n.LinkPath)
	}
}

// changes turns what the command did into an index.
func (w *workspace) changes(ctx context.Context, root *stepRoot) (*index.Index, error) {
	t, err := w.below.tree(ctx)
	if err != nil {
		return nil, err
	}
	o := layer.ScanOptions{Below: belowOf(t), Epoch: w.opts.Epoch, Owners: w.ownersMode(), Table: root.table}
	if root.copied != nil {
		return root.copied.Changes(ctx, o, root.covered)
	}
	return layer.Scan(ctx, root.upper, o)
}

// adopt makes a layer of what a RUN left. A copy is packed before anybody else uses it: it is the next step's, and goes on
// changing.
func (w *workspace) adopt(ctx context.Context, root *stepRoot, ix *index.Index) (*layerRef, error) {
	if root.copied == nil {
		return w.adoptDir(root.upper, ix, root.table), nil
	}
	l, err := w.storeDir(ctx, root.copied.Dir, ix, nil)
	if err != nil {
		return nil, fmt.Errorf("store the layer: %w", err)
	}
	ref := storedRef(l, w.now())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spares[ref] = root.copied
	return ref, nil
}

// takeSpare returns the copy that holds exactly this snapshot, once.
func (w *workspace) takeSpare(s *snapshotRef) *snapshot.Root {
	if len(s.layers) == 0 {
		return nil
	}
	top := s.layers[len(s.layers)-1]
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.spares[top]
	delete(w.spares, top)
	return c
}

// ownTablesOf are the tables of an overlay's directories, for a namespace with one id.
func (w *workspace) ownTablesOf(lower []string) (map[string]*owners.Table, error) {
	if w.ownersMode() != owners.Record {
		return nil, nil
	}
	return w.below.tables(lower)
}
