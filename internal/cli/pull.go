package cli

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/cairnbuild/cairn/internal/engine"
	"github.com/cairnbuild/cairn/internal/progress"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
)

// PullOptions say what to pull.
type PullOptions struct {
	Platform oci.Platform
	// Progress is a progress mode; see progress.Modes.
	Progress string
}

func newPullCommand(sh *shell) *cli.Command {
	var platform string
	var quiet bool
	o := PullOptions{}
	return newCommand(cli.Command{
		Name: "pull", ArgsUsage: "NAME[:TAG|@DIGEST]...", Usage: "Fetch images from a registry into the store",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "platform", Usage: "`OS/ARCH` Fetch the image for this platform", Destination: &platform},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "Show no progress", Destination: &quiet},
			progressFlag(),
		},
	}, 1, -1, func(cc *cli.Context) (err error) {
		if o.Platform, err = parsePlatform(platform); err != nil {
			return err
		}
		o.Progress = cc.String("progress")
		if quiet {
			o.Progress = progress.Quiet
		}
		refs, err := parseReferences(cc.Args().Slice())
		if err != nil {
			return err
		}
		return sh.withStore(cc.Context, func(st *store.Store) error {
			for _, ref := range refs {
				if _, err := pull(cc.Context, sh, st, ref, o); err != nil {
					return err
				}
				fmt.Fprintln(sh.out, ref.String())
			}
			return nil
		})
	})
}

// pull fetches one image and shows how it goes.
func pull(ctx context.Context, sh *shell, st *store.Store, ref oci.Reference, o PullOptions) (oci.Image, error) {
	display, err := sh.display(o.Progress)
	if err != nil {
		return oci.Image{}, err
	}
	img, err := engine.Pull(ctx, st, ref, o.Platform, display.Event)
	err = sh.closeDisplay(display, err)
	return img, err
}

// parsePlatform reads --platform; empty is this machine's.
func parsePlatform(s string) (oci.Platform, error) {
	if s == "" {
		return oci.HostPlatform(), nil
	}
	p, err := oci.ParsePlatform(s)
	if err != nil {
		return p, &usageError{Msg: err.Error()}
	}
	return p, nil
}

func parseReferences(names []string) ([]oci.Reference, error) {
	var refs []oci.Reference
	for _, name := range names {
		ref, err := oci.ParseReference(name)
		if err != nil {
			return nil, &usageError{Msg: err.Error()}
		}
		refs = append(refs, ref)
	}
	return refs, nil
}
