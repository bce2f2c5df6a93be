package build

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
)

// Plan is the part of a Dockerfile that the target needs, as a graph of steps in which every string is final.
type Plan struct {
	File *dockerfile.File
	// Stages are the reachable ones in the order of the file, then the images that COPY --from and RUN --mount name directly.
	Stages []*Stage
	Target *Stage
	// Warnings are remarks of the planner: unused build arguments and the like.
	Warnings []Warning
}

// Stage is one FROM block, or an image that is only copied from.
type Stage struct {
	// Name is what progress shows: the AS name, "stage-2", or nothing when there is only one stage.
	Name     string
	Platform oci.Platform
	Steps    []*Step
	// Final is the step whose result is the stage's file system; nil while it is empty.
	Final  *Step
	Config oci.Config
	// layerSteps tells for each entry of Config.History which step made its layer, nil for entries without and for the base's.
	layerSteps []*Step
	// baseHistory is how many entries of Config.History are the base image's.
	baseHistory int

	def   *dockerfile.Stage // nil for an image that is only copied from
	base  *Stage            // the local stage that it builds on
	image string            // else the image's name; "" for scratch
	named string            // else the value of the --build-context that stands in for it
	alias string            // and that one's name
	rng   dockerfile.Range
}

// Step is one node of the graph: an operation on the file system that Parent leaves.
type Step struct {
	ID int
	// Name is what progress shows: "[build 2/4] RUN make".
	Name  string
	Stage *Stage
	Range dockerfile.Range
	// Parent is the step below, nil for an empty file system.
	Parent *Step
	// NoCache says that no recorded result may be used.
	NoCache bool

	op operation
}

// imageMeta is what is known of a base image before any of its layers is read.
type imageMeta struct {
	image     oci.Image
	config    oci.Config
	reference oci.Reference
	// ref is what FROM shows: the full name with its digest.
	ref string
	// source has its blobs; remote says that this is a registry.
	source oci.BlobSource
	remote bool

	brought bringing
}

// bringing is an image's way into the store: one for all stages that build on it or copy from it.
type bringing struct {
	once   sync.Once
	layers []*store.Layer
	err    error

	keep sync.Once // for one whose layers are here already
	kept error
}

// baseResolver finds the config of base images; the engine implements it, tests fake it.
type baseResolver interface {
	// resolveBase returns the image's config and where its layers come from. It may be called from several goroutines.
	resolveBase(ctx context.Context, name string, p oci.Platform) (*imageMeta, error)
	// resolveNamed does the same for a --build-context value.
	resolveNamed(ctx context.Context, name, value string, p oci.Platform) (*imageMeta, error)
}

type planner struct {
	opts     *Options
	file     *dockerfile.File
	lex      *dockerfile.Lex
	resolver baseResolver
	given    dockerfile.Vars // --build-arg
	global   dockerfile.Vars // platform arguments and the ARGs before the first FROM
	stages   []*Stage
	byName   map[string]*Stage // lower-cased AS names; the last of two wins
	extra    map[string]*Stage // images named by --from
	target   *Stage
	platform oci.Platform
	multi    bool
	usedArgs map[string]bool
	metas    map[*Stage]*imageMeta
	onbuild  map[*Stage][]dockerfile.Instruction
	states   map[*Stage]*stageState
	steps    int
	warnings []Warning
}

// newPlan makes the plan for one platform.
func newPlan(ctx context.Context, f *dockerfile.File, opts *Options, p oci.Platform, r baseResolver) (*Plan, error) {
	pl := &planner{
		opts: opts, file: f, lex: dockerfile.NewLex(f.Escape), given: givenArgs(opts.Args), resolver: r, platform: p, multi: len(opts.Platforms) > 1,
		byName: map[string]*Stage{}, extra: map[string]*Stage{}, usedArgs: map[string]bool{},
		metas: map[*Stage]*imageMeta{}, onbuild: map[*Stage][]dockerfile.Instruction{}, states: map[*Stage]*stageState{},
	}
	if err := pl.globalArgs(); err != nil {
		return nil, err
	}
	if err := pl.declareStages(); err != nil {
		return nil, err
	}
	if err := pl.findTarget(); err != nil {
		return nil, err
	}
	reachable, err := pl.resolveReachable(ctx)
	if err != nil {
		return nil, err
	}
	plan := &Plan{File: f, Target: pl.target}
	for _, s := range pl.allStages() {
		if !reachable[s] {
			continue
		}
		if err := pl.dispatchStage(s); err != nil {
			return nil, err
		}
		plan.Stages = append(plan.Stages, s)
	}
	pl.finishTarget()
	pl.warnUnusedArgs()
	plan.Warnings = pl.warnings
	return plan, nil
}

// allStages lists the images that are only copied from first: what copies from them must find them planned.
func (pl *planner) allStages() []*Stage {
	all := make([]*Stage, 0, len(pl.extra)+len(pl.stages))
	for _, s := range pl.stages {
		for _, ref := range pl.fromNames(s) {
			if x, ok := pl.extra[ref.name]; ok && !contains(all, x) {
				all = append(all, x)
			}
		}
		all = append(all, s)
	}
	return all
}

func contains(all []*Stage, s *Stage) bool {
	for _, x := range all {
		if x == s {
			return true
		}
	}
	return false
}

func (pl *planner) declareStages() error {
	for i, def := range pl.file.Stages {
		base, _, err := pl.lex.Word(def.Base, pl.global)
		if err != nil {
			return pl.errorAt(def.Range, "", err)
		}
		if base == "" {
			return pl.errorAt(def.Range, "give the ARG in it a default value, or pass it with --build-arg", fmt.Errorf("base name (%s) should not be blank", def.Base))
		}
		s := &Stage{Name: def.Name, def: def, rng: def.Range, Platform: pl.platform}
		if s.Name == "" {
			s.Name = fmt.Sprintf("stage-%d", i)
		}
		if def.Platform != "" {
			if s.Platform, err = pl.stagePlatform(def); err != nil {
				return err
			}
		}
		pl.bindBase(s, base)
		pl.stages = append(pl.stages, s)
		if def.Name != "" {
			pl.byName[strings.ToLower(def.Name)] = s
		}
	}
	if len(pl.stages) == 1 {
		pl.stages[0].Name = ""
	}
	return nil
}

func (pl *planner) stagePlatform(def *dockerfile.Stage) (oci.Platform, error) {
	word, _, err := pl.lex.Word(def.Platform, pl.global)
	if err != nil {
		return oci.Platform{}, pl.errorAt(def.Range, "", err)
	}
	if word == "" {
		return oci.Platform{}, pl.errorAt(def.Range, "", fmt.Errorf("empty platform value from expression %s", def.Platform))
	}
	p, err := oci.ParsePlatform(word)
	if err != nil {
		return oci.Platform{}, pl.errorAt(def.Range, "", fmt.Errorf("parse platform %s: %w", word, err))
	}
	return p, nil
}

// bindBase decides what FROM names: a named context, an earlier stage, nothing, or an image.
func (pl *planner) bindBase(s *Stage, base string) {
	if v, ok := pl.opts.Input.named(s.def.Name); ok {
		s.named, s.alias = namedValue(v), s.def.Name
		return
	}
	if earlier, ok := pl.byName[strings.ToLower(base)]; ok {
		s.base = earlier
		return
	}
	if v, ok := pl.opts.Input.named(base); ok {
		s.named, s.alias = namedValue(v), base
		return
	}
	if base != "scratch" {
		s.image = base
	}
}

func (pl *planner) findTarget() error {
	if pl.opts.Target == "" {
		pl.target = pl.stages[len(pl.stages)-1]
		return nil
	}
	if s, ok := pl.byName[strings.ToLower(pl.opts.Target)]; ok {
		pl.target = s
		return nil
	}
	var n int
	if _, err := fmt.Sscanf(pl.opts.Target, "%d", &n); err == nil && fmt.Sprint(n) == pl.opts.Target && n >= 0 && n < len(pl.stages) {
		pl.target = pl.stages[n]
		return nil
	}
	return &TargetError{Target: pl.opts.Target, Names: pl.stageNames()}
}

func (pl *planner) stageNames() []string {
	var names []string
	for _, s := range pl.stages {
		if s.def.Name != "" {
			names = append(names, s.def.Name)
		}
	}
	return names
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
	if len(pl.opts.Platforms) == 0 {
		return
	}
	same := c.OS == pl.platform.OS && c.Architecture == pl.platform.Architecture
	c.OS, c.Architecture = pl.platform.OS, pl.platform.Architecture
	if pl.platform.Variant != "" || !same {
		c.Variant = pl.platform.Variant
	}
	if pl.platform.OSVersion != "" || !same {
		c.OSVersion = pl.platform.OSVersion
	}
}
