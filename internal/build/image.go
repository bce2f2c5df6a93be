package build

import (
	"context"
	"fmt"
	"time"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// builtImage is one platform's result: the image and the file system that it stands for.
type builtImage struct {
	image oci.Image
	final *state
	plan  *Plan
	e     *engine
}

// image makes the config and the list of layers. For each layer a blob is made now, unless the image is not kept.
func (e *engine) image(ctx context.Context, final *state) (*builtImage, error) {
	b := &builtImage{final: final, plan: e.plan, e: e}
	if !e.opts.keepsImage() {
		return b, e.settle(ctx)
	}
	img := oci.Image{Config: cloneConfig(e.plan.Target.Config), Annotations: e.opts.Output.Annotations}
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

// fillHistory puts times to our history entries: each layer's own, and for entries without a layer the one before. Those of the
// base image stay as they are. The image was created when its last step ran (FEATURES 113).
func (e *engine) fillHistory(ctx context.Context, c *oci.Config) error {
	target := e.plan.Target
	var last *time.Time
	layers := 0
	for i := range c.History {
		h := &c.History[i]
		if !h.EmptyLayer {
			layers++
		}
		if h.Comment == dockerfile.HistoryComment && h.Created == nil {
			if s := target.layerSteps[i]; s != nil {
				st, err := e.result(ctx, s)
				if err != nil {
					return err
				}
				t := st.layers[len(st.layers)-1].created
				if e.opts.Epoch != nil {
					t = *e.opts.Epoch
				}
				t = t.UTC()
				last = &t
			} else if e.opts.Epoch != nil {
				t := e.opts.Epoch.UTC()
				last = &t
			}
			h.Created = last
			continue
		}
		if h.Created != nil {
			last = h.Created
		}
	}
	if layers != len(c.RootFS.DiffIDs) {
		return fmt.Errorf("history has %d layers but the image has %d: the base image's history is inconsistent", layers, len(c.RootFS.DiffIDs))
	}
	c.Created = last
	return nil
}

// createdOf is when a base image's i-th layer was made, as its history says.
func createdOf(m *imageMeta, i int) time.Time {
	n := 0
	for _, h := range m.config.History {
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
