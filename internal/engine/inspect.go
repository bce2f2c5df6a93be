package engine

import (
	"context"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
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
	pr, err := openProject(ctx, s, &opts, ev)
	if err != nil {
		return nil, err
	}
	defer pr.close()
	b, err := newBases(s, ev, false, false)
	if err != nil {
		return nil, err
	}
	lint, err := lintOptions(ctx, pr, &opts, b)
	if err != nil {
		return nil, err
	}
	return &Inspection{File: pr.file, Lint: lint}, nil
}

// lintOptions describes the build to the linter.
func lintOptions(ctx context.Context, pr *project, opts *Options, r planner.Bases) (dockerfile.LintOptions, error) {
	host := oci.HostPlatform()
	o := dockerfile.LintOptions{Target: opts.Target, Args: planner.GivenArgs(opts.Args), BuildPlatform: host, TargetPlatform: host}
	if len(opts.Platforms) > 0 {
		o.TargetPlatform = opts.Platforms[0]
	}
	if pr.ignored != nil {
		o.Ignored = pr.ignored.HidesSource
	}
	if value, ok := opts.Args["BUILDKIT_DOCKERFILE_CHECK"]; ok {
		check, err := dockerfile.ParseCheck(value)
		if err != nil {
			return o, err
		}
		o.Check = &check
	}
	o.Base = func(ref string, p oci.Platform) (dockerfile.BaseImage, bool) {
		base, err := resolveName(ctx, r, pr.contexts, ref, p)
		if err != nil {
			return dockerfile.BaseImage{}, false
		}
		return planner.FromConfig(base.Config), true
	}
	return o, nil
}

// resolveName finds the image that a FROM means when it names no stage.
func resolveName(ctx context.Context, r planner.Bases, named planner.Contexts, ref string, p oci.Platform) (*planner.Base, error) {
	if c, ok := named.Find(ref); ok {
		return r.ResolveContext(ctx, c, p)
	}
	return r.ResolveBase(ctx, ref, p)
}

// lint checks the Dockerfile with what the plan has found out about its base images. The error is the one of "# check=error=true".
func (pr *project) lint(ctx context.Context, opts *Options, r planner.Bases) ([]Warning, error) {
	o, err := lintOptions(ctx, pr, opts, r)
	if err != nil {
		return nil, err
	}
	o.NeededOnly = true
	f := pr.file
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
