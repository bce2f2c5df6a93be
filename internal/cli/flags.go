package cli

import "github.com/urfave/cli/v2"

// The kinds of flags. value stands for the flag's value in the help.

func oneFlag(name, value, usage string, aliases ...string) *cli.StringFlag {
	return &cli.StringFlag{Name: name, Aliases: aliases, Usage: "`" + value + "` " + usage}
}

// manyFlag may be given several times.
func manyFlag(name, value, usage string, aliases ...string) *cli.StringSliceFlag {
	return &cli.StringSliceFlag{Name: name, Aliases: aliases, Usage: "`" + value + "` " + usage}
}

func boolFlag(name, usage string, aliases ...string) *cli.BoolFlag {
	return &cli.BoolFlag{Name: name, Aliases: aliases, Usage: usage}
}

// formatFlag is --format of the commands that list.
func formatFlag(destination *string) *cli.StringFlag {
	f := oneFlag("format", "FORMAT", "Print as table, json, or with a Go template")
	f.Destination = destination
	return f
}

// progressFlag is --progress, which CAIRN_PROGRESS sets for all builds.
func progressFlag() *cli.StringFlag {
	f := oneFlag("progress", "MODE", "Show progress as auto, plain, tty, json, rawjson or quiet (or set CAIRN_PROGRESS)")
	f.Value, f.EnvVars = "auto", []string{"CAIRN_PROGRESS"}
	return f
}
