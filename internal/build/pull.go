package build

import (
	"context"

	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/registry"
)

// Pull brings the image that ref names for one platform into the store, whole, and tags it; what is there already is not
// fetched again. It shows itself as a build's FROM does.
func Pull(ctx context.Context, s *store.Store, ref oci.Reference, p oci.Platform, onEvent func(Event)) (oci.Image, error) {
	ev := newEmitter(onEvent)
	reg, err := registry.New(registry.Options{UserAgent: "cairn"})
	if err != nil {
		return oci.Image{}, err
	}
	b := &bases{store: s, registry: reg, events: ev, pull: true, metas: map[string]*baseFuture{}}
	meta, err := b.resolveBase(ctx, ref.String(), p)
	if err != nil {
		return oci.Image{}, err
	}
	layers, err := b.ingest(ctx, meta, "[internal] pull "+ref.String(), false)
	for _, l := range layers {
		if l != nil {
			l.Release()
		}
	}
	if err != nil {
		return oci.Image{}, err
	}
	return meta.image, s.Sync(ctx)
}
