package dockerfile

import (
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// scratch is the name of the empty base.
const scratch = "scratch"

// walker evaluates the stages of a file as a build would, as far as that goes without building, and lets the rules look
// on.
type walker struct {
	f      *File
	o      LintOptions
	lex    *Lex
	rules  *ruleLinter
	target *Stage
	args   Arguments
	bases  []base // by stage
	found  []*findings
}

// base is what a stage stands on.
type base struct {
	ref      string
	stage    *Stage // nil for an image and for scratch
	platform ispec.Platform
	used     []string // global arguments in the FROM
}

// findings are what the rules and the outline know of a stage at some instruction.
type findings struct {
	scope Scope
	// known says that the scope has all variables: those of the base image were known.
	known bool
	// workdir says that a WORKDIR was there.
	workdir bool
	// cmd, entrypoint and healthcheck are where the last one of its kind stands in this stage.
	cmd, entrypoint, healthcheck Range
	offers                       offers
}

// walk evaluates f. The error is an *Error; the rules have then run up to there.
func walk(f *File, o LintOptions, rules *ruleLinter) (*walker, error) {
	w := &walker{f: f, o: o, lex: NewLex(f.Escape), rules: rules, found: make([]*findings, len(f.Stages))}
	target, err := f.Target(o.Target)
	if err != nil {
		return nil, err
	}
	w.target = target
	build, image := orDefault(o.BuildPlatform), orDefault(o.TargetPlatform)
	w.baseNames(f.predefined(build, image, o.Target, o.Args))
	if w.args, err = f.Arguments(build, image, o.Target, o.Args); err != nil {
		return nil, err
	}
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

// from evaluates a FROM and runs its rules.
func (w *walker) from(s *Stage) (base, error) {
	from, err := w.f.From(s, w.args)
	l := w.at(s.at)
	w.undeclared(l, s, from.Name)
	if s.Platform != "" {
		w.undeclared(l, s, from.PlatformFlag)
		w.platformFlag(l, s, from.PlatformFlag)
	}
	if err != nil {
		return base{}, err
	}
	b := base{ref: from.Name.Text, stage: from.Stage, platform: orDefault(w.o.TargetPlatform), used: from.Name.Used}
	if from.Platform != nil {
		b.platform, b.used = *from.Platform, slices.Concat(b.used, from.PlatformFlag.Used)
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
		for _, name := range FromNames(i) {
			if d, ok := w.f.FromStage(name); ok {
				all = append(all, d)
			}
		}
	}
	return all
}

// triggers are the ONBUILD instructions that run right after the FROM of s; those that cannot be parsed are left to
// stage.
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
	return b.stage.Triggers()
}

// image asks about a base image; scratch is known to be empty.
func (w *walker) image(b base) (BaseImage, bool) {
	if b.ref == scratch {
		return Scratch(b.platform), true
	}
	if w.o.Base == nil {
		return BaseImage{}, false
	}
	return w.o.Base(b.ref, b.platform)
}
