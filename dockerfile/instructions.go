package dockerfile

import (
	"strings"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Instruction is one instruction of a stage, one of the pointer types of this package: *Run, *Copy (also for ADD),
// *Env, *Label, *Arg, *Workdir, *User, *Cmd, *Entrypoint, *Expose, *Volume, *StopSignal, *Healthcheck, *OnBuild,
// *Maintainer, *Shell.
type Instruction interface {
	// Keyword is the instruction's name in upper case.
	Keyword() string
	// Range is where it stands; zero for a trigger of an image.
	Range() Range
	// String is the instruction as one line with continuations joined, without the content of its heredocs.
	String() string

	place() *written
}

// origin is the file that an instruction was read from.
type origin struct {
	name string
	text []byte
}

// written is what every instruction keeps of its source. Expand starts from node again, so that expansion never changes
// what was parsed.
type written struct {
	node *parser.Node
	from *origin
	at   Range
}

func (w *written) place() *written { return w }

// Keyword returns the instruction's name in upper case.
func (w *written) Keyword() string {
	if w.node == nil {
		return ""
	}
	return strings.ToUpper(w.node.Value)
}

// Range returns the lines that the instruction takes, its heredocs included.
func (w *written) Range() Range { return w.at }

// String returns the instruction as one line.
func (w *written) String() string {
	if w.node == nil {
		return ""
	}
	return strings.TrimSpace(w.node.Original)
}

// Command is a command line in shell or exec form.
type Command struct {
	// Args are the arguments of the exec form, or one string for the shell form.
	Args []string
	// Shell says that the stage's shell goes before Args.
	Shell bool
	// Heredocs are those of a RUN, in order. See Script.
	Heredocs []Heredoc
}

// Heredoc is an inline document.
type Heredoc struct {
	// Name is the delimiter, and the file's name in COPY and ADD.
	Name string
	// Content is exact to the byte. In COPY and ADD leading tabs are already removed where Chomp says so; a RUN's is
	// raw.
	Content string
	// Expand says that variables in a COPY's or ADD's content are expanded (the delimiter was not quoted).
	Expand bool
	// Chomp is true for "<<-".
	Chomp bool
}

// Run is RUN.
type Run struct {
	written
	Command
	// Mounts are complete only after Expand: before it only From is set.
	Mounts   []Mount
	Network  Network
	Security Security
	Devices  []Device
	// Flags are the names of the flags that were given, sorted.
	Flags []string
}

// Network is the value of RUN --network: what of the network the command sees.
type Network string

// The networks that the language has.
const (
	// NetworkDefault leaves it to the command line.
	NetworkDefault Network = "default"
	NetworkNone    Network = "none"
	NetworkHost    Network = "host"
)

// Security is the value of RUN --security: what walls are around the command.
type Security string

// The values of --security.
const (
	SecuritySandbox  Security = "sandbox"
	SecurityInsecure Security = "insecure"
)

// MountType is the type of a Mount.
type MountType string

// The types of a Mount.
const (
	MountBind   MountType = "bind"
	MountCache  MountType = "cache"
	MountTmpfs  MountType = "tmpfs"
	MountSecret MountType = "secret"
	MountSSH    MountType = "ssh"
)

// Sharing says what happens when two commands want one cache at a time.
type Sharing string

// The ways to share a cache.
const (
	// SharingShared lets both write.
	SharingShared Sharing = "shared"
	// SharingPrivate gives the second one a cache of its own.
	SharingPrivate Sharing = "private"
	// SharingLocked lets the second one wait.
	SharingLocked Sharing = "locked"
)

// Mount is one --mount of a RUN. Resolved fills what depends on the working directory.
type Mount struct {
	Type MountType
	// Source and Target are as written, expanded.
	Source string
	Target string
	// From is a stage, a named context or an image; empty for the build context.
	From string
	// ID names a cache, a secret or an ssh agent.
	ID string
	// Sharing is that of a cache; empty when not given.
	Sharing  Sharing
	ReadOnly bool
	// Required makes a missing secret or agent an error.
	Required bool
	// Size limits a tmpfs, in bytes; 0 is no limit.
	Size int64
	MountAttributes
	// Env is the variable that a secret is put in; nil for none.
	Env *string
}

// MountAttributes are mode and owner of a secret, an agent's socket or a cache; nil when not given.
type MountAttributes struct {
	Mode *uint32
	UID  *uint32
	GID  *uint32
}

// Device is one --device of a RUN.
type Device struct {
	Name     string
	Required bool
}

// KeyValue is one pair of ENV or LABEL.
type KeyValue struct{ Key, Value string }

// Env is ENV.
type Env struct {
	written
	Pairs []KeyValue
}

// Label is LABEL.
type Label struct {
	written
	Pairs []KeyValue
}

// ArgDef is one definition of an ARG.
type ArgDef struct {
	Name string
	// Default is nil for a name without "=".
	Default *string
	// Comment is the argument's description, from a comment right above.
	Comment string
}

// Arg is ARG. Values for its definitions come from Scope.Apply.
type Arg struct {
	written
	Defs []ArgDef
}

// Workdir is WORKDIR.
type Workdir struct {
	written
	Path string
}

// User is USER.
type User struct {
	written
	User string
}

// Cmd is CMD.
type Cmd struct {
	written
	Command
}

// Entrypoint is ENTRYPOINT.
type Entrypoint struct {
	written
	Command
}

// Expose is EXPOSE. After Expand, Ports are "number/protocol" with ranges spelled out.
type Expose struct {
	written
	Ports []string
}

// Volume is VOLUME.
type Volume struct {
	written
	Paths []string
}

// StopSignal is STOPSIGNAL.
type StopSignal struct {
	written
	Signal string
}

// Healthcheck is HEALTHCHECK. Zero durations and retries mean "inherit".
type Healthcheck struct {
	written
	// Test starts with NONE, CMD or CMD-SHELL.
	Test          []string
	Interval      time.Duration
	Timeout       time.Duration
	StartPeriod   time.Duration
	StartInterval time.Duration
	Retries       int
}

// OnBuild is ONBUILD.
type OnBuild struct {
	written
	// Expression is the trigger, heredocs included, as it goes into the image's config. See ParseOnBuild.
	Expression string
}

// Maintainer is MAINTAINER.
type Maintainer struct {
	written
	Name string
}

// Shell is SHELL.
type Shell struct {
	written
	Args []string
}
