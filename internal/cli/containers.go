package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/cairnbuild/cairn/internal/container"
	"github.com/cairnbuild/cairn/internal/progress"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/sandbox"
)

func newPsCommand(sh *shell) *cli.Command {
	var format string
	var quiet, noTrunc bool
	return newCommand(cli.Command{
		Name: "ps", Usage: "List the containers that run, or ran without --rm",
		Flags: []cli.Flag{
			formatFlag(&format),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "Print container ids only", Destination: &quiet},
			&cli.BoolFlag{Name: "no-trunc", Usage: "Do not shorten", Destination: &noTrunc},
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "Show all containers (they always are)"},
		},
	}, 0, 0, func(cc *cli.Context) error {
		return sh.withStore(cc.Context, func(st *store.Store) error {
			list, err := container.List(st.Containers())
			if err != nil {
				return err
			}
			l := listing{Columns: []column{
				{"ID", "CONTAINER ID"}, {"Image", "IMAGE"}, {"Command", "COMMAND"}, {"RunningFor", "CREATED"}, {"Status", "STATUS"}, {"Names", "NAMES"},
			}}
			for _, c := range list {
				l.Rows = append(l.Rows, containerRow(c, noTrunc))
			}
			if quiet {
				for _, row := range l.Rows {
					fmt.Fprintln(sh.out, row["ID"])
				}
				return nil
			}
			return l.print(sh.text(), format)
		})
	})
}

func containerRow(c container.Listed, full bool) fields {
	f := fields{
		"ID": c.ID, "Image": c.Image, "Command": fmt.Sprintf("%q", oneLine(strings.Join(c.Args, " "))),
		"RunningFor": since(c.Created), "CreatedAt": c.Created.Local().Format("2006-01-02 15:04:05 -0700 MST"), "Names": c.Name,
		"Status": "Ended", "State": "exited",
	}
	switch {
	case c.Running:
		f["Status"], f["State"] = "Running", "running"
	case c.ExitCode != nil:
		f["Status"] = fmt.Sprintf("Exited (%d)", *c.ExitCode)
	}
	if !full {
		f["ID"] = shortID(c.ID)
		f["Command"] = progress.Shorten(f["Command"], 24)
	}
	return f
}

func newRmCommand(sh *shell) *cli.Command {
	var all bool
	return newCommand(cli.Command{
		Name: "rm", ArgsUsage: "CONTAINER...", Usage: "Remove containers that do not run",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "Remove all containers that do not run", Destination: &all},
		},
	}, 0, -1, func(cc *cli.Context) error {
		if all == (cc.NArg() > 0) {
			return &usageError{Command: "rm", Msg: "either containers or --all must be given"}
		}
		if !sandbox.InNamespace() {
			return sh.enter(cc.Context, nil)
		}
		return sh.withStore(cc.Context, func(st *store.Store) error { return runRm(sh, st.Containers(), cc.Args().Slice(), all) })
	})
}

func runRm(sh *shell, dir string, names []string, all bool) error {
	var chosen []container.Listed
	var errs []error
	if all {
		list, err := container.List(dir)
		if err != nil {
			return err
		}
		for _, c := range list {
			if !c.Running {
				chosen = append(chosen, c)
			}
		}
	}
	for _, name := range names {
		c, err := container.Find(dir, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		chosen = append(chosen, c)
	}
	for _, c := range chosen {
		if err := container.Remove(dir, c.ID); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(sh.out, c.ID)
	}
	return errors.Join(errs...)
}
