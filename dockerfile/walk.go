package dockerfile

import (
	"slices"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// scratch is the name of the empty base.
const scratch = "scratch"

// walker evaluates the stages of a file as a build would, as far as that goes without building, and lets the rules look on.
type walker struct {
	f       *File
	o       LintOptions
	lex     *Lex
	rules   *ruleLinter
	target  *Stage
	globals Vars
	bases   []base // by stage
	states  []*stageState
}

// base is what a stage stands on.
type base struct {
	ref      string
	stage    *Stage // nil for an image and for scratch
	platform ispec.Platform
	used     []string // global arguments in the FROM
}

// stageState is what is known of a stage at some instruction.
type stageState struct {
	// known says that env holds all variables: that of the base image were known.
	known bool
	env   Vars
	args  []ArgValue
	shell []string
	// workdir says that a WORKDIR was there.
	workdir bool
	// cmd, entrypoint and healthcheck are where the last one of its kind stands in this stage.
	cmd, entrypoint, healthcheck Range
	offers                       offers
}

// walk evaluates f. The error is an *Error; the rules have then run up to there.
func walk(f *File, o LintOptions, rules *ruleLinter) (*walker, error) {
	w := &walker{f: f, o: o, lex: NewLex(f.Escape), rules: rules, states: make([]*stageState, len(f.Stages))}
	target, err := f.Target(o.Target)
	if err != nil {
		return nil, err
	}
	w.target = target
	predefined := PlatformArgs(orDefault(o.BuildPlatform), orDefault(o.TargetPlatform), target.Name, o.Args)
	w.baseNames(predefined)
	globals, err := f.Globals(predefined, o.Args)
	if err != nil {
		return nil, err
	}
	w.globals = globals
	for _, s := range f.Stages {
		b, err := w.from(s)
		if err != nil {
			return nil, err
		}
		w.bases = append(w.bases, b)
	}
	needed := w.needed(target)
	for _, s := range f.Stages {
		if needed[s.Index] || o.Target == "" && !o.NeededOnly {
			if err := w.stage(s); err != nil {
				return nil, err
			}
		}
	}
	return w, nil
}

func orDefault(p ispec.Platform) ispec.Platform {
	if p.OS == "" {
		p.OS = "linux"
	}
	if p.Architecture == "" {
		p.Architecture = "amd64"
	}
	return p
}

// from expands a FROM and runs its rules.
func (w *walker) from(s *Stage) (base, error) {
	l := w.at(s.at)
	name, err := w.lex.Expand(s.Base, w.globals)
	if err != nil {
		return base{}, s.at.from.wrap(err, s.Range)
	}
	w.undeclared(l, s, name)
	if name.Text == "" {
		return base{}, w.f.Errorf(s.Range, "the base name %s is empty", s.Base)
	}
	b := base{ref: name.Text, platform: orDefault(w.o.TargetPlatform), used: name.Used}
	if stage, ok := w.f.Stage(name.Text, s.Index); ok {
		b.stage = stage
	}
	if s.Platform == "" {
		return b, nil
	}
	platform, err := w.lex.Expand(s.Platform, w.globals)
	if err != nil {
		return base{}, s.at.from.wrap(err, s.Range)
	}
	w.undeclared(l, s, platform)
	w.platformFlag(l, s, platform)
	b.used = append(b.used, platform.Used...)
	if b.platform, err = platforms.Parse(platform.Text); err != nil {
		e := w.f.Errorf(s.Range, "--platform=%s: %v", s.Platform, err)
		if len(platform.Undefined) > 0 {
			if match := nearest(platform.Undefined[0], w.globals.Keys(), true); match != "" {
				e.Hint = didYouMean("$" + match)
			}
		}
		return base{}, e
	}
	return b, nil
}

// at is the linter for an instruction: a comment above it may switch rules off.
func (w *walker) at(src written) *linter.Linter {
	return w.rules.linter.WithMergedConfigFromComments(src.node.PrevComment)
}

// needed marks the stages that target is made of.
func (w *walker) needed(target *Stage) map[int]bool {
	marked := map[int]bool{}
	var mark func(*Stage)
	mark = func(s *Stage) {
		if s == nil || marked[s.Index] {
			return
		}
		marked[s.Index] = true
		for _, d := range w.dependencies(s) {
			mark(d)
		}
	}
	mark(target)
	return marked
}

// dependencies are the stages that s stands on or takes files from.
func (w *walker) dependencies(s *Stage) []*Stage {
	var all []*Stage
	b := w.bases[s.Index]
	if b.stage != nil {
		all = append(all, b.stage)
	}
	for _, i := range slices.Concat(w.triggers(s), s.Instructions) {
		for _, name := range sourceStages(i) {
			if d, ok := w.f.SourceStage(name); ok {
				all = append(all, d)
			}
		}
	}
	return all
}

// sourceStages are the names that an instruction takes files from.
func sourceStages(i Instruction) []string {
	switch i := i.(type) {
	case *Copy:
		return []string{i.From}
	case *Run:
		var names []string
		for _, m := range i.Mounts {
			names = append(names, m.From)
		}
		return names
	}
	return nil
}

// triggers are the ONBUILD instructions that run right after the FROM of s; those that cannot be parsed are left to stage.
func (w *walker) triggers(s *Stage) []Instruction {
	var all []Instruction
	for _, expression := range w.triggerTexts(s) {
		if i, err := w.f.ParseOnBuild(expression, s.Range); err == nil {
			all = append(all, i)
		}
	}
	return all
}

func (w *walker) triggerTexts(s *Stage) []string {
	b := w.bases[s.Index]
	if b.stage == nil {
		image, _ := w.image(b)
		return image.OnBuild
	}
	var all []string
	for _, i := range b.stage.Instructions {
		if o, ok := i.(*OnBuild); ok {
			all = append(all, o.Expression)
		}
	}
	return all
}

// image asks about a base image; scratch is known to be empty.
func (w *walker) image(b base) (BaseImage, bool) {
	if b.ref == scratch {
		return BaseImage{Platform: b.platform}, true
	}
	if w.o.Base == nil {
		return BaseImage{}, false
	}
	return w.o.Base(b.ref, b.platform)
}
