package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
	"github.com/cairnbuild/cairn/oci/tree"
	"github.com/cairnbuild/cairn/sandbox"
)

// runOp does a RUN.
type runOp struct{ *planner.Run }

// inputs are the contents that bind mounts bring in.
func (op *runOp) inputs(ctx context.Context, w *workspace) ([]store.Input, error) {
	var all []store.Input
	for i, m := range op.Mounts {
		if m.Type != dockerfile.MountBind && m.Origin.Kind == planner.OriginNothing {
			continue
		}
		in, err := w.mountInputs(ctx, m)
		if err != nil {
			return nil, err
		}
		for _, x := range in {
			x.Name = fmt.Sprintf("mount %d: %s", i, x.Name)
			all = append(all, x)
		}
	}
	return all, nil
}

// execute runs the command on the layers below and turns what it changed into a layer.
func (op *runOp) execute(ctx context.Context, w *workspace) (*layerRef, error) {
	if !sandbox.InNamespace() {
		return nil, ErrNeedsNamespace
	}
	w.tail = &tail{}
	tmp, err := w.store.TempDir("run")
	if err != nil {
		return nil, err
	}
	w.onClose(func() { _ = tmp.Close() })
	root, err := w.prepareRoot(ctx, op, tmp.Path())
	if err != nil {
		return nil, err
	}
	err = op.run(ctx, w, root)
	if err := errors.Join(err, root.putBack()); err != nil {
		return nil, err
	}
	ix, err := w.changes(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("read what the command changed: %w", err)
	}
	return w.adopt(ctx, root, ix)
}

func (op *runOp) run(ctx context.Context, w *workspace, root *stepRoot) error {
	t, err := w.below.tree(ctx)
	if err != nil {
		return err
	}
	proc, err := processFor(t, op.User, op.Environment(), op.Dir)
	if err != nil {
		return err
	}
	proc.Args = op.Script.Args
	proc.Env = append(proc.Env, root.env...)
	out := &outputWriter{w.v, 1, w.tail} // one writer for both streams keeps their order
	spec := sandbox.Spec{
		Root: root.mount, Mounts: root.mounts, Process: proc, Hostname: op.Hostname,
		Owners: sandbox.Owners{Lower: root.ownTables, Upper: root.table}, Insecure: op.Insecure, Stdout: out, Stderr: out,
	}
	if err := w.join(ctx, &spec, op.Network); err != nil {
		return err
	}
	if err := w.limits(&spec, op.Limits); err != nil {
		return err
	}
	err = sandbox.Run(ctx, spec)
	var exit *sandbox.ExitError
	var setup *sandbox.SetupError
	switch {
	case err == nil || ctx.Err() != nil:
		return errors.Join(err, ctx.Err())
	case errors.As(err, &exit):
		return &CommandError{Args: op.Script.Args, Code: exit.Code, Err: err}
	case errors.As(err, &setup) && setup.Stage == sandbox.StageExec && errors.Is(setup, syscall.ENOEXEC) && op.foreign():
		return &ForeignError{Platform: oci.FormatPlatform(op.Platform), Err: err}
	case errors.As(err, &setup) && setup.Stage == sandbox.StageExec && errors.Is(setup, os.ErrNotExist):
		return &CommandError{Args: op.Script.Args, Code: 127, Err: err}
	case errors.As(err, &setup) && setup.Stage == sandbox.StageExec:
		return &CommandError{Args: op.Script.Args, Code: 126, Err: err}
	}
	return err
}

// foreign reports whether the image is for another kind of machine than this one.
func (op *runOp) foreign() bool { return op.Platform.Architecture != oci.HostPlatform().Architecture }

// ownersMode is how directory forms hold owners in this process.
func (e *engine) ownersMode() owners.Mode { return sandbox.CurrentIDs().OwnersMode() }

// belowTree lets layer.Scan ask what lies below.
type belowTree struct{ t *tree.Tree }

func belowOf(t *tree.Tree) layer.Below { return belowTree{t} }

func (b belowTree) ReadDir(path string) []index.Entry {
	nodes := b.t.ReadDir(path)
	out := make([]index.Entry, 0, len(nodes))
	for _, n := range nodes {
		out = append(out, n.Entry)
	}
	return out
}

// adoptDir makes a layer of a directory that a RUN left. The next step can stand on it at once; hashing, packing and storing go on
// in the background.
func (w *workspace) adoptDir(dir string, ix *index.Index, table *owners.Table) *layerRef {
	ref := newLayerRef()
	ref.quick, ref.dir, ref.table = ix, dir, table
	ref.created = w.now()
	w.packing.Go(func() error {
		l, err := w.storeDir(w.packCtx, dir, ix, table)
		if err != nil {
			err = fmt.Errorf("store the layer of %s: %w", w.step.Name, err)
		}
		ref.settle(l, err)
		return err
	})
	return ref
}

// storeDir fills in the digests of a RUN's layer, packs it if the image needs it, and puts it into the store.
func (w *workspace) storeDir(ctx context.Context, dir string, ix *index.Index, table *owners.Table) (*store.Layer, error) {
	if err := w.packers.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer w.packers.Release(1)
	content := store.LayerContent{Dir: dir, Table: table, Packing: w.want.compression}
	src := layer.DirSource(dir)
	lasting := w.snapshots().Lasting()
	if !lasting {
		content.Dir, content.Table = "", nil
	}
	if !lasting && !w.want.blob[w.step] {
		content.Packing = compress.Options{Algorithm: compress.None} // its only form
	}
	if w.want.blob[w.step] || !lasting {
		blob, err := w.store.NewBlob(ctx)
		if err != nil {
			return nil, err
		}
		defer blob.Abort()
		packed, err := layer.Pack(ctx, blob, ix, src, content.Packing)
		if err != nil {
			return nil, err
		}
		if content.Blob, err = blob.Commit(content.Packing.MediaType(), packed.Digest); err != nil {
			return nil, err
		}
		content.Index, content.DiffID = packed.Index, packed.DiffID
	} else {
		hashed, err := layer.Hash(ctx, ix, src)
		if err != nil {
			return nil, err
		}
		content.Index = hashed
	}
	return w.addLayer(ctx, content)
}

// addLayer stores a layer. When an earlier run gave the same content, that layer is used whole and this one dropped, so that what
// stands on it stays cached and the image keeps its bytes. With SOURCE_DATE_EPOCH the times have to be the same, too, and then the
// layer has the same name anyway.
func (w *workspace) addLayer(ctx context.Context, c store.LayerContent) (*store.Layer, error) {
	if w.opts.Epoch == nil && !w.step.NoCache {
		if l, ok := w.store.LayerByContentID(c.Index.ContentID()); ok {
			w.onClose(l.Release)
			if l.HasContent() {
				return l, nil
			}
		}
	}
	l, err := w.store.AddLayer(ctx, c)
	if err != nil {
		return nil, err
	}
	w.onClose(l.Release)
	return l, nil
}

// writeScript puts a heredoc with a shebang into dir, which is mounted where the script's path says.
func (op *runOp) writeScript(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	name := filepath.Join(dir, filepath.Base(op.Script.File.Path))
	if err := os.WriteFile(name, []byte(op.Script.File.Content), 0o755); err != nil {
		return err
	}
	return os.Chmod(name, 0o755)
}
