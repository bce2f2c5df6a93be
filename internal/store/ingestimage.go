package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/sync/errgroup"

	"github.com/cairnbuild/cairn/oci"
)

// ingestStreams is how many layers of one image are read at once.
const ingestStreams = 4

// IngestImageOptions for IngestImage.
type IngestImageOptions struct {
	// Extract makes the layers' directories as well, as far as this process can.
	Extract bool
	// OnRead, when set, hears of the bytes of a layer blob that were read so far; done is true once, at the end. It is called from
	// several goroutines.
	OnRead func(l oci.Layer, n int64, done bool)
}

// IngestImage brings all layers of an image into the store, several at a time, each blob read once: from the store where it has it,
// else from src. The layers are in use, base first; the caller releases them. After an error none is.
func (s *Store) IngestImage(ctx context.Context, img oci.Image, src oci.BlobSource, o IngestImageOptions) ([]*Layer, error) {
	layers := make([]*Layer, len(img.Layers))
	ready := make([]chan struct{}, len(img.Layers))
	for i := range ready {
		ready[i] = make(chan struct{})
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(ingestStreams)
	for i, d := range img.Layers {
		// Only a tar that cannot be understood alone waits for the layers below it; they were started before it.
		below := func(ctx context.Context) ([]*Layer, error) {
			for _, c := range ready[:i] {
				select {
				case <-c:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			return layers[:i], nil
		}
		g.Go(func() (err error) {
			if layers[i], err = s.ingestOne(gctx, d, src, below, o); err != nil {
				return err
			}
			close(ready[i])
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		for _, l := range layers {
			if l != nil {
				l.Release()
			}
		}
		return nil, err
	}
	return layers, nil
}

func (s *Store) ingestOne(ctx context.Context, d oci.Layer, src oci.BlobSource, below Below, o IngestImageOptions) (*Layer, error) {
	io := IngestOptions{Extract: o.Extract, Below: below, DiffID: d.DiffID}
	if s.HasBlob(d.Digest) {
		l, err := s.findLayer(ctx, d.DiffID, below)
		if errors.Is(err, fs.ErrNotExist) {
			l, err = s.IngestBlob(ctx, d.Descriptor, nil, io)
		}
		if err == nil || !errors.Is(err, fs.ErrNotExist) || src == oci.BlobSource(s) {
			return l, err
		}
	}
	r, err := src.OpenBlob(ctx, d.Descriptor)
	if err != nil {
		return nil, fmt.Errorf("fetch layer %s: %w", d.Digest, err)
	}
	defer r.Close()
	read := &reportingReader{r: r, report: func(n int64, done bool) {
		if o.OnRead != nil {
			o.OnRead(d, n, done)
		}
	}}
	defer func() { read.report(read.n, true) }()
	return s.IngestBlob(ctx, d.Descriptor, read, io)
}

// reportingReader reports what passes.
type reportingReader struct {
	r      io.Reader
	n      int64
	report func(n int64, done bool)
}

func (r *reportingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n += int64(n)
	r.report(r.n, false)
	return n, err
}
