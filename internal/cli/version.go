package cli

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"
)

// Version is cairn's own.
const Version = "0.1.0-dev"

func newVersionCommand(sh *shell) *cli.Command {
	var format string
	return newCommand(cli.Command{
		Name: "version", Usage: "Show cairn's version",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "`FORMAT` Print as json or with a Go template", Destination: &format},
		},
	}, 0, 0, func(*cli.Context) error {
		v := struct{ Version, GoVersion, Os, Arch string }{Version, runtime.Version(), runtime.GOOS, runtime.GOARCH}
		switch format {
		case "":
			_, err := fmt.Fprintf(sh.out, "cairn version %s (%s, %s/%s)\n", v.Version, v.GoVersion, v.Os, v.Arch)
			return err
		case "json":
			return json.NewEncoder(sh.out).Encode(v)
		}
		t, err := parseTemplate(format)
		if err != nil {
			return err
		}
		return execute(sh.out, t, v)
	})
}
