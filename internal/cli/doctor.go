package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/cairnbuild/cairn/internal/doctor"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/sandbox"
)

func newDoctorCommand(sh *shell) *cli.Command {
	var asJSON, profile bool
	return newCommand(cli.Command{
		Name: "doctor", Usage: "Try what this machine lets cairn do, and say how to get the rest",
		Description: "Every facility is tried by using it. For each that is missing there is what that costs, and the command or setting\n" +
			"that provides it, for root, for you, or for whoever starts the container that this is. The exit status is 0 when\n" +
			"builds with RUN work, on whatever rung, and 4 when they don't.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "Print a JSON object", Destination: &asJSON},
			&cli.BoolFlag{Name: "apparmor-profile", Usage: "Print the AppArmor profile that Ubuntu needs, for this program's path", Destination: &profile},
		},
	}, 0, 0, func(cc *cli.Context) error {
		if profile {
			fmt.Fprint(sh.out, doctor.AppArmorProfile(doctor.ThisMachine().Program))
			return nil
		}
		return runDoctor(cc.Context, sh, asJSON)
	})
}

func runDoctor(ctx context.Context, sh *shell, asJSON bool) error {
	if sandbox.InNamespace() { // asked by the other one
		return sh.withStore(ctx, func(st *store.Store) error {
			tmp, err := st.TempDir("doctor")
			if err != nil {
				return err
			}
			defer tmp.Close()
			return printJSON(sh.out, doctor.Inside(ctx, tmp.Path()))
		})
	}
	root, err := sh.storeRoot()
	if err != nil {
		return err
	}
	report, err := doctor.Examine(ctx, doctor.Options{StoreRoot: root, Inside: []string{sh.args[0], "--root", root, "doctor"}})
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSON(sh.out, report)
	} else {
		printReport(sh.out, report)
	}
	if err == nil && !report.Works {
		err = exit(exitMachine)
	}
	return err
}

// printReport prints a finding a line, and below it what follows from it.
func printReport(w io.Writer, r doctor.Report) {
	m := r.Machine
	about := []string{"user " + m.User, "Linux " + m.Kernel}
	if m.Name != "" {
		about = append(about, m.Name)
	}
	if m.Runtime != "" {
		about = append(about, "in a container ("+m.Runtime+")")
	}
	fmt.Fprintln(w, strings.Join(about, ", "))
	for _, f := range r.Findings {
		fmt.Fprintf(w, "%-8s %s", f.Status, f.Name)
		if f.Detail != "" {
			fmt.Fprintf(w, ": %s", f.Detail)
		}
		fmt.Fprintln(w)
		if f.Cost != "" {
			fmt.Fprintf(w, "         cost: %s\n", f.Cost)
		}
		for _, fix := range f.Fixes {
			fmt.Fprintf(w, "         fix (%s): %s\n", fix.Who, fix.Do)
		}
	}
	if r.Works {
		fmt.Fprintln(w, "Builds with RUN work.")
	} else {
		fmt.Fprintln(w, "Builds with RUN do not work here; builds without do.")
	}
}

// storeRoot is the data directory's path.
func (sh *shell) storeRoot() (string, error) {
	if sh.root != "" {
		return sh.root, nil
	}
	return store.DefaultRoot()
}
