package engine

import (
	"io"
	"time"

	"github.com/cairnbuild/cairn/internal/bundle"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/sandbox"
)

// Options say what to build. The zero value builds the Dockerfile in the current directory and stores an untagged
// image.
type Options struct {
	Input  Input
	Output Output
	Cache  CacheOptions
	Run    RunOptions
	// Machine is what this process can do.
	Machine bundle.Machine
	Labels  map[string]string
	Args    map[string]string // --build-arg, with the ones taken from the environment resolved
	Target  string
	// Platforms to build for; empty means this machine's.
	Platforms []oci.Platform
	// Epoch is SOURCE_DATE_EPOCH; nil for none.
	Epoch *time.Time
	// OnEvent receives what happens. It must return soon. nil drops everything.
	OnEvent func(Event)
	// OnDebug receives what only someone who looks for a reason wants to read, a line at a time. nil drops it.
	OnDebug func(string)
}

// Input says where the Dockerfile and the context come from.
type Input struct {
	// Context is the directory, or a URL as it was given; empty for a build without context (Dockerfile on stdin); "-"
	// for ContextTar.
	Context string
	// ContextTar is the context as a tar archive, compressed or not, read once from where it stands, when Context is
	// "-".
	ContextTar io.Reader
	// Dockerfile is the path given with -f ("" for the default names in the context, "-" for DockerfileReader).
	Dockerfile string
	// DockerfileReader is read when Dockerfile is "-".
	DockerfileReader io.Reader
	// NamedContexts are --build-context values by name, verbatim.
	NamedContexts map[string]string
}

// Output says where the image goes beside the store.
type Output struct {
	Tags        []oci.Reference
	Exports     []Export
	Compression compress.Options
	// Annotations are for each manifest, IndexAnnotations for the index, where there is one, and DescriptorAnnotations
	// for the manifests' descriptors in it.
	Annotations           map[string]string
	IndexAnnotations      map[string]string
	DescriptorAnnotations map[string]string
}

// Export is one -o value.
type Export struct {
	// Type is oci, docker, local or tar.
	Type string
	// Dest is a path; "-" means Writer.
	Dest string
	// Writer is where Dest "-" goes.
	Writer io.Writer
	// Tar is false for type=oci,tar=false, which writes a directory.
	Tar bool
}

// CacheOptions control which recorded results may be used.
type CacheOptions struct {
	NoCache bool
	// NoCacheFilter are stage names or numbers that are built anew.
	NoCacheFilter []string
	// Pull asks the registry even where the store has the base image.
	Pull bool
}

// RunOptions change how RUN steps execute.
type RunOptions struct {
	// RunOptions are those that are in the plan.
	planner.RunOptions
	// Limits bound each RUN by itself.
	Limits  sandbox.Limits
	Secrets []Secret
	SSH     []SSH
}

// Secret is one --secret: its content comes from File or from the environment variable Env.
type Secret struct{ ID, File, Env string }

// SSH is one --ssh: an agent socket or keys.
type SSH struct {
	ID    string
	Paths []string
}

// plannerOptions are those that the plan for one platform depends on.
func (o *Options) plannerOptions(p oci.Platform, named planner.Contexts) planner.Options {
	return planner.Options{
		Target: o.Target, Platform: p, Requested: len(o.Platforms) > 0, Several: len(o.Platforms) > 1,
		Args: o.Args, Labels: o.Labels, Contexts: named, NoCache: o.Cache.NoCache, NoCacheFilter: o.Cache.NoCacheFilter,
		Run: o.Run.RunOptions, Limits: o.Run.visible(),
	}
}

// visible are the limits that a command can see.
func (o *RunOptions) visible() planner.Limits {
	l := planner.Limits{ShmSize: o.Limits.ShmSize}
	for _, r := range o.Limits.Rlimits {
		l.Ulimits = append(l.Ulimits, r.String())
	}
	return l
}
