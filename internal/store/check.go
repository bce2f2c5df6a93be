package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/oci/index"
)

// Check reads every blob, index and record of the store and reports what is damaged. If repair is set it removes what can be
// made or fetched again, makes missing layer blobs of images anew where that gives the same bytes, and restores index.json. It
// does not compare directories with their indexes. The store may be in use meanwhile.
func (s *Store) Check(ctx context.Context, repair bool) (Report, error) {
	c := &checker{s: s, repair: repair}
	for _, part := range []func(context.Context) error{c.indexJSON, c.blobs, c.layers, c.images, c.steps} {
		if err := part(ctx); err != nil {
			return c.report, fmt.Errorf("check store: %w", err)
		}
	}
	return c.report, nil
}

// checker is one check.
type checker struct {
	s      *Store
	repair bool
	report Report
}

// found reports a problem; fix is tried if repairs are asked for.
func (c *checker) found(what string, err error, fix func() error) {
	p := Problem{What: what, Err: err}
	if c.repair && fix != nil {
		if failed := fix(); failed != nil {
			p.Err = errors.Join(err, failed)
		} else {
			p.Repaired = true
		}
	}
	c.report.Problems = append(c.report.Problems, p)
}

func (c *checker) indexJSON(ctx context.Context) error {
	_, err := c.s.layout.Index(ctx)
	if err == nil {
		return nil
	}
	c.found("index.json", err, func() error {
		unlock, err := c.s.lockIndex(ctx)
		if err != nil {
			return err
		}
		defer unlock()
		ix, err := c.s.readIndexJSON(ctx)
		if err != nil {
			return err
		}
		return c.s.writeIndexJSON(ctx, ix, false)
	})
	return nil
}

// blobs compares every blob with its name.
func (c *checker) blobs(ctx context.Context) error {
	return c.s.eachBlob(func(d digest.Digest, path string) error {
		f, err := os.Open(path)
		if err != nil {
			return errIgnoring(err, fs.ErrNotExist)
		}
		defer f.Close()
		got, err := d.Algorithm().FromReader(files.Reader(ctx, f))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil && got != d {
			err = fmt.Errorf("its content has the digest %s", got)
		}
		if err != nil {
			c.found("blob "+d.String(), err, func() error {
				c.report.Blobs++
				_ = c.s.dropBlob(f, d, err)
				return nil
			})
		}
		return nil
	})
}

// layers checks that every layer can be opened and its index read.
func (c *checker) layers(ctx context.Context) error {
	entries, err := os.ReadDir(c.s.path("layers"))
	if err != nil {
		return errIgnoring(err, fs.ErrNotExist)
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		id := e.Name()
		if err := c.layer(id); err != nil && !files.Missing(c.s.layerDir(id)) {
			c.found("layer "+id, err, func() error { return c.removeLayer(id) })
		}
	}
	return nil
}

func (c *checker) layer(id string) error {
	if !validID(id) {
		return errors.New("its name is no layer id")
	}
	m, err := c.s.readMeta(id)
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(c.s.layerDir(id), indexFile))
	if err != nil {
		return err
	}
	defer f.Close()
	ix, err := index.Read(f)
	if err != nil {
		return err
	}
	if !m.Foreign && ix.ID().Encoded() != id {
		return fmt.Errorf("its index has the id %s", ix.ID())
	}
	for _, d := range m.Dirs {
		if d.Boot != "" && d.Boot != c.s.host.boot {
			continue // it does not count anyway
		}
		if files.Missing(filepath.Join(c.s.layerDir(id), dirName(d.Form))) {
			return fmt.Errorf("its directory %s is missing", dirName(d.Form))
		}
	}
	return nil
}

// removeLayer removes a damaged layer that nobody uses.
func (c *checker) removeLayer(id string) error {
	rm := &collector{s: c.s}
	if err := rm.removeLayer(id); err != nil {
		return err
	}
	if rm.report.Busy > 0 {
		c.report.Busy++
		return errors.New("it is in use")
	}
	c.report.Layers += rm.report.Layers
	c.report.Bytes += rm.report.Bytes
	return nil
}

// images checks that everything an image leads to is there.
func (c *checker) images(ctx context.Context) error {
	ix, err := c.s.readIndexJSON(ctx)
	if err != nil {
		return nil //nolint:nilerr // reported by indexJSON
	}
	for _, desc := range ix.Manifests {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		what := "image " + nameOf(desc)
		blobs, err := c.s.reach(ctx, oci.WithoutName(desc))
		if err != nil {
			c.found(what, err, nil)
			continue
		}
		for _, b := range blobs {
			info, err := os.Stat(c.s.blobPath(b.Digest)) // not locked: a check is no use of it
			if err == nil && info.Size() != b.Size {
				err = &oci.MismatchError{Want: b, Size: info.Size()}
			}
			if err != nil {
				c.found(what, err, func() error { return c.remake(ctx, blobs, b) })
			}
		}
	}
	return nil
}

// remake makes a layer blob anew, from the layer that one of the image's configs names in its place.
func (c *checker) remake(ctx context.Context, blobs []Descriptor, lost Descriptor) error {
	for _, b := range blobs {
		if !oci.IsManifest(b.MediaType) {
			continue
		}
		img, err := oci.ReadImage(ctx, c.s, b)
		if err != nil {
			continue
		}
		for _, l := range img.Layers {
			if l.Digest == lost.Digest {
				return c.remakeLayer(ctx, l)
			}
		}
	}
	return errors.New("it can only be had from where it came from")
}

// remakeLayer packs a layer of ours again, the way the lost blob was packed.
func (c *checker) remakeLayer(ctx context.Context, want oci.Layer) error {
	l, ok := c.s.LayerByDiffID(want.DiffID)
	if !ok {
		return errors.New("the layer is not in the store")
	}
	defer l.Release()
	if l.Foreign() {
		return errors.New("it was packed by others")
	}
	for _, b := range l.meta().Blobs {
		if b.Digest != want.Digest {
			continue
		}
		for _, o := range packings() {
			if o.String() != b.Packing {
				continue
			}
			made, err := l.EnsureBlob(ctx, o)
			if err == nil && made.Digest != want.Digest {
				err = fmt.Errorf("packed again it has the digest %s", made.Digest)
			}
			return err
		}
	}
	return errors.New("nothing says how it was packed")
}

// packings are all ways in which we pack.
func packings() []compress.Options {
	all := []compress.Options{{Algorithm: compress.None}}
	for level := 1; level <= 9; level++ {
		all = append(all, compress.Options{Algorithm: compress.Gzip, Level: level})
	}
	for level := 1; level <= 22; level++ {
		all = append(all, compress.Options{Algorithm: compress.Zstd, Level: level})
	}
	return all
}

// steps checks that records can be read. That a record's layer is gone is in order: it is a miss.
func (c *checker) steps(ctx context.Context) error {
	return c.s.eachRecord(func(path string, _ record, _ time.Time, err error) error {
		if err != nil && !errors.Is(err, os.ErrNotExist) || isDamaged(err) {
			c.found("step record "+filepath.Base(path), err, func() error {
				c.report.Steps++
				return errIgnoring(os.Remove(path), fs.ErrNotExist)
			})
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return nil
	})
}

func isDamaged(err error) bool {
	var damaged *DamagedError
	return errors.As(err, &damaged)
}
