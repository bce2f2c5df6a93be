package build

import (
	"context"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/registry"
)

// Inspection is a Dockerfile that was read for something else than a build: to check it, or to say what it offers.
type Inspection struct {
	File *dockerfile.File
	// Lint is what dockerfile.Check and dockerfile.NewOutline have to know of the build that the options describe. Its functions work as
	// long as the store is open. A base image that can't be found is one that nothing is known of, not an error.
	Lint dockerfile.LintOptions
}

// Inspect reads the Dockerfile that Run would build, from wherever the context comes, and builds nothing.
func Inspect(ctx context.Context, s *store.Store, opts Options) (*Inspection, error) {
	ev := newEmitter(nil)
	in, err := openInput(ctx, s, &opts, ev)
	if err != nil {
		return nil, err
	}
	defer in.close()
	reg, err := registry.New(registry.Options{UserAgent: "cairn"})
	if err != nil {
		return nil, err
	}
	b := &bases{store: s, registry: reg, events: ev, metas: map[string]*baseFuture{}}
	lint, err := lintOptions(ctx, in, &opts, b)
	if err != nil {
		return nil, err
	}
	return &Inspection{File: in.file, Lint: lint}, nil
}

// lintOptions describes the build to the linter.
func lintOptions(ctx context.Context, in *input, opts *Options, r baseResolver) (dockerfile.LintOptions, error) {
	host := oci.HostPlatform()
	o := dockerfile.LintOptions{Target: opts.Target, Args: givenArgs(opts.Args), BuildPlatform: host, TargetPlatform: host}
	if len(opts.Platforms) > 0 {
		o.TargetPlatform = opts.Platforms[0]
	}
	if in.ignored != nil {
		o.Ignored = in.ignored.HidesSource
	}
	if value, ok := opts.Args["BUILDKIT_DOCKERFILE_CHECK"]; ok {
		check, err := dockerfile.ParseCheck(value)
		if err != nil {
			return o, err
		}
		o.Check = &check
	}
	o.Base = func(ref string, p oci.Platform) (dockerfile.BaseImage, bool) {
		meta, err := resolveName(ctx, r, &opts.Input, ref, p)
		if err != nil {
			return dockerfile.BaseImage{}, false
		}
		c := meta.config
		return dockerfile.BaseImage{Platform: c.Platform, Env: c.Config.Env, Shell: c.Config.Shell, OnBuild: c.Config.OnBuild}, true
	}
	return o, nil
}

// resolveName finds the image that a FROM means when it names no stage.
func resolveName(ctx context.Context, r baseResolver, in *Input, ref string, p oci.Platform) (*imageMeta, error) {
	if value, ok := in.named(ref); ok {
		return r.resolveNamed(ctx, ref, value, p)
	}
	return r.resolveBase(ctx, ref, p)
}

// lint checks the Dockerfile with what the plan has found out about its base images. The error is the one of "# check=error=true".
func (in *input) lint(ctx context.Context, opts *Options, r baseResolver) ([]Warning, error) {
	o, err := lintOptions(ctx, in, opts, r)
	if err != nil {
		return nil, err
	}
	o.NeededOnly = true
	f := in.file
	report := dockerfile.Check(f, o)
	var out []Warning
	for _, w := range append(append([]dockerfile.Warning(nil), f.Warnings...), report.Warnings...) {
		out = append(out, Warning{Rule: w.Rule, Text: w.Text, URL: w.URL, File: f.Name, Line: w.Range.Start, Excerpt: excerpt(f, w.Range)})
	}
	if strict := o.Check != nil && o.Check.Error || o.Check == nil && f.Check.Error; !strict || len(report.Warnings) == 0 {
		return out, nil // a mistake that stops the build is the plan's to report
	}
	return out, report.Err
}
