package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
)

// RmiOptions say how to remove images.
type RmiOptions struct {
	// Force removes an image by its id though several names point at it, and makes a missing image no error.
	Force bool
	// All removes every image, and with them all that builds have left.
	All bool
	// NoPrune leaves the blobs and layers that nothing needs any more.
	NoPrune bool
}

func newRmiCommand(sh *shell) *cli.Command {
	var o RmiOptions
	return newCommand(cli.Command{
		Name: "rmi", ArgsUsage: "IMAGE...", Usage: "Remove images, or names of images",
		Description: "With its last name an image goes, and what nothing else needs of it. Results of steps that a build used in the last\n" +
			"seven days are kept; --all removes them too.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "Remove all names of an image given by its id; a missing image is no error", Destination: &o.Force},
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "Remove all images, and all results of builds", Destination: &o.All},
			&cli.BoolFlag{Name: "no-prune", Usage: "Keep the blobs and layers that nothing needs any more", Destination: &o.NoPrune},
		},
	}, 0, -1, func(cc *cli.Context) error {
		if o.All == (cc.NArg() > 0) {
			return &usageError{Command: "rmi", Msg: "either images or --all must be given"}
		}
		return sh.withStore(cc.Context, func(st *store.Store) error { return runRmi(cc.Context, sh, st, cc.Args().Slice(), o) })
	})
}

// runRmi removes what it can and returns the errors of the rest.
func runRmi(ctx context.Context, sh *shell, st *store.Store, names []string, o RmiOptions) error {
	var errs []error
	removed := false
	for _, name := range names {
		done, err := removeImage(ctx, sh, st, name, o.Force)
		removed = removed || done
		if err != nil {
			errs = append(errs, err)
		}
	}
	if o.All {
		var err error
		if removed, err = true, removeAllImages(ctx, sh, st); err != nil {
			errs = append(errs, err)
		}
	}
	if removed && !o.NoPrune {
		collect := store.CollectOptions{KeepSteps: keepSteps}
		if o.All {
			collect.KeepSteps = 0
		}
		if _, err := st.Collect(ctx, collect); err != nil {
			errs = append(errs, fmt.Errorf("remove what is not needed any more: %w", err))
		}
		sh.cleanInNamespace(ctx, st)
	}
	return errors.Join(errs...)
}

// keepSteps is how long a step's result is kept that no image needs.
const keepSteps = 7 * 24 * time.Hour

func removeAllImages(ctx context.Context, sh *shell, st *store.Store) error {
	images, err := st.Images(ctx)
	if err != nil {
		return err
	}
	for _, n := range images {
		if err := st.RemoveImage(ctx, n.Descriptor.Digest); err != nil {
			return err
		}
		for _, ref := range n.References {
			fmt.Fprintf(sh.out, "Untagged: %s\n", ref.Familiar())
		}
		fmt.Fprintf(sh.out, "Deleted: %s\n", n.Descriptor.Digest)
	}
	return nil
}

func removeImage(ctx context.Context, sh *shell, st *store.Store, name string, force bool) (bool, error) {
	found, err := findImage(ctx, st, name)
	if err != nil {
		var missing *hintedError
		if force && errors.As(err, &missing) {
			return false, nil
		}
		return false, err
	}
	if !found.Reference.IsZero() {
		if err := st.Untag(ctx, found.Reference); err != nil {
			return false, err
		}
		fmt.Fprintf(sh.out, "Untagged: %s\n", found.Reference.Familiar())
		if len(found.References) <= 1 {
			fmt.Fprintf(sh.out, "Deleted: %s\n", found.Image.ConfigDescriptor.Digest)
		}
		return true, nil
	}
	// An ID means all that have it: what differs between them is no content.
	images := append([]oci.Named{{Descriptor: found.Target, References: found.References}}, found.Same...)
	names := 0
	for _, img := range images {
		names += len(img.References)
	}
	if names > 1 && !force {
		return false, &hintedError{
			Err:  fmt.Errorf("image %s has %d names", name, names),
			Hint: "remove them one by one, or all with --force",
		}
	}
	for _, img := range images {
		if err := st.RemoveImage(ctx, img.Descriptor.Digest); err != nil {
			return false, err
		}
		for _, ref := range img.References {
			fmt.Fprintf(sh.out, "Untagged: %s\n", ref.Familiar())
		}
	}
	fmt.Fprintf(sh.out, "Deleted: %s\n", found.Image.ConfigDescriptor.Digest)
	return true, nil
}
