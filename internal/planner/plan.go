package planner

import (
	"context"
	"slices"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/oci"
)

// Plan is the part of a Dockerfile that the target needs, as a graph of steps in which every string is final.
type Plan struct {
	File *dockerfile.File
	// Stages are the reachable ones in the order of the file, each after the images that it names directly in COPY
	// --from and RUN --mount.
	Stages []*Stage
	Target *Stage
	// Warnings are remarks on the build as a whole: unused build arguments and the like.
	Warnings []string
}

// Stage is one FROM block, or an image that is only copied from: what "FROM image" would be.
type Stage struct {
	// Name is what progress shows: the AS name, "stage-2", or nothing when there is only one stage.
	Name     string
	Platform oci.Platform
	Steps    []*Step
	// Final is the step whose result is the stage's file system; nil while it is empty.
	Final  *Step
	Config oci.Config
	// LayerSteps tells for each entry of Config.History which step made its layer, nil for entries without and for the
	// base's.
	LayerSteps []*Step
	// BaseHistory is how many entries of Config.History are the base image's.
	BaseHistory int
}

// Step is one node of the graph: an operation on the file system that Parent leaves.
type Step struct {
	// Name is what progress shows: "[build 2/4] RUN make".
	Name  string
	Range dockerfile.Range
	// Parent is the step below, nil for an empty file system.
	Parent *Step
	// Trigger says that it comes from an ONBUILD of the base; Range is then that of the FROM.
	Trigger bool
	// NoCache says that no recorded result may be used.
	NoCache bool
	Op      Operation
}

// Base is an image that stages build on or copy from, as far as a plan has to know it. Whoever makes it knows more, by
// the pointer.
type Base struct {
	// Name is what FROM shows: the full name with its digest.
	Name      string
	Reference oci.Reference
	Config    oci.Config
	// Layers is how many the image has.
	Layers int
}

// FromConfig is what a stage takes over from the config of an image.
func FromConfig(c oci.Config) dockerfile.BaseImage {
	return dockerfile.BaseImage{
		Platform: c.Platform, Env: c.Config.Env, Shell: c.Config.Shell, OnBuild: c.Config.OnBuild,
		User: c.Config.User, Workdir: c.Config.WorkingDir,
	}
}

// Bases finds base images. Its methods are called from several goroutines.
type Bases interface {
	// ResolveBase returns the image with a name.
	ResolveBase(ctx context.Context, name string, p oci.Platform) (*Base, error)
	// ResolveContext returns the image that a named context is.
	ResolveContext(ctx context.Context, c NamedContext, p oci.Platform) (*Base, error)
}

// BaseError is an image that could not be found.
type BaseError struct {
	// Name is the FROM that asks for it, Range its lines.
	Name  string
	Range dockerfile.Range
	// Hint is a way out, where there is one to tell.
	Hint string
	Err  error
}

func (e *BaseError) Error() string { return e.Name + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *BaseError) Unwrap() error { return e.Err }

// planner makes one plan.
type planner struct {
	opts   *Options
	file   *dockerfile.File
	args   dockerfile.Arguments
	bases  Bases
	nodes  []*node          // of the FROM blocks, by their index
	images map[string]*node // that a --from names
	target *node
	// declared are the arguments that there is an ARG for, or that need none.
	declared map[string]bool
	warnings []string
}

// New makes the plan for one platform. Errors: *dockerfile.Error for a mistake in the Dockerfile or a target that is
// not there, *BaseError, and that of a cancelled context.
func New(ctx context.Context, f *dockerfile.File, opts Options, bases Bases) (*Plan, error) {
	pl := &planner{opts: &opts, file: f, bases: bases, images: map[string]*node{}, declared: map[string]bool{}}
	if err := pl.evaluateArgs(); err != nil {
		return nil, err
	}
	if err := pl.declareStages(); err != nil {
		return nil, err
	}
	target, err := f.Target(opts.Target)
	if err != nil {
		return nil, err
	}
	pl.target = pl.nodes[target.Index]
	reachable, err := pl.resolveReachable(ctx)
	if err != nil {
		return nil, err
	}
	plan := &Plan{File: f, Target: pl.target.Stage}
	for _, n := range pl.inOrder() {
		if !reachable[n] {
			continue
		}
		if err := pl.planStage(n); err != nil {
			return nil, err
		}
		plan.Stages = append(plan.Stages, n.Stage)
	}
	pl.finishTarget()
	pl.warnUnusedArgs()
	plan.Warnings = pl.warnings
	return plan, nil
}

// inOrder lists every node after the images that it names: what copies from them must find them planned.
func (pl *planner) inOrder() []*node {
	all := make([]*node, 0, len(pl.images)+len(pl.nodes))
	for _, n := range pl.nodes {
		for _, ref := range n.fromNames() {
			if x, ok := pl.images[ref.name]; ok && !slices.Contains(all, x) {
				all = append(all, x)
			}
		}
		all = append(all, n)
	}
	return all
}

// finishTarget applies what the command line says about the image as a whole.
func (pl *planner) finishTarget() {
	c := &pl.target.Config
	if len(pl.opts.Labels) > 0 && c.Config.Labels == nil {
		c.Config.Labels = map[string]string{}
	}
	for k, v := range pl.opts.Labels {
		c.Config.Labels[k] = v
	}
	if !pl.opts.Requested {
		return
	}
	p := pl.opts.Platform
	same := c.OS == p.OS && c.Architecture == p.Architecture
	c.OS, c.Architecture = p.OS, p.Architecture
	if p.Variant != "" || !same {
		c.Variant = p.Variant
	}
	if p.OSVersion != "" || !same {
		c.OSVersion = p.OSVersion
	}
}
