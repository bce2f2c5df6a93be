package planner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/oci"
)

// Operation is what a step does: *Image, *Run, *Copy or *Workdir. Its values are final when the plan is made; it keeps
// no state of a run.
type Operation interface {
	// Describe hands all that decides the result, apart from the contents of files, to field. Names, values and their
	// order are part of every cache key: a change of them makes what users have cached worthless.
	Describe(field func(name string, values ...string))
	// Reads lists the stages whose files it reads beside what lies below.
	Reads() []*Stage
	// StandsOnBelow is false for a COPY --link, whose layer does not depend on the file system below it.
	StandsOnBelow() bool
}

// OriginKind says what files are taken from.
type OriginKind int

// The kinds of origins.
const (
	// OriginNothing is where no files are: that of a cache that starts empty, or of --from=scratch.
	OriginNothing OriginKind = iota
	// OriginContext is the build context.
	OriginContext
	// OriginNamed is a named context that is no image.
	OriginNamed
	// OriginStage is a stage, or an image that stands for one.
	OriginStage
)

// Origin is what a COPY copies from, or what a mount shows.
type Origin struct {
	Kind    OriginKind
	Context NamedContext // for OriginNamed
	Stage   *Stage       // for OriginStage
}

// stages are the origin's stage, if it has one.
func (o Origin) stages() []*Stage {
	if o.Kind != OriginStage {
		return nil
	}
	return []*Stage{o.Stage}
}

// Image is a FROM of an image: its layers.
type Image struct{ Base *Base }

// Reads implements Operation.
func (op *Image) Reads() []*Stage { return nil }

// StandsOnBelow implements Operation.
func (op *Image) StandsOnBelow() bool { return false }

// Describe implements Operation.
func (op *Image) Describe(field func(name string, values ...string)) {
	field("image", op.Base.Reference.String())
}

// Workdir is a WORKDIR: a layer with the directory and its missing parents, or an empty one when it is there.
type Workdir struct {
	// Path is absolute, User the one of USER whom a new directory belongs to.
	Path, User string
}

// Reads implements Operation.
func (op *Workdir) Reads() []*Stage { return nil }

// StandsOnBelow implements Operation.
func (op *Workdir) StandsOnBelow() bool { return true }

// Describe implements Operation.
func (op *Workdir) Describe(field func(name string, values ...string)) {
	field("workdir", op.Path, op.User)
}

// Copy is a COPY or ADD.
type Copy struct {
	// In is the instruction, expanded. What follows takes the place of its fields of the same names.
	In *dockerfile.Copy
	// Dest is absolute, with its trailing slash.
	Dest    string
	Sources []dockerfile.Source
	// Origin is what local sources are looked for in.
	Origin Origin
}

// Reads implements Operation.
func (op *Copy) Reads() []*Stage { return op.Origin.stages() }

// StandsOnBelow implements Operation. It is false for --link: such a layer is the same whatever it lies on.
func (op *Copy) StandsOnBelow() bool { return !op.In.Link }

// Describe implements Operation.
func (op *Copy) Describe(field func(name string, values ...string)) {
	in := op.In
	kind := "copy"
	if in.Add {
		kind = "add"
	}
	field(kind, in.Sources...)
	field("dest", op.Dest, in.Chown, in.Chmod)
	in.Details(field)
}

// Run is a RUN.
type Run struct {
	Script dockerfile.Script
	// Env is what was declared; see Environment.
	Env dockerfile.Vars
	// Proxies are variables that are in no key.
	Proxies []string
	User    string
	// Dir is the working directory; empty where neither the base image nor a WORKDIR names one.
	Dir      string
	Network  dockerfile.Network
	Hostname string
	// Hosts are lines for /etc/hosts, each NAME:IP.
	Hosts    []string
	Limits   Limits
	Insecure bool
	Platform oci.Platform
	Mounts   []Mount
}

// Limits are those limits of a RUN that its command can see, and that are in its key for that.
type Limits struct {
	// ShmSize is the size of /dev/shm in bytes, 0 for the default.
	ShmSize int64
	// Ulimits are NAME=SOFT[:HARD].
	Ulimits []string
}

// Mount is one RUN --mount with its defaults filled in and its target absolute.
type Mount struct {
	dockerfile.Mount
	// Origin is what a bind mount shows and what a cache starts with.
	Origin Origin
	// Namespace keeps caches of one id apart.
	Namespace string
}

// defaultHostname is what a RUN sees as the machine's name, as with BuildKit.
const defaultHostname = "buildkitsandbox"

// Reads implements Operation.
func (op *Run) Reads() []*Stage {
	var all []*Stage
	for _, m := range op.Mounts {
		all = append(all, m.Origin.stages()...)
	}
	return all
}

// StandsOnBelow implements Operation.
func (op *Run) StandsOnBelow() bool { return true }

// Describe implements Operation.
func (op *Run) Describe(field func(name string, values ...string)) {
	field("run", op.Script.Args...)
	field("env", slices.Sorted(slices.Values(op.Env.Slice()))...)
	field("user", op.User)
	field("dir", op.Dir)
	field("platform", oci.FormatPlatform(op.Platform))
	if op.Insecure {
		field("insecure", "true")
	}
	if op.Network != "" && op.Network != dockerfile.NetworkDefault {
		field("network", string(op.Network))
	}
	if op.Hostname != defaultHostname {
		field("hostname", op.Hostname)
	}
	if l := op.Limits; len(op.Hosts)+len(l.Ulimits) > 0 || l.ShmSize != 0 {
		field("hosts", op.Hosts...)
		field("limits", append([]string{fmt.Sprint(l.ShmSize)}, l.Ulimits...)...)
	}
	if f := op.Script.File; f != nil {
		field("file", f.Path, f.Content)
	}
	for _, m := range op.Mounts {
		m.describe(field)
	}
}

func (m *Mount) describe(field func(name string, values ...string)) {
	from := m.From
	if from != "" && m.Type == dockerfile.MountBind {
		from = "stage" // its content is among the inputs, whatever its name
	}
	field("mount", string(m.Type), m.Source, m.Target, from, m.ID, string(m.Sharing),
		fmt.Sprint(m.ReadOnly, m.Required, m.Size), optional(m.Mode), optional(m.UID), optional(m.GID), optional(m.Env))
}

func optional[T any](p *T) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprint(*p)
}

// Environment is the command's environment without HOME: the proxies do not override what was declared.
func (op *Run) Environment() []string {
	env := op.Env.Slice()
	for _, kv := range op.Proxies {
		k, _, _ := strings.Cut(kv, "=")
		if _, ok := op.Env.Get(k); !ok {
			env = append(env, kv)
		}
	}
	return env
}
