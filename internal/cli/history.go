package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cairnbuild/cairn/internal/progress"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
)

// HistoryOptions say how to show an image's history.
type HistoryOptions struct {
	Format  string
	NoTrunc bool
	Quiet   bool
	Human   bool
}

func newHistoryCommand(sh *shell) *cli.Command {
	var o HistoryOptions
	return newCommand(cli.Command{
		Name: "history", ArgsUsage: "IMAGE", Usage: "Show how an image was made, the newest step first",
		Flags: []cli.Flag{
			formatFlag(&o.Format),
			&cli.BoolFlag{Name: "no-trunc", Usage: "Do not shorten", Destination: &o.NoTrunc},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "Print image ids only", Destination: &o.Quiet},
			&cli.BoolFlag{Name: "human", Aliases: []string{"H"}, Usage: "Print sizes and dates for people", Value: true, Destination: &o.Human},
		},
	}, 1, 1, func(cc *cli.Context) error {
		return sh.withStore(cc.Context, func(st *store.Store) error { return runHistory(cc.Context, sh, st, cc.Args().First(), o) })
	})
}

func runHistory(ctx context.Context, sh *shell, st *store.Store, name string, o HistoryOptions) error {
	found, err := findImage(ctx, st, name)
	if err != nil {
		return err
	}
	rows := historyRows(found.Image, func(l oci.Layer) int64 { return layerSize(st, l) }, o)
	if o.Quiet {
		for _, r := range rows {
			fmt.Fprintln(sh.out, r["ID"])
		}
		return nil
	}
	l := listing{
		Columns: []column{{"ID", "IMAGE"}, {"CreatedSince", "CREATED"}, {"CreatedBy", "CREATED BY"}, {"Size", "SIZE"}, {"Comment", "COMMENT"}},
		Titles:  map[string]string{"CreatedAt": "CREATED AT"},
		Rows:    rows,
	}
	if !o.Human {
		l.Columns[1] = column{"CreatedAt", "CREATED AT"}
	}
	return l.print(sh.text(), o.Format)
}

// historyRows pairs the history's entries that made a layer with the layers, and returns the newest first. Only the last
// entry has an image of its own.
func historyRows(img oci.Image, size func(oci.Layer) int64, o HistoryOptions) []fields {
	history := img.Config.History
	rows := make([]fields, len(history))
	layer := 0
	for i, h := range history {
		var bytes int64
		if !h.EmptyLayer && layer < len(img.Layers) {
			bytes = size(img.Layers[layer])
			layer++
		}
		f := fields{"ID": "<missing>", "CreatedBy": oneLine(h.CreatedBy), "Comment": h.Comment, "CreatedSince": "N/A", "CreatedAt": ""}
		if h.Created != nil {
			f["CreatedSince"] = since(*h.Created)
			f["CreatedAt"] = h.Created.Format(time.RFC3339)
		}
		if !o.NoTrunc {
			f["CreatedBy"] = progress.Shorten(f["CreatedBy"], 45)
		}
		f["Size"] = strconv.FormatInt(bytes, 10)
		if o.Human {
			f["Size"] = humanSize(bytes)
		}
		if i == len(history)-1 {
			f["ID"] = imageID(img, o.NoTrunc)
		}
		rows[len(history)-1-i] = f
	}
	return rows
}

func oneLine(s string) string { return strings.NewReplacer("\t", " ", "\n", " ").Replace(s) }
