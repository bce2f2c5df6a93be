package planner

import (
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/oci"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// dispatcher has what instructions change one after the other while a stage's steps are made.
type dispatcher struct {
	*node
	pl      *planner
	cmdSet  bool
	index   int // of the next step in the stage, for its name
	total   int
	onbuild bool
	noCache bool
}

// planStage turns a stage's instructions into steps and config.
func (pl *planner) planStage(n *node) error {
	d := &dispatcher{node: n, pl: pl, noCache: pl.opts.NoCache || pl.filtered(n)}
	n.planned = true
	d.inherit()
	for i, in := range n.instructions() {
		d.onbuild = i < len(n.triggers)
		if err := d.dispatch(in); err != nil {
			return pl.errorAt(in.Range(), err)
		}
	}
	return nil
}

// errorAt gives an error its place in the Dockerfile, unless it has one.
func (pl *planner) errorAt(r dockerfile.Range, err error) error {
	if placed, ok := errors.AsType[*dockerfile.Error](err); ok {
		return placed
	}
	return pl.file.Errorf(r, "%s", err)
}

// filtered reports whether --no-cache-filter names the stage, by its name or its number.
func (pl *planner) filtered(n *node) bool {
	number := strconv.Itoa(slices.Index(pl.nodes, n))
	return slices.ContainsFunc(pl.opts.NoCacheFilter, func(f string) bool {
		return n.def != nil && (f == number || strings.EqualFold(f, n.Name) || f == "stage-"+number)
	})
}

// inherit starts a stage from an earlier one, from an image, from a named context or from nothing.
func (d *dispatcher) inherit() {
	d.total = d.countSteps()
	switch {
	case d.below != nil:
		b := d.below
		d.Config, d.scope = CloneConfig(b.Config), b.scope
		d.LayerSteps, d.BaseHistory = slices.Clone(b.LayerSteps), b.BaseHistory
		d.Final, d.Platform = b.Final, b.Platform
	case d.base != nil:
		d.Config = CloneConfig(d.base.Config)
		d.scope = dockerfile.NewScope(d.pl.file, d.pl.args, FromConfig(d.Config))
		d.Config.History = completeHistory(d.Config.History, d.base.Layers)
		d.LayerSteps, d.BaseHistory = make([]*Step, len(d.Config.History)), len(d.Config.History)
		d.addStep("FROM "+d.base.Name, d.at, &Image{Base: d.base})
	default:
		d.Config = emptyConfig(d.Platform)
		d.scope = dockerfile.NewScope(d.pl.file, d.pl.args, dockerfile.Scratch(d.Platform))
		if d.copies() {
			d.copyContext()
		}
	}
	c := &d.Config.Config
	c.OnBuild = nil
	if _, ok := dockerfile.NewVars(c.Env).Get("PATH"); !ok {
		c.Env = append(c.Env, "PATH="+dockerfile.DefaultPath)
	}
	c.WorkingDir = d.scope.Workdir
}

// copyContext starts a stage with the files of a named context, as FROM of one does.
func (d *dispatcher) copyContext() {
	step := d.addStep("FROM "+d.fromText(), d.at, &Copy{
		In:   &dockerfile.Copy{Sources: []string{"/"}, Dest: "/", From: d.context.Name},
		Dest: "/", Sources: []dockerfile.Source{{Text: "/"}}, Origin: Origin{Kind: OriginNamed, Context: *d.context},
	})
	d.Config.History = append(d.Config.History, ispec.History{Comment: exporterComment})
	d.LayerSteps = append(d.LayerSteps, step)
}

func (d *dispatcher) countSteps() int {
	n := 0
	if d.base != nil || d.copies() {
		n = 1
	}
	for _, in := range d.instructions() {
		switch in.(type) {
		case *dockerfile.Run, *dockerfile.Copy, *dockerfile.Workdir:
			n++
		}
	}
	return n
}

// addStep appends a step to the stage's chain.
func (d *dispatcher) addStep(text string, r dockerfile.Range, op Operation) *Step {
	d.index++
	name := "["
	if d.pl.opts.Several {
		name += oci.FormatPlatform(d.Platform) + " "
	}
	if d.Name != "" {
		name += d.Name + " "
	}
	width := 1
	if d.total > 0 {
		width = int(1 + math.Log10(float64(d.total)))
	}
	name += fmt.Sprintf("%*d/%d] ", width, d.index, max(d.total, d.index))
	if d.onbuild {
		name += "ONBUILD "
	}
	step := &Step{Name: name + text, Range: r, Parent: d.Final, Op: op, NoCache: d.noCache, Trigger: d.onbuild}
	d.Steps = append(d.Steps, step)
	d.Final = step
	return step
}

// commit adds a history entry; step is the one that made its layer, nil for an entry without.
func (d *dispatcher) commit(createdBy string, step *Step) {
	d.Config.History = append(d.Config.History, ispec.History{
		CreatedBy: createdBy, Comment: dockerfile.HistoryComment, EmptyLayer: step == nil,
	})
	d.LayerSteps = append(d.LayerSteps, step)
}

func (d *dispatcher) dispatch(raw dockerfile.Instruction) error {
	scope, applied, err := d.scope.Apply(raw)
	if err != nil {
		return err
	}
	d.scope = scope
	switch in := applied.Instruction.(type) {
	case *dockerfile.Run:
		return d.dispatchRun(in)
	case *dockerfile.Copy:
		return d.dispatchCopy(in)
	case *dockerfile.Workdir:
		d.dispatchWorkdir(in)
	case *dockerfile.Arg:
		for _, v := range applied.Args {
			d.pl.declared[v.Name] = true
		}
		d.commit(dockerfile.ArgHistory(applied.Args), nil)
	default:
		return d.dispatchConfig(in)
	}
	return nil
}

func (d *dispatcher) dispatchWorkdir(in *dockerfile.Workdir) {
	dir := d.scope.Workdir
	d.Config.Config.WorkingDir = dir
	var step *Step
	if dir == "/" {
		d.index++
	} else {
		step = d.addStep(d.scope.DisplayName(in), in.Range(), &Workdir{Path: dir, User: d.scope.User})
	}
	d.commit(in.History(dir), step)
}

// dispatchCopy plans a COPY or ADD.
func (d *dispatcher) dispatchCopy(in *dockerfile.Copy) error {
	op := &Copy{In: in, Dest: absDest(d.scope.Workdir, in.Dest), Origin: Origin{Kind: OriginContext}}
	if in.From != "" {
		var err error
		if op.Origin, err = d.origin(in.From, in.Range()); err != nil {
			return err
		}
	}
	for _, text := range in.Sources {
		src, err := dockerfile.ParseSource(text)
		if err != nil {
			return err
		}
		op.Sources = append(op.Sources, src)
	}
	step := d.addStep(d.scope.DisplayName(in), in.Range(), op)
	d.commit(in.History(), step)
	return nil
}

// origin is what --from=name names. A stage must already be planned.
func (d *dispatcher) origin(name string, at dockerfile.Range) (Origin, error) {
	from, c, err := d.pl.find(fromName{name, at})
	switch {
	case err != nil:
		return Origin{}, err
	case from == nil:
		return Origin{Kind: OriginNamed, Context: c}, nil
	case !from.planned:
		const text = "cannot copy from stage %q, it needs to be defined before current stage %q"
		return Origin{}, fmt.Errorf(text, name, d.Name)
	}
	return Origin{Kind: OriginStage, Stage: from.Stage}, nil
}

// absDest makes a destination absolute and keeps its trailing slash, which says that it is a directory.
func absDest(workdir, dest string) string {
	if dest == "" || dest == "." {
		dest = "./"
	}
	abs := dest
	if !path.IsAbs(dest) {
		abs = path.Join("/", workdir) + "/" + dest
	}
	slash := strings.HasSuffix(abs, "/") || strings.HasSuffix(abs, "/.")
	abs = path.Clean(abs)
	if slash && abs != "/" {
		abs += "/"
	}
	return abs
}
