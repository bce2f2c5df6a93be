package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/bundle"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/snapshot"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
	"github.com/cairnbuild/cairn/sandbox"
	units "github.com/docker/go-units"
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
func (op *runOp) execute(ctx context.Context, w *workspace) (_ *layerRef, err error) {
	if !w.opts.Machine.InNamespace() {
		return nil, ErrNeedsNamespace
	}
	w.tail = &tail{}
	b, process, err := op.prepare(ctx, w)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := b.Close(); err == nil {
			err = cerr
		}
	}()
	if err := op.run(ctx, w, b.Spec(process)); err != nil {
		return nil, err
	}
	changes, err := b.Changes(ctx, w.opts.Epoch)
	if err != nil {
		return nil, err
	}
	return w.adopt(ctx, changes)
}

// prepare makes what the command runs in.
func (op *runOp) prepare(ctx context.Context, w *workspace) (*bundle.Bundle, sandbox.Process, error) {
	process := sandbox.Process{Args: op.Script.Args, Dir: op.Dir}
	mounts, env, err := w.mounts(op)
	if err != nil {
		return nil, process, err
	}
	t, err := w.below.Tree(ctx)
	if err != nil {
		return nil, process, err
	}
	process.Env = append(op.Environment(), env...)
	if process, err = bundle.AsUser(process, t, op.User); err != nil {
		return nil, process, err
	}
	network, err := w.networkOf(ctx, op)
	if err != nil {
		return nil, process, err
	}
	tmp, err := w.store.TempDir("run")
	if err != nil {
		return nil, process, err
	}
	w.onClose(func() { _ = tmp.Close() })
	b, err := bundle.Make(ctx, w.opts.Machine, bundle.Options{
		Dir: tmp.Path(), Layers: w.below, Copy: w.takeSpare(w.below), WorkingDir: op.Dir, Mounts: mounts, Hostname: op.Hostname,
		Network: network, Limits: w.opts.Run.Limits, Insecure: op.Insecure, Now: w.now(), OnCopy: w.showCopying,
	})
	return b, process, err
}

// showCopying tells of the copying of layers for a root file system.
func (w *workspace) showCopying() (done func(bytes int64)) {
	const name = "copying the layers' files"
	w.v.status(name, 0, 0, false)
	return func(bytes int64) {
		w.v.status(fmt.Sprintf("%s: %s", name, units.HumanSize(float64(bytes))), bytes, bytes, true)
	}
}

// run runs the command of a spec.
func (op *runOp) run(ctx context.Context, w *workspace, spec sandbox.Spec) error {
	out := &outputWriter{w.v, 1, w.tail} // one writer for both streams keeps their order
	spec.Stdout, spec.Stderr = out, out
	err := sandbox.Run(ctx, spec)
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

// adopt makes a layer of what a RUN left. A copy is packed before anybody else uses it: it is the next step's, and goes
// on changing.
func (w *workspace) adopt(ctx context.Context, c bundle.Changes) (*layerRef, error) {
	if c.Copy == nil {
		return w.adoptDir(c.Dir, c.Index, c.Owners), nil
	}
	l, err := w.storeDir(ctx, c.Dir, c.Index, nil)
	if err != nil {
		return nil, fmt.Errorf("store the layer: %w", err)
	}
	ref := storedRef(l, w.now())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spares[ref] = c.Copy
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

// adoptDir makes a layer of a directory that a RUN left. The next step can stand on it at once; hashing, packing and
// storing go on in the background.
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
	lasting := w.opts.Machine.Lasting()
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

// addLayer stores a layer. When an earlier run gave the same content, that layer is used whole and this one dropped, so
// that what stands on it stays cached and the image keeps its bytes. With SOURCE_DATE_EPOCH the times have to be the
// same, too, and then the layer has the same name anyway.
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
func (op *runOp) writeScript(_ context.Context, dir string) (string, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	name := filepath.Join(dir, filepath.Base(op.Script.File.Path))
	if err := os.WriteFile(name, []byte(op.Script.File.Content), 0o755); err != nil {
		return "", err
	}
	return dir, errors.Join(os.Chmod(name, 0o755), os.Chmod(dir, 0o755)) // whatever the umask is
}
