package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// exitStatus is the last part of the help: the other side of the table in errors.go.
const exitStatus = `
EXIT STATUS
   0    all went well
   1    a RUN command failed, or something that no other number says
   2    the command line is wrong
   3    the Dockerfile is wrong, or names something that is not there
   4    this machine cannot: user namespaces, mounts, disk space
   5    a registry did not answer, refused, or sent something wrong
   70   a bug in cairn
   130  interrupted
   141  nobody read standard output to its end
`

// runExitStatus is the one of `cairn run`.
const runExitStatus = `
EXIT STATUS
   125  cairn itself failed
   126  the command is there but cannot be executed
   127  the command is not there
   any other status is that of the command; 128+N when signal N ended it
`

func newHelpCommand(sh *shell) *cli.Command {
	return newCommand(cli.Command{
		Name: "help", ArgsUsage: "[COMMAND]", Usage: "Show the help of a command",
	}, 0, -1, func(cc *cli.Context) error {
		if cc.NArg() == 0 {
			return printAppHelp(sh.out, cc.App)
		}
		c, siblings := (*cli.Command)(nil), cc.App.Commands
		for _, name := range cc.Args().Slice() {
			i := slices.IndexFunc(siblings, func(c *cli.Command) bool { return c.HasName(name) })
			if i < 0 {
				return &usageError{Msg: fmt.Sprintf("unknown command %q", name)}
			}
			c, siblings = siblings[i], siblings[i].Subcommands
		}
		return printCommandHelp(sh.out, cc.App, c)
	})
}

func printAppHelp(w io.Writer, app *cli.App) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nUSAGE\n   %s [--root DIR] COMMAND [OPTIONS] ...\n\nCOMMANDS\n", app.Usage, app.Name)
	for _, c := range app.Commands {
		if !c.Hidden {
			fmt.Fprintf(&b, "   %-11s %s\n", c.Name, c.Usage)
		}
	}
	b.WriteString("\nOPTIONS\n")
	printFlags(&b, app.Flags)
	b.WriteString(exitStatus)
	fmt.Fprintf(&b, "\n%s COMMAND --help says more about a command.\n", app.Name)
	_, err := io.WriteString(w, b.String())
	return err
}

func printCommandHelp(w io.Writer, app *cli.App, c *cli.Command) error {
	var b strings.Builder
	options := ""
	if len(c.Flags) > 0 {
		options = " [OPTIONS]"
	}
	fmt.Fprintf(&b, "%s\n\nUSAGE\n   %s %s%s %s\n", c.Usage, app.Name, c.Name, options, c.ArgsUsage)
	if len(c.Aliases) > 0 {
		fmt.Fprintf(&b, "   also called %s\n", strings.Join(c.Aliases, ", "))
	}
	if c.Description != "" {
		fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(c.Description))
	}
	b.WriteString("\nOPTIONS\n")
	printFlags(&b, append(slices.Clone(c.Flags), app.Flags...))
	if c.Name == "run" {
		b.WriteString(runExitStatus)
	} else {
		b.WriteString(exitStatus)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// printFlags prints one line per visible flag, in alphabetical order of the long names.
func printFlags(b *strings.Builder, flags []cli.Flag) {
	type line struct{ key, left, right string }
	var lines []line
	width := 0
	for _, f := range flags {
		d, ok := f.(cli.DocGenerationFlag)
		if v, isVisible := f.(cli.VisibleFlag); !ok || isVisible && !v.IsVisible() {
			continue
		}
		value, usage := placeholder(d.GetUsage())
		l := line{key: f.Names()[0], left: flagNames(f), right: usage}
		switch _, optional := f.(*optionalFlag); {
		case optional:
			l.left += "[=" + value + "]"
		case value != "":
			l.left += " " + value
		}
		width = max(width, len(l.left))
		lines = append(lines, l)
	}
	slices.SortFunc(lines, func(a, b line) int { return strings.Compare(a.key, b.key) })
	for _, l := range lines {
		fmt.Fprintf(b, "   %s\n", strings.TrimRight(fmt.Sprintf("%-*s  %s", width, l.left, l.right), " "))
	}
}

func flagNames(f cli.Flag) string {
	short, long := "   ", ""
	for _, n := range f.Names() {
		if len(n) == 1 {
			short = "-" + n
		} else if long == "" {
			long = "--" + n
		}
	}
	if short != "   " && long != "" {
		short += ","
	}
	return strings.TrimRight(short+" "+long, " ")
}

// placeholder splits a flag's usage: a word in backquotes before the text stands for the value.
func placeholder(usage string) (value, text string) {
	rest, ok := strings.CutPrefix(usage, "`")
	if value, text, closed := strings.Cut(rest, "`"); ok && closed {
		return value, strings.TrimLeft(text, " ")
	}
	return "", usage
}
