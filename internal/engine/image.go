package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// builtImage is one platform's result: the image and the file system that it stands for.
type builtImage struct {
	image oci.Image
	final *snapshotRef
	plan  *planner.Plan
	e     *engine
}

// image makes the config and the list of layers. For each layer a blob is made now, unless the image is not kept.
func (e *engine) image(ctx context.Context, final *snapshotRef) (*builtImage, error) {
	b := &builtImage{final: final, plan: e.plan, e: e}
	if !e.opts.keepsImage() {
		return b, e.settle(ctx)
	}
	img := oci.Image{Config: planner.CloneConfig(e.plan.Target.Config), Annotations: e.opts.Output.Annotations}
	img.Config.RootFS = ispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}
	v := e.events.start("exporting layers")
	if err := e.settle(ctx); err != nil {
		v.finish(false, err)
		return nil, err
	}
	for _, r := range final.layers {
		l, err := r.stored(ctx)
		if err == nil {
			var blob oci.Layer
			if blob, err = e.blobOf(ctx, l); err == nil {
				img.Layers = append(img.Layers, blob)
				img.Config.RootFS.DiffIDs = append(img.Config.RootFS.DiffIDs, blob.DiffID)
			}
		}
		if err != nil {
			v.finish(false, err)
			return nil, fmt.Errorf("pack layer: %w", err)
		}
	}
	v.finish(false, nil)
	if err := e.fillHistory(ctx, &img.Config); err != nil {
		return nil, err
	}
	b.image = img
	return b, nil
}

// blobOf is the blob that the image carries for a layer: others' blobs stay as they are, ours are packed as asked for.
func (e *engine) blobOf(ctx context.Context, l *store.Layer) (oci.Layer, error) {
	if blobs := l.Blobs(); l.Foreign() && len(blobs) > 0 {
		return blobs[0], nil
	}
	return l.EnsureBlob(ctx, e.want.compression)
}

// fillHistory puts times to our history entries: each layer's own. An entry without a layer gets that of the layer before it or, before
// our first layer, that of our first layer, as BuildKit has it; those of the base image stay as they are. The image was created when its
// last step ran (docs/semantics.md 113).
func (e *engine) fillHistory(ctx context.Context, c *oci.Config) error {
	steps := e.plan.Target.LayerSteps
	times := make([]*time.Time, len(c.History))
	var first *time.Time // of our layers
	layers := 0
	for i, h := range c.History {
		if !h.EmptyLayer {
			layers++
		}
		if times[i] = h.Created; steps[i] == nil {
			continue
		}
		st, err := e.result(ctx, steps[i])
		if err != nil {
			return err
		}
		t := st.layers[len(st.layers)-1].created.UTC()
		if times[i] = &t; first == nil {
			first = &t
		}
	}
	if layers != len(c.RootFS.DiffIDs) {
		return fmt.Errorf("history has %d layers but the image has %d: the base image's history is inconsistent", layers, len(c.RootFS.DiffIDs))
	}
	ours, last := e.plan.Target.BaseHistory, first
	for i := range c.History {
		h := &c.History[i]
		switch {
		case i < ours:
			if first == nil && h.Created != nil {
				last = h.Created
			}
			continue
		case e.opts.Epoch != nil:
			t := e.opts.Epoch.UTC()
			last = &t
		case times[i] != nil:
			last = times[i]
		}
		h.Created = last
	}
	c.Created = last
	if ours == len(c.History) && ours > 0 {
		c.Created = times[ours-1]
	}
	return nil
}

// createdOf is when a base image's i-th layer was made, as its history says.
func createdOf(m *baseImage, i int) time.Time {
	n := 0
	for _, h := range m.Config.History {
		if h.EmptyLayer {
			continue
		}
		if n == i && h.Created != nil {
			return *h.Created
		}
		n++
	}
	return time.Time{}
}
