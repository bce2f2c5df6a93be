package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/oci"
)

// CollectOptions say what is garbage beside what nothing leads to.
type CollectOptions struct {
	// KeepSteps keeps the step records that were used in this time, and their layers; 0 keeps none.
	KeepSteps time.Duration
	// Untagged takes images without a name out of the store first.
	Untagged bool
	// Roots are images to keep although index.json does not have them.
	Roots []Descriptor
	// DryRun removes nothing and reports what would go. Records and layers that only a removed image kept are then not counted.
	DryRun bool
}

// Report says what a collection or a check did.
type Report struct {
	// Temps, Layers, Blobs, Steps and Images were removed, Bytes of disk freed by it.
	Temps, Layers, Blobs, Steps, Images int
	Bytes                               int64
	// Busy were garbage, but in use.
	Busy int
	// Problems are the damages that were found.
	Problems []Problem
}

// Problem is one damaged piece of the store.
type Problem struct {
	// What names the piece: "blob sha256:...", "image me/app:latest".
	What string
	Err  error
	// Repaired says that it was made good, or removed where nothing is lost by that but time.
	Repaired bool
}

// Collect removes what no image in index.json and no recent step record leads to, and what killed processes left behind. What
// is in use by this or another process stays. Owners that this process may not remove are left for one that may: see
// NeedsNamespaceToClean. An image that cannot be read is reported and no blob removed, since nobody knows which are its.
func (s *Store) Collect(ctx context.Context, o CollectOptions) (Report, error) {
	c := &collector{s: s, o: o, layers: map[string]bool{}, blobs: map[digest.Digest]bool{}}
	if err := c.run(ctx); err != nil {
		return c.report, fmt.Errorf("collect garbage: %w", err)
	}
	return c.report, nil
}

// collector is one collection: it marks what is kept and sweeps the rest.
type collector struct {
	s      *Store
	o      CollectOptions
	report Report
	layers map[string]bool
	blobs  map[digest.Digest]bool
	// blind: an image could not be read.
	blind bool
}

func (c *collector) run(ctx context.Context) error {
	s := c.s
	if !c.o.DryRun {
		n, err := s.sweep(ctx)
		if err != nil {
			return err
		}
		c.report.Temps = n
		s.sweepKeyLocks()
	}
	// No image can come in while its blobs are judged.
	unlock, err := s.lockIndex(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.markImages(ctx); err != nil {
		return err
	}
	if err := c.markSteps(); err != nil {
		return err
	}
	if err := c.markBlobs(); err != nil {
		return err
	}
	if err := c.sweepLayers(ctx); err != nil {
		return err
	}
	if !c.blind {
		if err := c.sweepBlobs(ctx); err != nil {
			return err
		}
	}
	if c.o.DryRun {
		return nil
	}
	return errors.Join(c.sweepNames(), c.sweepHints())
}

// markImages keeps the blobs and layers of the images in index.json and of the roots.
func (c *collector) markImages(ctx context.Context) error {
	ix, err := c.s.readIndexJSON(ctx)
	if err != nil {
		return err
	}
	if c.o.Untagged {
		if err := c.dropUntagged(ctx, &ix); err != nil {
			return err
		}
	}
	for _, desc := range slices.Concat(ix.Manifests, c.o.Roots) {
		if err := c.markImage(ctx, desc); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			c.blind = true
			c.report.Problems = append(c.report.Problems, Problem{What: "image " + nameOf(desc), Err: err})
		}
	}
	return nil
}

// nameOf names an image in a message.
func nameOf(desc Descriptor) string {
	if ref, ok := oci.NameOf(desc); ok {
		return ref.Familiar()
	}
	return desc.Digest.String()
}

// dropUntagged takes the images without a name out of index.json.
func (c *collector) dropUntagged(ctx context.Context, ix *ispec.Index) error {
	before := len(ix.Manifests)
	ix.Manifests = slices.DeleteFunc(ix.Manifests, func(m Descriptor) bool {
		_, named := oci.NameOf(m)
		return !named
	})
	c.report.Images = before - len(ix.Manifests)
	if c.report.Images == 0 || c.o.DryRun {
		return nil
	}
	return c.s.writeIndexJSON(ctx, *ix, true)
}

// markImage keeps what one image leads to.
func (c *collector) markImage(ctx context.Context, desc Descriptor) error {
	blobs, err := c.s.reach(ctx, oci.WithoutName(desc))
	if err != nil {
		return err
	}
	for _, b := range blobs {
		c.blobs[b.Digest] = true
		if !oci.IsManifest(b.MediaType) {
			continue
		}
		img, err := oci.ReadImage(ctx, c.s, b)
		if errors.Is(err, oci.ErrNotImage) {
			continue // an attestation or other artifact: it has no layers in our sense
		}
		if err != nil {
			return err
		}
		c.markDiffIDs(img.Config.RootFS.DiffIDs)
	}
	return nil
}

// markDiffIDs keeps the layers of one image.
func (c *collector) markDiffIDs(diffIDs []digest.Digest) {
	var below []string
	for _, d := range diffIDs {
		id := c.s.idByName(d)
		if id == "" {
			return // nothing above it was extracted, nor could a chain go on
		}
		c.layers[id] = true
		if m, err := c.s.readMeta(id); err == nil && m.Loose {
			id = chainID(d, below).Encoded()
			c.layers[id] = true
		}
		below = append(below, id)
	}
}

// markSteps keeps the layers of recent records and removes the other records, and those that lead nowhere.
func (c *collector) markSteps() error {
	return c.s.eachRecord(func(path string, r record, used time.Time, err error) error {
		keep := err == nil && c.o.KeepSteps > 0 && time.Since(used) < c.o.KeepSteps
		if keep && r.Layer != "" {
			if _, err := os.Stat(c.s.layerDir(r.Layer)); err != nil {
				keep = false
			}
		}
		if keep {
			if r.Layer != "" {
				c.layers[r.Layer] = true
			}
			return nil
		}
		c.report.Steps++
		if c.o.DryRun {
			return nil
		}
		return errIgnoring(os.Remove(path), fs.ErrNotExist)
	})
}

// markBlobs keeps the blobs of the layers that are kept.
func (c *collector) markBlobs() error {
	for id := range c.layers {
		m, err := c.s.readMeta(id)
		if err != nil {
			continue // not there, or damaged
		}
		for _, b := range m.Blobs {
			c.blobs[b.Digest] = true
		}
	}
	return nil
}

// sweepLayers removes the layers that are not kept.
func (c *collector) sweepLayers(ctx context.Context) error {
	entries, err := os.ReadDir(c.s.path("layers"))
	if err != nil {
		return errIgnoring(err, fs.ErrNotExist)
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if c.layers[e.Name()] {
			continue
		}
		if err := c.removeLayer(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// removeLayer removes a layer unless it is in use: first, and at once, from layers.
func (c *collector) removeLayer(id string) error {
	path := c.s.layerDir(id)
	lock, err := files.TryLock(path, files.LockMode{Exclusive: true})
	if err != nil {
		return errIgnoring(err, fs.ErrNotExist)
	}
	if lock == nil {
		c.report.Busy++
		return nil
	}
	defer lock.Close()
	c.report.Bytes += diskUsage(path)
	c.report.Layers++
	if c.o.DryRun {
		return nil
	}
	return c.s.trash(path)
}

// sweepBlobs removes the blobs that are not kept.
func (c *collector) sweepBlobs(ctx context.Context) error {
	return c.s.eachBlob(func(d digest.Digest, path string) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if c.blobs[d] {
			return nil
		}
		lock, err := files.TryLock(path, files.LockMode{Exclusive: true})
		if err != nil {
			return errIgnoring(err, fs.ErrNotExist)
		}
		if lock == nil {
			c.report.Busy++
			return nil
		}
		defer lock.Close()
		c.report.Bytes += diskUsage(path)
		c.report.Blobs++
		if c.o.DryRun {
			return nil
		}
		return os.Remove(path)
	})
}

// sweepNames removes the names that lead to no layer. One that a layer just got may be lost; that is a miss.
func (c *collector) sweepNames() error {
	entries, err := os.ReadDir(c.s.path("names"))
	if err != nil {
		return errIgnoring(err, fs.ErrNotExist)
	}
	for _, e := range entries {
		path := c.s.path("names", e.Name())
		data, err := os.ReadFile(path)
		if err == nil && validID(string(data)) {
			_, err = os.Stat(c.s.layerDir(string(data)))
			if err == nil {
				continue
			}
		}
		os.Remove(path)
	}
	return nil
}

// sweepHints removes the hints whose record is gone.
func (c *collector) sweepHints() error {
	return c.s.eachStepFile(".hint", func(path string, _ digest.Digest, _ fs.FileInfo) error {
		key, err := c.s.readHint(strings.Split(strings.TrimPrefix(path, c.s.root+"/"), "/"))
		if err == nil {
			_, err = os.Stat(c.s.path(stepName(key, "")...))
		}
		if err != nil {
			os.Remove(path)
		}
		return nil
	})
}
