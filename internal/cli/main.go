// Package cli is cairn's command line: flags become the options of the packages that do the work, and their errors become
// text, a hint and an exit status. One file per command; argv.go says how a command line is read, errors.go holds the one
// table of errors.
//
// The rules of what is printed: stdout carries results only (an image id, a table, an archive), everything else goes to
// stderr. An error is one line "error: ..." in lower case without a full stop, followed by "hint: ..." where there is a
// way out. Only this package and internal/progress print.
package cli

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// Main runs one command line and returns the exit status. args[0] is the program's name. It may be called several times in
// one process, one after the other.
func Main(args []string, stdin, stdout, stderr *os.File) (status int) {
	ctx, interrupts := watchSignals(context.Background())
	defer interrupts.leave()
	defer keepBrokenPipes()()
	sh := &shell{args: args, stdin: stdin, stdout: stdout, stderr: stderr, out: &output{f: stdout}, signals: interrupts}
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(stderr, "error: cairn has a bug: %v\n%s", p, debug.Stack())
			status = exitBug
		}
	}()
	return sh.report(ctx, sh.outcome(sh.run(ctx, args)))
}

// shell is what every command has to work with: the command line as it was given, the streams and the global flags.
type shell struct {
	args                  []string
	stdin, stdout, stderr *os.File
	// out is stdout for results; only a process that takes standard output over gets stdout itself.
	out     *output
	root    string // --root, or ""
	signals *interrupts
	rungs   rungs
	// debug asks for the reasons of what is done.
	debug bool
	// quiet leaves out remarks that are neither result nor error.
	quiet bool
	// cgroup says that the command bounds memory, processors or processes.
	cgroup bool
	// machine says that the command's errors go to a program: an object per line, as its events do.
	machine bool
}

// run reads the command line and does what it says.
func (sh *shell) run(ctx context.Context, args []string) error {
	app := newApp(sh)
	p := argvParser{app: app, stopAtArgs: map[string]bool{"run": true}}
	argv, err := p.normalise(args)
	if err != nil {
		return sh.wrapRun(p.path, err)
	}
	err = app.RunContext(ctx, argv)
	return sh.wrapRun(p.path, err)
}

// wrapRun gives every error of `cairn run` docker's status 125: the numbers below it belong to the program that it runs.
func (sh *shell) wrapRun(path []string, err error) error {
	var status *statusError
	if err == nil || len(path) == 0 || path[0] != "run" || asError(err, &status) {
		return err
	}
	return &statusError{Status: exitRunSetup, Err: err}
}

// newApp returns the commands. Their flags are parsed by urfave/cli, but only in the canonical form that argvParser makes.
func newApp(sh *shell) *cli.App {
	return &cli.App{
		Name:      "cairn",
		Usage:     "Build container images from Dockerfiles as an ordinary user",
		Reader:    sh.stdin,
		Writer:    sh.out,
		ErrWriter: sh.stderr,
		// The help is our own; see help.go.
		HideHelp: true, HideHelpCommand: true, HideVersion: true,
		DisableSliceFlagSeparator: true, // --build-arg A=1,2 is one value
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              func(_ *cli.Context, err error, _ bool) error { return &usageError{Msg: err.Error()} },
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "root", Usage: "`DIR` Keep images and layers in DIR (default $CAIRN_ROOT, else $XDG_DATA_HOME/cairn)", Destination: &sh.root},
			&cli.BoolFlag{Name: "debug", Aliases: []string{"D"}, Usage: "Say more about what is done and why (or CAIRN_DEBUG=1)", EnvVars: []string{"CAIRN_DEBUG"}, Destination: &sh.debug},
		},
		Commands: []*cli.Command{
			newBuildCommand(sh),
			newPullCommand(sh),
			newRunCommand(sh),
			newPsCommand(sh),
			newRmCommand(sh),
			newImagesCommand(sh),
			newTagCommand(sh),
			newRmiCommand(sh),
			newInspectCommand(sh),
			newHistoryCommand(sh),
			newSaveCommand(sh),
			newLoadCommand(sh),
			newDoctorCommand(sh),
			newVersionCommand(sh),
			newCompletionCommand(sh),
			newHelpCommand(sh),
		},
	}
}

// newCommand fills in what all commands share. action gets the positionals; their number is checked against min and max
// (max < 0: any number).
func newCommand(c cli.Command, minArgs, maxArgs int, action func(*cli.Context) error) *cli.Command {
	c.HideHelp, c.HideHelpCommand = true, true
	name := c.Name
	c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return &usageError{Command: name, Msg: err.Error()} }
	c.Action = func(cc *cli.Context) error {
		n := cc.NArg()
		if n < minArgs || (maxArgs >= 0 && n > maxArgs) {
			return &usageError{Command: name, Msg: countMessage(name, minArgs, maxArgs, n)}
		}
		return action(cc)
	}
	return &c
}

func countMessage(name string, minArgs, maxArgs, n int) string {
	plural := func(n int) string {
		if n == 1 {
			return "1 argument"
		}
		return fmt.Sprintf("%d arguments", n)
	}
	switch {
	case maxArgs == 0:
		return fmt.Sprintf("%q takes no arguments, got %d", name, n)
	case minArgs == maxArgs:
		return fmt.Sprintf("%q takes exactly %s, got %d", name, plural(minArgs), n)
	case n < minArgs:
		return fmt.Sprintf("%q takes at least %s, got %d", name, plural(minArgs), n)
	default:
		return fmt.Sprintf("%q takes at most %s, got %d", name, plural(maxArgs), n)
	}
}
