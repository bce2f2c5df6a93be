package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/archive"
	"github.com/cairnbuild/cairn/oci/layout"
)

// SaveOptions say where images are written, and how.
type SaveOptions struct {
	// Output is a file, for the format oci-dir a directory, or "-" for standard output.
	Output string
	// Format is "", oci, docker or oci-dir.
	Format string
}

func newSaveCommand(sh *shell) *cli.Command {
	o := SaveOptions{}
	return newCommand(cli.Command{
		Name: "save", ArgsUsage: "IMAGE...", Usage: "Write images to an archive or an OCI layout directory",
		Description: "Without --format the archive is read by docker load, podman load and skopeo (oci-archive: and docker-archive:) alike.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "-", Usage: "`FILE` Write this file or directory; - is standard output (default)", Destination: &o.Output},
			&cli.StringFlag{Name: "format", Usage: "`FORMAT` Write oci, docker or oci-dir", Destination: &o.Format},
		},
	}, 1, -1, func(cc *cli.Context) error {
		switch o.Format {
		case "oci-archive":
			o.Format = "oci"
		case "docker-archive":
			o.Format = "docker"
		case "", "oci", "docker":
		case "oci-dir":
			if o.Output == "-" {
				return &usageError{Command: "save", Msg: "--format=oci-dir needs --output: it is a directory"}
			}
		default:
			return &usageError{Command: "save", Msg: fmt.Sprintf("--format is oci, docker or oci-dir, not %q", o.Format)}
		}
		if o.Output == "-" {
			if err := sh.refuseTerminal(); err != nil {
				return err
			}
		}
		return sh.withStore(cc.Context, func(st *store.Store) error { return runSave(cc.Context, sh, st, cc.Args().Slice(), o) })
	})
}

func runSave(ctx context.Context, sh *shell, st *store.Store, names []string, o SaveOptions) error {
	images, err := imagesToSave(ctx, st, names)
	if err != nil {
		return err
	}
	if o.Format == "oci-dir" {
		return layout.Add(ctx, o.Output, st, images)
	}
	opts := archive.WriteOptions{Format: archive.Combined}
	switch o.Format {
	case "oci":
		opts.Format = archive.OCI
	case "docker":
		opts.Format = archive.Docker
	}
	write := func(w io.Writer) error { return archive.Write(ctx, w, images, st, opts) }
	if o.Output == "-" {
		return files.Buffered(sh.out, write)
	}
	err = files.Output(o.Output, write)
	if errors.Is(err, syscall.EISDIR) {
		return &usageError{
			Msg: fmt.Sprintf("%s is a directory", o.Output), Hint: "an OCI layout directory is written with --format=oci-dir",
		}
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", o.Output, err)
	}
	return nil
}

// imagesToSave looks the names up. Several names of one image make one entry with several references; an image given by its
// id goes without a name.
func imagesToSave(ctx context.Context, st *store.Store, names []string) ([]oci.Named, error) {
	var images []oci.Named
	for _, name := range names {
		found, err := findImage(ctx, st, name)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(images, func(n oci.Named) bool { return n.Descriptor.Digest == found.Target.Digest })
		if i < 0 {
			images = append(images, oci.Named{Descriptor: found.Target})
			i = len(images) - 1
		}
		if ref := found.Reference; !ref.IsZero() && ref.Tag() != "" && !slices.Contains(images[i].References, ref) {
			images[i].References = append(images[i].References, ref)
		}
	}
	return images, nil
}
