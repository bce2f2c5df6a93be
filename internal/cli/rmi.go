package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/cairnbuild/cairn/internal/store"
)

// RmiOptions say how to remove images.
type RmiOptions struct {
	// Force removes an image by its id though several names point at it, and makes a missing image no error.
	Force bool
	// NoPrune leaves the blobs and layers that nothing needs any more.
	NoPrune bool
}

func newRmiCommand(sh *shell) *cli.Command {
	var o RmiOptions
	return newCommand(cli.Command{
		Name: "rmi", ArgsUsage: "IMAGE...", Usage: "Remove images, or names of images",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "Remove all names of an image given by its id; a missing image is no error", Destination: &o.Force},
			&cli.BoolFlag{Name: "no-prune", Usage: "Keep the blobs and layers that nothing needs any more", Destination: &o.NoPrune},
		},
	}, 1, -1, func(cc *cli.Context) error {
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
	if removed && !o.NoPrune {
		if _, err := st.Collect(ctx, store.CollectOptions{}); err != nil {
			errs = append(errs, fmt.Errorf("remove what is not needed any more: %w", err))
		}
	}
	return errors.Join(errs...)
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
		fmt.Fprintf(sh.stdout, "Untagged: %s\n", found.Reference.Familiar())
		if len(found.References) <= 1 {
			fmt.Fprintf(sh.stdout, "Deleted: %s\n", found.Image.ConfigDescriptor.Digest)
		}
		return true, nil
	}
	if n := len(found.References); n > 1 && !force {
		return false, &hintedError{
			Err:  fmt.Errorf("image %s has %d names", name, n),
			Hint: "remove them one by one, or all with --force",
		}
	}
	if err := st.RemoveImage(ctx, found.Target.Digest); err != nil {
		return false, err
	}
	for _, ref := range found.References {
		fmt.Fprintf(sh.stdout, "Untagged: %s\n", ref.Familiar())
	}
	fmt.Fprintf(sh.stdout, "Deleted: %s\n", found.Image.ConfigDescriptor.Digest)
	return true, nil
}
