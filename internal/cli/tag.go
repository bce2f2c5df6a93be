package cli

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
)

func newTagCommand(sh *shell) *cli.Command {
	return newCommand(cli.Command{
		Name: "tag", ArgsUsage: "IMAGE NAME[:TAG]...", Usage: "Give an image further names",
	}, 2, -1, func(cc *cli.Context) error {
		return sh.withStore(cc.Context, func(st *store.Store) error {
			return runTag(cc.Context, st, cc.Args().First(), cc.Args().Tail())
		})
	})
}

// runTag makes every one of names point at what source names.
func runTag(ctx context.Context, st *store.Store, source string, names []string) error {
	refs, err := parseTags(names)
	if err != nil {
		return err
	}
	found, err := findImage(ctx, st, source)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if err := st.Tag(ctx, ref, found.Target); err != nil {
			return err
		}
	}
	return nil
}

// parseTags reads references that are to point at an image: they have no digest.
func parseTags(names []string) ([]oci.Reference, error) {
	var refs []oci.Reference
	for _, name := range names {
		ref, err := oci.ParseReference(name)
		if err != nil {
			return nil, &usageError{Msg: err.Error()}
		}
		if ref.Digest() != "" {
			return nil, &usageError{Msg: "a name that is given to an image has no digest: " + name}
		}
		refs = append(refs, ref)
	}
	return refs, nil
}
