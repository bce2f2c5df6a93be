package engine

import (
	"context"
	"fmt"

	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
)

// Pull brings the image that ref names for one platform into the store, whole, and tags it; what is there already is not
// fetched again. It shows itself as a build's FROM does.
func Pull(ctx context.Context, s *store.Store, ref oci.Reference, p oci.Platform, onEvent func(Event)) (oci.Image, error) {
	ev := newEmitter(onEvent)
	ev.emit(Event{Kind: Planned, Name: "pulling " + ref.Familiar()})
	b, err := newBases(s, ev, true, false)
	if err != nil {
		return oci.Image{}, err
	}
	found, err := b.resolve(ctx, ref.String(), p)
	if err != nil {
		return oci.Image{}, err
	}
	layers, err := b.ingest(ctx, found, "[internal] pull "+ref.String(), false)
	for _, l := range layers {
		if l != nil {
			l.Release()
		}
	}
	if err != nil {
		return oci.Image{}, fmt.Errorf("pull %s: %w", ref.Familiar(), err)
	}
	return found.image, s.Sync(ctx)
}
