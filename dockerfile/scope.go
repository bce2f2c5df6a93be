package dockerfile

import (
	"path"
	"slices"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// DefaultPath is the PATH of a stage whose base image sets none, as in Docker.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Arguments are the build arguments that all stages of a build have in common.
type Arguments struct {
	// Given are the --build-arg values.
	Given Vars
	// Global are the ones that a FROM sees: predefined ones and those of the ARG instructions before the first FROM.
	Global Vars
}

// Arguments evaluates the ARG instructions before the first FROM, for a build on a machine of platform build. target is
// the platform of the image, and stage the value of --target, empty for the last stage. The error is an *Error.
func (f *File) Arguments(build, target ispec.Platform, stage string, given Vars) (Arguments, error) {
	global, err := f.globals(f.predefined(build, target, stage, given), given)
	return Arguments{Given: given, Global: global}, err
}

// predefined are the arguments that nobody has to declare before the first FROM.
func (f *File) predefined(build, target ispec.Platform, stage string, given Vars) Vars {
	if stage == "" {
		stage = f.Stages[len(f.Stages)-1].Name
	}
	return platformArgs(build, target, stage, given)
}

// BaseImage is what a stage takes over from the config of the image that it builds on.
type BaseImage struct {
	Platform ispec.Platform
	Env      []string
	Shell    []string
	OnBuild  []string
	User     string
	Workdir  string
}

// Scratch is the empty base.
func Scratch(p ispec.Platform) BaseImage { return BaseImage{Platform: p, Workdir: "/"} }

// Scope is what an instruction of a stage sees of those before it: variables, arguments, shell, user and working
// directory. It is a value: Apply returns another one, and a stage that builds on an earlier one starts with the last
// scope of that.
type Scope struct {
	// Env has the variables that an instruction and the command of a RUN see: those of ENV, and the arguments that have
	// a value.
	Env Vars
	// ImageEnv has those of ENV alone, which go into the image's config.
	ImageEnv Vars
	// Args are the arguments that were declared, in the order of their declaration, those of the stages below first.
	Args []ArgValue
	// Shell is that of the last SHELL; nil for /bin/sh -c.
	Shell []string
	// User is that of the last USER; empty for root.
	User string
	// Workdir is absolute, or empty where the base image says nothing and no WORKDIR stands before.
	Workdir string

	lex  *Lex
	args Arguments
}

// NewScope is the scope right after the FROM of an image.
func NewScope(f *File, args Arguments, base BaseImage) Scope {
	env := NewVars(base.Env)
	if _, ok := env.Get("PATH"); !ok {
		env = env.With("PATH", DefaultPath)
	}
	s := Scope{Env: env, ImageEnv: env, Shell: base.Shell, User: base.User, lex: NewLex(f.Escape), args: args}
	if base.Workdir != "" {
		s.Workdir = path.Join("/", base.Workdir)
	}
	return s
}

// Applied is an instruction as it is carried out.
type Applied struct {
	// Instruction is expanded and checked; see Scope.Apply.
	Instruction Instruction
	// Undefined are the names of the variables in it that are not set, sorted.
	Undefined []string
	// Args are the values of the definitions of an ARG, in their order.
	Args []ArgValue
}

// Apply expands an instruction of the stage and returns the scope of the one after it. Variables are expanded where the
// language says so: in ADD, COPY (with the content of unquoted heredocs), ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME,
// WORKDIR, and the --mount flags of RUN. The command lines of RUN, CMD, ENTRYPOINT, HEALTHCHECK and SHELL are the
// shell's business, a COPY's From is never expanded, and an ONBUILD is expanded when it fires: these come back as they
// are.
//
// The instruction sees what was set before it, so that ENV a=1 b=$a uses the old a. The error is an *Error.
func (s Scope) Apply(i Instruction) (Scope, Applied, error) {
	if a, ok := i.(*Arg); ok {
		return s.declare(a)
	}
	expanded, undefined, err := expandInstruction(i, s.lex, s.Env)
	if err != nil {
		return s, Applied{}, err
	}
	switch i := expanded.(type) {
	case *Env:
		for _, kv := range i.Pairs {
			s.Env, s.ImageEnv = s.Env.With(kv.Key, kv.Value), s.ImageEnv.With(kv.Key, kv.Value)
		}
	case *Shell:
		s.Shell = i.Args
	case *User:
		s.User = i.User
	case *Workdir:
		s.Workdir = i.Dir(s.Workdir)
	}
	return s, Applied{Instruction: expanded, Undefined: undefined}, nil
}

// declare is Apply for an ARG.
func (s Scope) declare(a *Arg) (Scope, Applied, error) {
	values, undefined, err := a.resolve(s.lex, s.Env, s.args)
	if err != nil {
		return s, Applied{}, err
	}
	for _, v := range values {
		if v.Value != nil && isEnvironmentArg(v.Name) {
			s.Env = s.Env.With(v.Name, *v.Value)
		}
	}
	s.Args = slices.Concat(s.Args, values) // never appended to: other scopes have the same beginning
	return s, Applied{Instruction: a, Undefined: undefined, Args: values}, nil
}

// isEnvironmentArg tells whether an argument that has been declared is a variable for the instructions after it; those
// that only steer BuildKit's scan for a bill of materials are not (nonEnvArgs in its
// frontend/dockerfile/dockerfile2llb/convert.go).
func isEnvironmentArg(name string) bool {
	return name != "BUILDKIT_SBOM_SCAN_CONTEXT" && name != "BUILDKIT_SBOM_SCAN_STAGE"
}

// From is a FROM in its final form.
type From struct {
	// Name is the stage or image.
	Name Expansion
	// Stage is the earlier stage of that name; nil for an image and for scratch.
	Stage *Stage
	// PlatformFlag is the value of --platform, and Platform what it means; nil without the flag.
	PlatformFlag Expansion
	Platform     *ispec.Platform
}

// From expands the FROM of a stage. The error is an *Error, and then the fields that come before the mistake are filled
// in.
func (f *File) From(s *Stage, args Arguments) (From, error) {
	var out From
	lex := NewLex(f.Escape)
	var err error
	if out.Name, err = lex.Expand(s.Base, args.Global); err != nil {
		return out, s.at.from.wrap(err, s.Range)
	}
	if out.Name.Text == "" {
		e := f.Errorf(s.Range, "base name (%s) should not be blank", s.Base)
		e.Hint = "give the ARG in it a default value, or pass it with --build-arg"
		return out, e
	}
	out.Stage, _ = f.Stage(out.Name.Text, s.Index)
	if s.Platform == "" {
		return out, nil
	}
	if out.PlatformFlag, err = lex.Expand(s.Platform, args.Global); err != nil {
		return out, s.at.from.wrap(err, s.Range)
	}
	p, err := parsePlatform(out.PlatformFlag.Text)
	if err != nil {
		e := f.Errorf(s.Range, "--platform=%s: %v", s.Platform, err)
		if len(out.PlatformFlag.Undefined) > 0 {
			if match := nearest(out.PlatformFlag.Undefined[0], args.Global.Keys(), true); match != "" {
				e.Hint = didYouMean("$" + match)
			}
		}
		return out, e
	}
	out.Platform = &p
	return out, nil
}

// FromNames are the stages, named contexts and images that an instruction takes files from: those of COPY --from and of
// RUN --mount=from. The build context is not among them.
func FromNames(i Instruction) []string {
	switch i := i.(type) {
	case *Copy:
		if i.From != "" {
			return []string{i.From}
		}
	case *Run:
		var names []string
		for _, m := range i.Mounts {
			if m.From != "" && m.From != scratch {
				names = append(names, m.From)
			}
		}
		return names
	}
	return nil
}

// Triggers are the expressions of the ONBUILD instructions of s, in their order, for a stage that builds on it.
func (s *Stage) Triggers() []string {
	var all []string
	for _, i := range s.Instructions {
		if o, ok := i.(*OnBuild); ok {
			all = append(all, o.Expression)
		}
	}
	return all
}
