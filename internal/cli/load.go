package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/archive"
)

// LoadOptions say what to load.
type LoadOptions struct {
	// Input is an archive, an OCI layout directory, or "-" for an archive on standard input.
	Input string
	// Tags are names for the image that the archive holds, beside those that it brings.
	Tags []string
}

func newLoadCommand(sh *shell) *cli.Command {
	o := LoadOptions{}
	var tags cli.StringSlice
	return newCommand(cli.Command{
		Name: "load", ArgsUsage: "", Usage: "Read images from an archive or an OCI layout directory into the store",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "input", Aliases: []string{"i"}, Value: "-", Usage: "`FILE` Read this archive or layout directory; - is standard input (default)", Destination: &o.Input},
			&cli.StringSliceFlag{Name: "tag", Aliases: []string{"t"}, Usage: "`NAME[:TAG]` Name the image, for an archive of one image", Destination: &tags},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "Show no progress (none is shown)"},
		},
	}, 0, 0, func(cc *cli.Context) error {
		o.Tags = tags.Value()
		return sh.withStore(cc.Context, func(st *store.Store) error { return runLoad(cc.Context, sh, st, o) })
	})
}

func runLoad(ctx context.Context, sh *shell, st *store.Store, o LoadOptions) error {
	extra, err := parseTags(o.Tags)
	if err != nil {
		return err
	}
	images, err := readImages(ctx, sh, st, o.Input)
	if err != nil {
		return err
	}
	if len(images) == 0 {
		return fmt.Errorf("load %s: there is no image in it", o.Input)
	}
	if len(extra) > 0 {
		if len(images) != 1 {
			return &usageError{Command: "load", Msg: fmt.Sprintf("--tag names one image, and %s holds %d", o.Input, len(images))}
		}
		images[0].References = append(images[0].References, extra...)
	}
	for _, n := range images {
		if err := adoptImage(ctx, sh, st, n); err != nil {
			return fmt.Errorf("load %s: %w", o.Input, err)
		}
	}
	return nil
}

// readImages brings the blobs into the store.
func readImages(ctx context.Context, sh *shell, st *store.Store, input string) (images []oci.Named, err error) {
	if input == "-" {
		if term.IsTerminal(int(sh.stdin.Fd())) {
			return nil, &usageError{Command: "load", Msg: "an archive is not read from a terminal", Hint: "name a file with --input, or use a pipe"}
		}
		in := interruptible(ctx, sh.stdin)
		defer in.Close()
		images, err = archive.Read(ctx, in, st)
	} else {
		info, serr := os.Stat(input)
		switch {
		case errors.Is(serr, fs.ErrNotExist):
			return nil, &usageError{Command: "load", Msg: fmt.Sprintf("there is no file %q", input)}
		case serr != nil:
			return nil, serr
		case info.IsDir():
			images, err = archive.ReadDir(ctx, input, st)
		default:
			images, err = readArchiveFile(ctx, st, input)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", input, err)
	}
	return images, nil
}

func readArchiveFile(ctx context.Context, st *store.Store, path string) ([]oci.Named, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return archive.Read(ctx, f, st)
}

// adoptImage reads an image's layers, so that what is broken is found now, and gives it its names.
func adoptImage(ctx context.Context, sh *shell, st *store.Store, n oci.Named) error {
	img, err := st.Image(ctx, n.Descriptor, oci.HostPlatform())
	if err != nil {
		return err
	}
	if err := indexLayers(ctx, st, img); err != nil {
		return err
	}
	for _, ref := range n.References {
		if err := st.Tag(ctx, ref, n.Descriptor); err != nil {
			return err
		}
		fmt.Fprintf(sh.out, "Loaded image: %s\n", ref.Familiar())
	}
	if len(n.References) > 0 {
		return nil
	}
	if err := st.AddImage(ctx, n.Descriptor); err != nil {
		return err
	}
	fmt.Fprintf(sh.out, "Loaded image ID: %s\n", img.ConfigDescriptor.Digest)
	return nil
}

// indexLayers makes the store's layers of an image's blobs, which are in the store.
func indexLayers(ctx context.Context, st *store.Store, img oci.Image) error {
	layers, err := st.IngestImage(ctx, img, st, store.IngestImageOptions{})
	for _, l := range layers {
		l.Release()
	}
	return err
}
