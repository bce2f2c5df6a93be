package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// optionalFlag is a string flag that may stand without a value: `--pull` means `--pull=always`. Its value is never the
// next argument.
type optionalFlag struct {
	*cli.StringFlag
	// Implied is the value of the bare flag.
	Implied string
}

// flagTable finds flags by any of their names.
type flagTable map[string]cli.Flag

func newFlagTable(flags []cli.Flag) flagTable {
	t := flagTable{}
	for _, f := range flags {
		for _, n := range f.Names() {
			t[n] = f
		}
	}
	return t
}

// takesValue says whether the flag's value may be the next argument.
func takesValue(f cli.Flag) bool {
	if _, ok := f.(*optionalFlag); ok {
		return false
	}
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

// argvParser rewrites a command line as docker users write it into the one form that urfave/cli reads without surprises:
//
//	cairn [--global=value]... command [--flag=value]... -- positional...
//
// Flags may stand before or after positionals, short ones may be joined (-it, -tname), booleans may carry a value, and
// `--` ends the flags. A command of stopAtArgs (run) takes flags only before its first positional: the rest belongs to
// the program that it starts.
type argvParser struct {
	app        *cli.App
	stopAtArgs map[string]bool

	globals flagTable
	flags   flagTable
	command *cli.Command
	path    []string // names of the command and its parents, as in the help

	outGlobals, outFlags, positionals []string
	help                              bool
}

// normalise returns argv in canonical form. An unknown command or flag, or a missing value, is a *usageError.
func (p *argvParser) normalise(argv []string) ([]string, error) {
	p.globals = newFlagTable(p.app.Flags)
	p.flags = flagTable{}
	if len(argv) == 0 {
		argv = []string{p.app.Name}
	}
	args := argv[1:]
	for len(args) > 0 {
		n, stop, err := p.take(args)
		if err != nil {
			return nil, err
		}
		args = args[n:]
		if stop {
			p.positionals = append(p.positionals, args...)
			break
		}
	}
	if p.help || p.command == nil {
		return append([]string{argv[0], "help", "--"}, append(p.path, p.positionalsForHelp()...)...), nil
	}
	out := append([]string{argv[0]}, p.outGlobals...)
	out = append(out, p.path...)
	out = append(out, p.outFlags...)
	out = append(out, "--")
	return append(out, p.positionals...), nil
}

// positionalsForHelp keeps `cairn --help build` meaning the help of build.
func (p *argvParser) positionalsForHelp() []string {
	if p.command == nil {
		return p.positionals
	}
	return nil
}

// take consumes the next argument, and its value: n arguments. stop says that all the rest are positionals.
func (p *argvParser) take(args []string) (n int, stop bool, err error) {
	a := args[0]
	switch {
	case a == "--":
		if p.command == nil {
			return 0, false, &usageError{Msg: "expected a command before --"}
		}
		return 1, true, nil
	case a == "-" || !strings.HasPrefix(a, "-"):
		return p.takeWord(a)
	case strings.HasPrefix(a, "--"):
		n, err = p.takeLong(args)
		return n, false, err
	default:
		n, err = p.takeShort(args)
		return n, false, err
	}
}

// takeWord takes a command name or a positional.
func (p *argvParser) takeWord(a string) (n int, stop bool, err error) {
	siblings := p.app.Commands
	if p.command != nil {
		siblings = p.command.Subcommands
	}
	if p.command != nil && len(siblings) == 0 {
		if p.stopAtArgs[p.command.Name] {
			return 0, true, nil
		}
		p.positionals = append(p.positionals, a)
		return 1, false, nil
	}
	for _, c := range siblings {
		if c.HasName(a) {
			p.command = c
			p.path = append(p.path, c.Name)
			for name, f := range newFlagTable(c.Flags) {
				p.flags[name] = f
			}
			return 1, false, nil
		}
	}
	var names []string
	for _, c := range siblings {
		if !c.Hidden {
			names = append(names, c.Names()...)
		}
	}
	return 0, false, p.usage(fmt.Sprintf("unknown command %q", a), didYouMean(a, names))
}

// takeLong takes --name, --name=value or --name value.
func (p *argvParser) takeLong(args []string) (int, error) {
	name, value, hasValue := strings.Cut(strings.TrimPrefix(args[0], "--"), "=")
	f := p.find(name)
	if f == nil || len(name) < 2 {
		switch {
		case name == "help":
			p.help = true
			return 1, nil
		case name == "version" && p.command == nil:
			_, _, err := p.takeWord(name)
			return 1, err
		}
		return 0, p.usage("unknown flag: --"+name, didYouMean("--"+name, p.longNames()))
	}
	return p.emit(f, "--"+name, value, hasValue, args[1:])
}

// takeShort takes -a, -abc, -avalue, -a=value and -a value, as pflag reads them.
func (p *argvParser) takeShort(args []string) (int, error) {
	rest := args[0][1:]
	for rest != "" {
		name := rest[:1]
		rest = rest[1:]
		f := p.find(name)
		switch {
		case f == nil && name == "h":
			p.help = true
			continue
		case f == nil:
			return 0, p.usage(fmt.Sprintf("unknown shorthand flag: '%s' in %s", name, args[0]), didYouMean("-"+strings.TrimSuffix(args[0], "="), p.longNames()))
		case strings.HasPrefix(rest, "="):
			return p.emit(f, "-"+name, rest[1:], true, args[1:])
		case takesValue(f) && rest != "":
			return p.emit(f, "-"+name, rest, true, args[1:])
		}
		n, err := p.emit(f, "-"+name, "", false, args[1:])
		if err != nil || rest == "" {
			return n, err
		}
	}
	return 1, nil
}

func (p *argvParser) find(name string) cli.Flag {
	if f, ok := p.flags[name]; ok {
		return f
	}
	return p.globals[name]
}

// emit appends the flag in its canonical form and returns how many arguments it took.
func (p *argvParser) emit(f cli.Flag, shown, value string, hasValue bool, next []string) (int, error) {
	n := 1
	switch {
	case takesValue(f) && !hasValue:
		if len(next) == 0 {
			return 0, p.usage("flag needs a value: "+shown, "")
		}
		value = next[0]
		n = 2
	case takesValue(f):
	case !hasValue:
		value = "true"
		if o, ok := f.(*optionalFlag); ok {
			value = o.Implied
		}
	default:
		if _, ok := f.(*cli.BoolFlag); ok {
			if _, err := strconv.ParseBool(value); err != nil {
				return 0, p.usage(fmt.Sprintf("flag %s is true or false, not %q", shown, value), "")
			}
		}
	}
	out := "--" + f.Names()[0] + "=" + value
	if _, own := p.flags[f.Names()[0]]; own {
		p.outFlags = append(p.outFlags, out)
	} else {
		p.outGlobals = append(p.outGlobals, out)
	}
	return n, nil
}

func (p *argvParser) usage(msg, hint string) error {
	return &usageError{Command: strings.Join(p.path, " "), Msg: msg, Hint: hint}
}

func (p *argvParser) longNames() []string {
	var names []string
	for _, t := range []flagTable{p.flags, p.globals} {
		for n := range t {
			if len(n) > 1 {
				names = append(names, "--"+n)
			}
		}
	}
	return names
}
