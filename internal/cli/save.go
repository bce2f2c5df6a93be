package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"

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
		return saveDir(ctx, o.Output, images, st)
	}
	opts := archive.WriteOptions{Format: archive.Combined}
	switch o.Format {
	case "oci":
		opts.Format = archive.OCI
	case "docker":
		opts.Format = archive.Docker
	}
	if o.Output == "-" {
		return writeBuffered(sh.stdout, func(w io.Writer) error { return archive.Write(ctx, w, images, st, opts) })
	}
	return writeFile(o.Output, func(w io.Writer) error { return archive.Write(ctx, w, images, st, opts) })
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

// saveDir writes an OCI layout directory, or adds to one.
func saveDir(ctx context.Context, dir string, images []oci.Named, st *store.Store) error {
	if err := layout.Create(dir); err != nil {
		return fmt.Errorf("create %s: %w", dir, err)
	}
	l, err := layout.Open(dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	ix, err := l.Index(ctx)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	for _, n := range images {
		if err := copyImage(ctx, st, l, n.Descriptor); err != nil {
			return fmt.Errorf("write %s: %w", dir, err)
		}
		ix.Manifests = addToIndex(ix.Manifests, n)
	}
	if err := l.SetIndex(ctx, ix); err != nil {
		return fmt.Errorf("write %s: %w", dir, err)
	}
	return nil
}

// addToIndex adds an entry per name and takes the names away from what had them before.
func addToIndex(manifests []ispec.Descriptor, n oci.Named) []ispec.Descriptor {
	bare := oci.WithoutName(n.Descriptor)
	for _, ref := range n.References {
		manifests = slices.DeleteFunc(manifests, func(d ispec.Descriptor) bool {
			have, ok := oci.NameOf(d)
			return ok && have == ref
		})
		manifests = append(manifests, oci.WithName(bare, ref))
	}
	known := slices.ContainsFunc(manifests, func(d ispec.Descriptor) bool { return d.Digest == bare.Digest })
	if len(n.References) == 0 && !known {
		manifests = append(manifests, bare)
	}
	return manifests
}

// copyImage copies a manifest or index and all that it refers to, what it refers to first.
func copyImage(ctx context.Context, src oci.BlobSource, l *layout.Layout, desc ispec.Descriptor) error {
	children, err := oci.Children(ctx, src, desc)
	if err != nil {
		return err
	}
	for _, c := range children {
		if err := copyImage(ctx, src, l, c); err != nil {
			return err
		}
	}
	return l.CopyBlob(ctx, src, desc)
}

// writeFile makes a file whole or not at all. A path that is there already and is no regular file (a pipe, /dev/stdout) is
// written as it is.
func writeFile(path string, write func(io.Writer) error) (err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		if info.IsDir() {
			return &usageError{Msg: fmt.Sprintf("%s is a directory", path), Hint: "an OCI layout directory is written with --format=oci-dir"}
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(writeBuffered(f, write), f.Close())
	}
	temporary := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d", filepath.Base(path), os.Getpid()))
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err := errors.Join(writeBuffered(f, write), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func writeBuffered(w io.Writer, write func(io.Writer) error) error {
	b := bufio.NewWriterSize(w, 1<<20)
	if err := write(b); err != nil {
		return err
	}
	return b.Flush()
}
