package planner

import (
	"fmt"
	"strconv"

	"github.com/cairnbuild/cairn/dockerfile"
)

// node is a stage while the plan is made.
type node struct {
	*Stage
	def *dockerfile.Stage // nil for an image that is only copied from
	at  dockerfile.Range  // of the FROM, or of what copies from the image

	// What it builds on is an earlier stage, a named context, an image or, with none of them, nothing.
	below   *node
	context *NamedContext
	image   string

	// base is the image, once it is found.
	base *Base
	// triggers are the ONBUILD instructions that what it builds on brings, once triggered is set.
	triggers  []dockerfile.Instruction
	triggered bool
	// scope is that after its last instruction, once planned is set.
	scope   dockerfile.Scope
	planned bool
}

func (pl *planner) declareStages() error {
	for i, def := range pl.file.Stages {
		from, err := pl.file.From(def, pl.args)
		if err != nil {
			return err
		}
		n := &node{Stage: &Stage{Name: def.Name, Platform: pl.opts.Platform}, def: def, at: def.Range}
		if n.Name == "" {
			n.Name = fmt.Sprintf("stage-%d", i)
		}
		if from.Platform != nil {
			n.Platform = *from.Platform
		}
		pl.bind(n, from)
		pl.nodes = append(pl.nodes, n)
	}
	if len(pl.nodes) == 1 {
		pl.nodes[0].Name = ""
	}
	return nil
}

// bind decides what FROM names: a named context, an earlier stage, nothing, or an image.
func (pl *planner) bind(n *node, from dockerfile.From) {
	if c, ok := pl.opts.Contexts.Find(n.def.Name); ok {
		n.standOn(c)
		return
	}
	if from.Stage != nil {
		n.below = pl.nodes[from.Stage.Index]
		return
	}
	if c, ok := pl.opts.Contexts.Find(from.Name.Text); ok {
		n.standOn(c)
		return
	}
	if from.Name.Text != scratch {
		n.image = from.Name.Text
	}
}

// scratch is the name of the empty image.
const scratch = "scratch"

// standOn makes a named context what the node builds on.
func (n *node) standOn(c NamedContext) {
	if c.Kind != ImageContext || c.Location != scratch {
		n.context = &c
	}
}

// isImage says whether the node builds on an image, which has to be found.
func (n *node) isImage() bool {
	if n.context != nil {
		return n.context.isImage()
	}
	return n.image != ""
}

// copies says whether the node builds on the files of a named context.
func (n *node) copies() bool { return n.context != nil && !n.context.isImage() }

// fromText is the name that a FROM shows for what is no stage.
func (n *node) fromText() string {
	if n.context != nil {
		return n.context.Value
	}
	return n.image
}

// instructions are the ONBUILD triggers that a stage's base brings, then its own.
func (n *node) instructions() []dockerfile.Instruction {
	if n.def == nil {
		return nil
	}
	return append(append([]dockerfile.Instruction(nil), n.triggers...), n.def.Instructions...)
}

// fromName is a --from and the lines that it stands in.
type fromName struct {
	name string
	at   dockerfile.Range
}

// fromNames lists the --from names in a stage's instructions.
func (n *node) fromNames() []fromName {
	var names []fromName
	for _, in := range n.instructions() {
		for _, name := range dockerfile.FromNames(in) {
			names = append(names, fromName{name, in.Range()})
		}
	}
	return names
}

// find tells what --from=name means: a stage by number, a named context, a stage by name, else an image. The node is
// nil for a named context that is no image.
func (pl *planner) find(ref fromName) (*node, NamedContext, error) {
	if i, err := strconv.Atoi(ref.name); err == nil {
		if i < 0 || i >= len(pl.nodes) {
			return nil, NamedContext{}, pl.errorAt(ref.at, fmt.Errorf("invalid stage index %d", i))
		}
		return pl.nodes[i], NamedContext{}, nil
	}
	c, named := pl.opts.Contexts.Find(ref.name)
	if named && !c.isImage() {
		return nil, c, nil
	}
	if x, ok := pl.images[ref.name]; ok {
		return x, c, nil
	}
	x := &node{Stage: &Stage{Name: ref.name, Platform: pl.opts.Platform}, at: ref.at}
	if named {
		x.standOn(c)
	} else if def, ok := pl.file.FromStage(ref.name); ok {
		return pl.nodes[def.Index], c, nil
	} else if ref.name != scratch {
		x.image = ref.name
	}
	pl.images[ref.name] = x
	return x, c, nil
}
