package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
	"golang.org/x/sync/errgroup"
)

// Run builds the image that the options describe into the store and exports it.
//
// Errors: *dockerfile.Error for a mistake in the Dockerfile or a target that is not there, *StepError for a step that did not succeed,
// ErrNeedsNamespace when this process is not in a user namespace and the build needs one, and those of the packages below. What
// finished before an error stays recorded.
func Run(ctx context.Context, s *store.Store, opts Options) (*Result, error) {
	ev := newEmitter(opts.OnEvent)
	if !opts.Machine.InNamespace() {
		ev.hold()
	}
	res, err := run(ctx, s, &opts, ev)
	if errors.Is(err, ErrNeedsNamespace) {
		return nil, err
	}
	ev.release()
	return res, err
}

func run(ctx context.Context, s *store.Store, opts *Options, ev *emitter) (*Result, error) {
	pr, err := openProject(ctx, s, opts, ev)
	if err != nil {
		return nil, err
	}
	defer pr.close()
	if opts, err = pr.resolveEpoch(ctx, opts); err != nil {
		return nil, err
	}
	b, err := newBases(s, ev, opts.Cache.Pull, opts.Machine.InNamespace())
	if err != nil {
		return nil, err
	}
	platforms := opts.Platforms
	if len(platforms) == 0 {
		platforms = []oci.Platform{oci.HostPlatform()}
	}
	var engines []*engine
	defer func() {
		for _, e := range engines {
			e.close()
		}
	}()
	for _, p := range platforms {
		plan, err := planner.New(ctx, pr.file, opts.plannerOptions(p, pr.contexts), b)
		if err != nil {
			return nil, baseError(pr.file, err)
		}
		e := newEngine(ctx, s, opts, plan, ev)
		e.bases, e.project = b, pr
		engines = append(engines, e)
	}
	found, err := pr.lint(ctx, opts, b)
	if err != nil {
		ev.warn(found)
		return nil, err
	}
	if !opts.Machine.InNamespace() {
		for _, e := range engines {
			if err := e.rehearse(ctx); err != nil {
				return nil, err
			}
		}
		ev.release()
	}
	ev.warn(found)
	if syntax := pr.file.Syntax; syntax != "" && opts.OnDebug != nil {
		opts.OnDebug("# syntax=" + syntax + ": the Dockerfile language that is built in is used")
	}
	return finish(ctx, engines, opts, ev, s)
}

// finish runs the engines one after the other, makes the images and exports them.
func finish(ctx context.Context, engines []*engine, opts *Options, ev *emitter, s *store.Store) (*Result, error) {
	res := &Result{}
	steps := 0
	for _, e := range engines {
		for _, stage := range e.plan.Stages {
			steps += len(stage.Steps)
		}
	}
	ev.emit(Event{Kind: Planned, Name: "building", Total: int64(steps)})
	for _, e := range engines {
		for _, text := range e.plan.Warnings {
			ev.warn([]Warning{{Text: text}})
		}
		img, err := e.build(ctx)
		if err != nil {
			return nil, err
		}
		res.Images = append(res.Images, img.image)
		res.built = append(res.built, img)
	}
	if err := res.save(ctx, s, opts, ev); err != nil {
		return nil, err
	}
	if err := res.export(ctx, s, opts, ev); err != nil {
		return nil, err
	}
	ev.emit(Event{Kind: BuildFinished, Name: res.name(), Duration: ev.elapsed()})
	return res, nil
}

// rehearse asks for every result without making any. It answers ErrNeedsNamespace when a step would have to run in a namespace, so
// that the engine can move there before anything was done or shown.
func (e *engine) rehearse(ctx context.Context) error {
	dry := newEngine(ctx, e.store, e.opts, e.plan, newEmitter(nil))
	dry.bases, dry.project, dry.dry = e.bases, e.project, true
	defer e.inherit(dry)
	final, err := dry.result(ctx, e.plan.Target.Final)
	if err == nil {
		return dry.rehearseExport(ctx, final)
	}
	if errors.Is(err, errMiss) {
		return dry.rehearseOthers(ctx)
	}
	return err
}

// rehearseOthers looks at the steps behind a first miss: one of them may need a namespace all the same.
func (e *engine) rehearseOthers(ctx context.Context) error {
	for _, st := range e.plan.Stages {
		for _, s := range st.Steps {
			if _, err := e.result(ctx, s); err != nil && !errors.Is(err, errMiss) {
				return err
			}
		}
	}
	return nil
}

// rehearseExport finds out whether blobs would have to be packed from directories that only a namespace can read.
func (e *engine) rehearseExport(ctx context.Context, final *snapshotRef) error {
	for _, r := range final.layers {
		l, err := r.stored(ctx)
		if errors.Is(err, errMiss) {
			continue // a base image that will be fetched
		}
		if err != nil {
			return err
		}
		if len(l.Blobs()) == 0 {
			return ErrNeedsNamespace
		}
	}
	return nil
}

// needsNamespace reports whether an operation that has to be executed needs a user namespace.
func needsNamespace(op planner.Operation) bool {
	switch op := op.(type) {
	case *planner.Run:
		return true
	case *planner.Copy:
		for _, from := range op.Reads() {
			for s := from.Final; s != nil; s = s.Parent {
				if _, ok := s.Op.(*planner.Run); ok {
					return true // what a RUN left may be readable only there
				}
			}
		}
	}
	return false
}

// build runs every step that the target needs and makes its image. A layer that can't be stored ends the steps, too: nothing that comes
// after it could be kept.
func (e *engine) build(ctx context.Context) (*builtImage, error) {
	stepCtx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	e.fail = fail
	defer context.AfterFunc(e.packCtx, func() { fail(nil) })()
	g, gctx := errgroup.WithContext(stepCtx)
	for _, st := range e.plan.Stages {
		if st.Final != nil {
			g.Go(func() error {
				_, err := e.result(gctx, st.Final)
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		if first := context.Cause(stepCtx); ctx.Err() == nil && first != nil {
			err = first // not that of a step that was stopped because of it
		}
		// What finished is worth keeping even though the build did not.
		if failed := e.packing.Wait(); failed != nil && ctx.Err() == nil && errors.Is(err, context.Canceled) {
			err = failed
		}
		return nil, err
	}
	final, err := e.result(ctx, e.plan.Target.Final)
	if err != nil {
		return nil, err
	}
	return e.image(ctx, final)
}

// settle waits for the layers that are still being hashed and packed, and makes them durable.
func (e *engine) settle(ctx context.Context) error {
	if err := e.packing.Wait(); err != nil {
		return err
	}
	if err := e.store.Sync(ctx); err != nil {
		return fmt.Errorf("sync the store: %w", err)
	}
	return nil
}
