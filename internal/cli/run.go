package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/cairnbuild/cairn/internal/container"
	"github.com/cairnbuild/cairn/internal/progress"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/sandbox"
)

// RunOptions are the flags of `cairn run`.
type RunOptions struct {
	Container container.Options
	Platform  oci.Platform
	// Pull is always, missing or never.
	Pull string
	// Interactive keeps standard input open, TTY asks for a terminal.
	Interactive, TTY bool
	// Quiet shows no progress of a pull.
	Quiet bool
}

func newRunCommand(sh *shell) *cli.Command {
	return newCommand(cli.Command{
		Name: "run", ArgsUsage: "IMAGE [COMMAND] [ARG...]", Usage: "Run an image's command, or another, in a container",
		Description: "Options stand before IMAGE: what follows it belongs to the command.",
		Flags:       slices.Concat(runFlags(), limitFlags(""), rungFlags()),
	}, 1, -1, func(cc *cli.Context) error {
		if err := sh.readRungs(cc); err != nil {
			return err
		}
		o, err := parseRun(cc)
		if err != nil {
			return err
		}
		if !sandbox.InNamespace() {
			sh.cgroup = !o.Container.Process.Limits.Resources.IsZero()
			return sh.enter(cc.Context, nil)
		}
		return sh.withStore(cc.Context, func(st *store.Store) error { return runRun(cc.Context, sh, st, o) })
	})
}

func runFlags() []cli.Flag {
	pullFlag := oneFlag("pull", "WHEN", "Pull the image always, when it is missing (default), or never")
	pullFlag.Value = "missing"
	return []cli.Flag{
		boolFlag("interactive", "Keep standard input open", "i"),
		boolFlag("tty", "Give the command a terminal", "t"),
		boolFlag("rm", "Remove the container when the command has ended"),
		manyFlag("env", "NAME[=VALUE]", "Set a variable; without a value take it from the environment", "e"),
		manyFlag("env-file", "FILE", "Read variables from FILE, one a line"),
		manyFlag("volume", "SOURCE:TARGET[:ro]", "Mount a file or directory", "v"),
		oneFlag("workdir", "DIR", "Start in DIR", "w"),
		oneFlag("user", "USER[:GROUP]", "Run as this user; names or numbers", "u"),
		oneFlag("entrypoint", "PROGRAM", "Replace the image's ENTRYPOINT; an empty one drops it"),
		oneFlag("name", "NAME", "Name the container"),
		oneFlag("hostname", "NAME", "Set the host name", "h"),
		oneFlag("network", "MODE", "Network: host (default), private or none", "net"),
		manyFlag("add-host", "NAME:IP", "Add a line to /etc/hosts"),
		boolFlag("read-only", "Make the root file system read-only"),
		boolFlag("privileged", "Leave the command all that root of the user namespace may do"),
		oneFlag("platform", "OS/ARCH", "Pull the image for this platform"),
		pullFlag,
		boolFlag("quiet", "Show no progress of the pull", "q"),
		&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Hidden: true},
		&cli.StringSliceFlag{Name: "publish", Aliases: []string{"p"}, Hidden: true},
	}
}

// parseRun reads all flags, the image and the command.
func parseRun(cc *cli.Context) (RunOptions, error) {
	r := &runFlagReader{Context: cc}
	o := RunOptions{
		Pull: r.String("pull"), Interactive: r.Bool("interactive"), TTY: r.Bool("tty"), Quiet: r.Bool("quiet"),
	}
	o.Container = container.Options{
		Image: r.Args().First(), Args: r.Args().Tail(),
		Process: container.ProcessOptions{
			Env: r.environment(), Dir: r.String("workdir"), User: r.String("user"), Privileged: r.Bool("privileged"),
			Limits: limits(r.Context, r.fail),
		},
		Volumes: r.volumes(),
		Network: container.NetworkOptions{Mode: r.network(), Hostname: r.String("hostname"), Hosts: r.hosts()},
		Name:    r.String("name"), Remove: r.Bool("rm"), ReadOnly: r.Bool("read-only"),
	}
	if r.IsSet("entrypoint") {
		e := r.String("entrypoint")
		o.Container.Process.Entrypoint = &e
	}
	switch o.Pull {
	case "always", "missing", "never":
	default:
		r.fail("--pull is always, missing or never, not %q", o.Pull)
	}
	if d := o.Container.Process.Dir; d != "" && !path.IsAbs(d) {
		r.fail("--workdir %q is not absolute", d)
	}
	if r.Bool("detach") {
		r.fail("cairn run has no --detach: there is no daemon that would keep the container; use & or systemd-run --user")
	}
	if len(r.StringSlice("publish")) > 0 {
		r.fail("cairn run has no --publish: the container has the network of the host, its ports are there already")
	}
	var err error
	if o.Platform, err = parsePlatform(r.String("platform")); err != nil {
		r.fail("%v", err)
	}
	return o, r.err
}

// runRun runs the container in this process, which is in a user namespace.
func runRun(ctx context.Context, sh *shell, st *store.Store, o RunOptions) error {
	img, err := imageToRun(ctx, sh, st, o)
	if err != nil {
		return err
	}
	if o.TTY && o.Interactive && !term.IsTerminal(int(sh.stdin.Fd())) {
		return &usageError{Command: "run", Msg: "standard input is no terminal", Hint: "leave --tty away"}
	}
	c := &o.Container
	c.Streams = container.Streams{Stdout: sh.stdout, Stderr: sh.stderr}
	if o.Interactive {
		c.Streams.Stdin = sh.stdin
	}
	if o.TTY {
		c.Streams.TTY = sh.stdin
	}
	here, done, err := sh.findMachine(ctx, st)
	if err != nil {
		return err
	}
	defer done()
	c.Machine = here
	ctx, kill := context.WithCancelCause(ctx)
	defer kill(nil)
	signals := forwarding{notice: sh.notice, kill: kill}
	defer signals.stop()
	c.Streams.Signals = func() <-chan os.Signal {
		defer sh.signals.leave()
		return signals.start()
	}
	return runStatus(container.Run(ctx, st, img, *c))
}

// runStatus turns the end of the command into the exit status of `cairn run`.
func runStatus(err error) error {
	var killed *killedError
	var ended *sandbox.ExitError
	var output *sandbox.OutputError
	var setup *sandbox.SetupError
	switch {
	case errors.As(err, &killed):
		return &statusError{Status: exitInterrupted, Err: killed}
	case errors.As(err, &ended) && ended.OutOfMemory:
		return &statusError{Status: ended.Code, Err: err}
	case errors.As(err, &ended) && errors.As(err, &output):
		return &statusError{Status: ended.Code, Err: output}
	case errors.As(err, &ended):
		return exit(ended.Code)
	case errors.As(err, &setup) && setup.Stage == sandbox.StageExec && errors.Is(err, fs.ErrNotExist):
		return &statusError{Status: exitRunNotFound, Err: err}
	case errors.As(err, &setup) && setup.Stage == sandbox.StageExec:
		return &statusError{Status: exitRunNoExec, Err: err}
	}
	return err
}

// imageToRun finds the image in the store, or pulls it.
func imageToRun(ctx context.Context, sh *shell, st *store.Store, o RunOptions) (oci.Image, error) {
	name := o.Container.Image
	if o.Pull != "always" {
		m, err := st.Resolve(ctx, name)
		if err == nil {
			return st.Image(ctx, m.Image.Descriptor, o.Platform)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return oci.Image{}, err
		}
		if o.Pull == "never" {
			return oci.Image{}, noSuchImage(ctx, st, name)
		}
	}
	ref, err := oci.ParseReference(name)
	if err != nil {
		return oci.Image{}, &usageError{Command: "run", Msg: err.Error()}
	}
	mode := progress.Auto
	if o.Quiet {
		mode = progress.Quiet
	}
	return pull(ctx, sh, st, ref, PullOptions{Platform: o.Platform, Progress: mode})
}

// runFlagReader collects the first error.
type runFlagReader struct {
	*cli.Context
	err error
}

func (r *runFlagReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = &usageError{Command: "run", Msg: fmt.Sprintf(format, args...)}
	}
}

// environment is --env-file, then --env.
func (r *runFlagReader) environment() []string {
	var env []string
	add := func(kv string) {
		name, _, ok := strings.Cut(kv, "=")
		if name == "" {
			r.fail("variable %q has no name", kv)
			return
		}
		if !ok {
			value, found := os.LookupEnv(name)
			if !found {
				return
			}
			kv = name + "=" + value
		}
		env = append(env, kv)
	}
	for _, file := range r.StringSlice("env-file") {
		data, err := os.ReadFile(file)
		if err != nil {
			r.fail("read --env-file: %v", err)
		}
		for _, line := range strings.Split(string(data), "\n") {
			if line = strings.TrimLeft(strings.TrimSuffix(line, "\r"), " \t"); line != "" && line[0] != '#' {
				add(line)
			}
		}
	}
	for _, kv := range r.StringSlice("env") {
		add(kv)
	}
	return env
}

// volumes are SOURCE:TARGET[:OPTIONS].
func (r *runFlagReader) volumes() []container.Volume {
	var list []container.Volume
	for _, s := range r.StringSlice("volume") {
		v, err := parseVolume(s)
		if err != nil {
			r.fail("read --volume: %v", err)
		}
		list = append(list, v)
	}
	return list
}

func parseVolume(s string) (container.Volume, error) {
	var v container.Volume
	parts := strings.Split(s, ":")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return v, fmt.Errorf("%q is not SOURCE:TARGET[:ro]", s)
	}
	if !strings.ContainsRune(parts[0], '/') && parts[0] != "." && parts[0] != ".." {
		return v, fmt.Errorf("%q names a volume, and there are none: give a path, such as ./%s", s, parts[0])
	}
	source, err := filepath.Abs(parts[0])
	if err != nil {
		return v, err
	}
	if !path.IsAbs(parts[1]) {
		return v, fmt.Errorf("the target in %q is not absolute", s)
	}
	v = container.Volume{Source: source, Target: path.Clean(parts[1])}
	if len(parts) == 3 {
		for _, option := range strings.Split(parts[2], ",") {
			switch option {
			case "ro", "readonly":
				v.ReadOnly = true
			case "rw", "z", "Z", "rprivate", "cached", "delegated", "consistent":
			default:
				return v, fmt.Errorf("unknown option %q in %q: there are ro and rw", option, s)
			}
		}
	}
	if _, err := os.Stat(source); err != nil {
		return v, err
	}
	return v, nil
}

func (r *runFlagReader) hosts() []string {
	var list []string
	for _, s := range r.StringSlice("add-host") {
		host, err := parseHost(s)
		if err != nil {
			r.fail("read --add-host: %v", err)
		}
		list = append(list, host)
	}
	return list
}
