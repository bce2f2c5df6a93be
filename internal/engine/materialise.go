package engine

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
	"golang.org/x/sync/errgroup"
)

// storeEntries writes a layer of entries in the forms that the plan says somebody will need, in one read of the sources: a
// compressed blob when the image carries it, else a plain tar, which costs no more than writing the files and can be read at random;
// and beside it the directory when a RUN will stand on it.
func (w *workspace) storeEntries(ctx context.Context, ix *index.Index, src layer.Source) (*layerRef, error) {
	comp := compress.Options{Algorithm: compress.None}
	if w.want.blob[w.step] {
		comp = w.want.compression
	}
	blob, err := w.store.NewBlob(ctx)
	if err != nil {
		return nil, err
	}
	defer blob.Abort()
	content := store.LayerContent{Table: owners.NewTable(), Packing: comp}
	var packed layer.Packed
	count := w.v.count("copying files", sizeOf(ix))
	if w.want.dir[w.step] && w.opts.Machine.InNamespace() {
		packed, err = w.packAndExtract(ctx, blob, ix, src, &content, count)
	} else {
		packed, err = layer.Pack(ctx, blob, ix, src, comp, count)
	}
	if err != nil {
		return nil, err
	}
	count.done()
	if content.Blob, err = blob.Commit(comp.MediaType(), packed.Digest); err != nil {
		return nil, err
	}
	content.Index, content.DiffID = packed.Index, packed.DiffID
	l, err := w.addLayer(ctx, content)
	if err != nil {
		return nil, err
	}
	return storedRef(l, w.now()), nil
}

// sizeOf is the sum of the sizes of an index's files.
func sizeOf(ix *index.Index) (bytes int64) {
	for e := range ix.Entries() {
		if e.Type == index.Regular {
			bytes += e.Size
		}
	}
	return bytes
}

// packAndExtract packs a layer and unpacks the same bytes as they pass, so that its files are read once.
func (w *workspace) packAndExtract(
	ctx context.Context, blob io.Writer, ix *index.Index, src layer.Source, c *store.LayerContent, count *counter,
) (layer.Packed, error) {
	tmp, err := w.store.TempDir("copy")
	if err != nil {
		return layer.Packed{}, err
	}
	w.onClose(func() { _ = tmp.Close() })
	dir := filepath.Join(tmp.Path(), "dir")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return layer.Packed{}, err
	}
	var packed layer.Packed
	pr, pw := io.Pipe()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		packed, err = layer.Pack(gctx, blob, ix, src, c.Packing, pw, count)
		pw.CloseWithError(err)
		return err
	})
	g.Go(func() error {
		_, err := layer.Read(gctx, pr, layer.ReadOptions{Dir: dir, Owners: w.opts.Machine.Owners(), Table: c.Table})
		pr.CloseWithError(err)
		if err != nil {
			return fmt.Errorf("write the layer's directory: %w", err)
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return layer.Packed{}, err
	}
	c.Dir = dir
	return packed, nil
}
