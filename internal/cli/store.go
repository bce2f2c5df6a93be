package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
)

// openStore opens the data directory that --root, $CAIRN_ROOT or the default names. The caller closes it.
func (sh *shell) openStore(ctx context.Context) (*store.Store, error) {
	root, err := sh.storeRoot()
	if err != nil {
		return nil, err
	}
	st, err := store.Open(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", root, err)
	}
	return st, nil
}

// withStore runs fn on the open store and closes it.
func (sh *shell) withStore(ctx context.Context, fn func(*store.Store) error) (err error) {
	st, err := sh.openStore(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := st.Close(); err == nil {
			err = cerr
		}
	}()
	return fn(st)
}

// storedImage is an image that was found in the store by a name that somebody gave.
type storedImage struct {
	// Reference is the reference that the name means; zero when it was found by its id.
	Reference oci.Reference
	// Target is what the references point at: a manifest or an index.
	Target ispec.Descriptor
	// References are all that point at Target.
	References []oci.Reference
	// Same are other manifests and indexes of the same image ID, when name was an ID.
	Same []oci.Named
	// Image is Target, or the one of its images that fits this machine best.
	Image oci.Image
}

// findImage looks name up: a reference, or the (beginning of the) digest of a config or manifest.
func findImage(ctx context.Context, st *store.Store, name string) (storedImage, error) {
	m, err := st.Resolve(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return storedImage{}, noSuchImage(ctx, st, name)
	}
	if err != nil {
		return storedImage{}, err
	}
	found := storedImage{Reference: m.Reference, Target: m.Image.Descriptor, References: m.Image.References, Same: m.Same}
	found.Image, err = st.Image(ctx, found.Target, oci.HostPlatform())
	return found, err
}

// noSuchImage is the error for a name that the store does not know, with the nearest that it does know.
func noSuchImage(ctx context.Context, st *store.Store, name string) error {
	var names []string
	if all, err := st.Images(ctx); err == nil {
		for _, n := range all {
			for _, r := range n.References {
				names = append(names, r.Familiar())
			}
		}
	}
	hint := "cairn images lists what is there; cairn pull fetches an image"
	if best := nearest(name, names); best != "" {
		hint = fmt.Sprintf("did you mean %s?", best)
	}
	return &hintedError{Err: fmt.Errorf("no such image: %s", name), Hint: hint}
}

// imageSize is the sum of the sizes of all files in the image's layers, as docker shows it; of a layer whose index is not
// at hand it is the size of the blob.
func imageSize(st *store.Store, img oci.Image, known map[string]int64) int64 {
	var sum int64
	for _, l := range img.Layers {
		size, ok := known[l.DiffID.String()]
		if !ok {
			size = layerSize(st, l)
			known[l.DiffID.String()] = size
		}
		sum += size
	}
	return sum
}

func layerSize(st *store.Store, l oci.Layer) int64 {
	layer, ok := st.LayerByDiffID(l.DiffID)
	if !ok {
		return l.Size
	}
	defer layer.Release()
	ix, err := layer.Index()
	if err != nil {
		return l.Size
	}
	var sum int64
	for e := range ix.Entries() {
		sum += e.Size
	}
	return sum
}
