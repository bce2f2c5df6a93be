package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
	"github.com/cairnbuild/cairn/oci/tree"
)

// IngestOptions say what to make of a blob while it is read.
type IngestOptions struct {
	// Extract makes the directory, too. Where this process cannot, it is left for EnsureDir.
	Extract bool
	// Below gives the layers below; it is called only when the tar cannot be understood without them. nil stands for none.
	Below Below
	// DiffID, if not empty, is the digest that the uncompressed tar must have.
	DiffID digest.Digest
}

// Below gives the layers that a layer stands on, base first. It may wait for them.
type Below func(ctx context.Context) ([]*Layer, error)

// On is a Below of layers that are there.
func On(layers ...*Layer) Below {
	return func(context.Context) ([]*Layer, error) { return layers, nil }
}

func (b Below) layers(ctx context.Context) ([]*Layer, error) {
	if b == nil {
		return nil, nil
	}
	return b(ctx)
}

// IngestBlob stores a layer blob that others made: in one pass over r the blob is written, verified against desc,
// decompressed and indexed, and its directory made if asked for. A nil r stands for the blob that is in the store. When the
// store has both blob and layer already, r is not read. The Layer is in use.
func (s *Store) IngestBlob(ctx context.Context, desc Descriptor, r io.Reader, o IngestOptions) (*Layer, error) {
	if err := oci.CheckDescriptor(desc); err != nil {
		return nil, fmt.Errorf("read layer: %w", err)
	}
	l, err := s.known(ctx, desc, o)
	if l == nil && err == nil {
		l, err = s.ingest(ctx, desc, r, o)
	}
	if err != nil {
		return nil, fmt.Errorf("read layer %s: %w", desc.Digest, err)
	}
	return l, nil
}

// known finds the layer of a blob that was read before.
func (s *Store) known(ctx context.Context, desc Descriptor, o IngestOptions) (*Layer, error) {
	if size, err := s.pin(desc.Digest); err != nil || size != desc.Size {
		return nil, nil
	}
	l, ok := s.layerByName(desc.Digest, func(m layerMeta) bool {
		return hasBlob(m, desc.Digest) && (o.DiffID == "" || o.DiffID == m.DiffID)
	})
	if !ok {
		return nil, nil
	}
	if l.meta().Loose {
		defer l.Release()
		return s.inChain(ctx, l, o.Below)
	}
	return l, nil
}

// ingest reads the blob.
func (s *Store) ingest(ctx context.Context, desc Descriptor, r io.Reader, o IngestOptions) (*Layer, error) {
	in := &ingestion{s: s, desc: desc, src: r, want: o.DiffID}
	if o.Extract && s.host.form != "" {
		t, err := s.TempDir("pull")
		if err != nil {
			return nil, err
		}
		defer t.Close()
		in.read.Dir, in.read.Owners = filepath.Join(t.Path(), "dir"), s.ownersMode()
		if in.read.Owners == owners.Record {
			in.read.Table = owners.NewTable()
		}
		if err := os.Mkdir(in.read.Dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := in.run(ctx); err != nil {
		return nil, err
	}
	c := LayerContent{Index: in.index, DiffID: in.diffID, Blob: in.blob, Foreign: true}
	if !in.index.Loose() {
		c.Dir, c.Table = in.read.Dir, in.read.Table
		return s.addLayer(ctx, in.diffID, layerMeta{ContentID: in.diffID}, c)
	}
	raw, err := s.addLayer(ctx, in.diffID, layerMeta{ContentID: in.diffID, Loose: true}, c)
	if err != nil {
		return nil, err
	}
	defer raw.Release()
	return s.inChain(ctx, raw, o.Below)
}

// ingestion is one blob on its way in: three goroutines with pipes between them.
//
//	src -> blob file, sha256 -> | -> decompress, sha256 -> | -> index, directory
type ingestion struct {
	s    *Store
	desc Descriptor
	src  io.Reader
	want digest.Digest // the diffID, if known
	read layer.ReadOptions

	index  *index.Index
	diffID digest.Digest
	blob   Descriptor
}

func (in *ingestion) run(ctx context.Context) error {
	var w *BlobWriter
	if in.src == nil {
		f, err := in.s.OpenBlob(ctx, in.desc)
		if err != nil {
			return err
		}
		defer f.Close()
		in.src = f
	} else {
		var err error
		if w, err = in.s.NewBlob(ctx); err != nil {
			return err
		}
		defer w.Abort()
	}
	if err := in.stream(ctx, w); err != nil {
		return err
	}
	if w == nil {
		return nil
	}
	_, err := w.Commit(in.blob.MediaType, in.desc.Digest)
	return err
}

// stream runs the three goroutines. Of their errors it returns that of the first in the line: the others follow from it.
func (in *ingestion) stream(ctx context.Context, w *BlobWriter) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	packed, plain := newPipe(), newPipe()
	var errs [3]error
	var group sync.WaitGroup
	group.Go(func() {
		errs[0] = packed.end(in.store(ctx, packed, w))
	})
	group.Go(func() {
		defer packed.stop()
		errs[1] = plain.end(in.decompress(packed, plain))
	})
	group.Go(func() {
		defer plain.stop()
		if errs[2] = in.parse(ctx, plain); errs[2] != nil {
			cancel()
		}
	})
	group.Wait()
	if errs[2] != nil && errors.Is(errs[0], context.Canceled) {
		return errs[2] // it was this that cancelled, or the same did both
	}
	return cmp.Or(errs[0], errs[1], errs[2])
}

// mediaType is the OCI media type of a layer with that compression; what OCI does not know keeps the type it came with.
func (in *ingestion) mediaType(a compress.Algorithm) string {
	switch a {
	case compress.None, compress.Gzip, compress.Zstd:
		return compress.Options{Algorithm: a}.MediaType()
	}
	return in.desc.MediaType
}

// store reads the blob, writes it to its file and passes it on.
func (in *ingestion) store(ctx context.Context, next io.Writer, w *BlobWriter) error {
	out := next
	if w != nil {
		out = io.MultiWriter(w, next)
	}
	// One byte more than there should be is enough to know that there is too much.
	n, err := io.CopyBuffer(out, io.LimitReader(files.Reader(ctx, in.src), in.desc.Size+1), make([]byte, pipeBlock))
	if err == nil && n != in.desc.Size {
		err = &oci.MismatchError{Want: in.desc, Size: n}
	}
	return err
}

// decompress passes on the tar, and computes its digest.
func (in *ingestion) decompress(r io.Reader, next io.Writer) error {
	plain, algorithm, err := compress.NewReader(r)
	if err != nil {
		return err
	}
	defer plain.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(io.MultiWriter(h, next), onlyReader{plain}, make([]byte, pipeBlock)); err != nil {
		return err
	}
	in.diffID = digest.NewDigest(digest.SHA256, h)
	if in.want != "" && in.want != in.diffID {
		return fmt.Errorf("its tar has the digest %s and not %s", in.diffID, in.want)
	}
	in.blob = Descriptor{MediaType: in.mediaType(algorithm), Digest: in.desc.Digest, Size: in.desc.Size}
	_, err = io.Copy(io.Discard, r) // what stands behind the compressed stream belongs to the blob, too
	return err
}

// onlyReader hides WriteTo, which would write in blocks of its own size.
type onlyReader struct{ io.Reader }

// parse makes the index and the directory.
func (in *ingestion) parse(ctx context.Context, r io.Reader) error {
	ix, err := layer.Read(ctx, r, in.read)
	if err != nil && !errors.Is(err, layer.ErrLoose) {
		return err
	}
	in.index = ix
	_, err = io.Copy(io.Discard, r)
	return err
}

// FindLayer finds the layer whose uncompressed tar has this digest, standing on the layers below, base first. Those matter only
// if the tar cannot be understood without them. The error is fs.ErrNotExist when it is not there. The caller releases it.
func (s *Store) FindLayer(ctx context.Context, diffID digest.Digest, below []*Layer) (*Layer, error) {
	return s.findLayer(ctx, diffID, On(below...))
}

func (s *Store) findLayer(ctx context.Context, diffID digest.Digest, below Below) (*Layer, error) {
	l, ok := s.layerByName(diffID, func(m layerMeta) bool { return m.DiffID == diffID })
	if !ok {
		return nil, fmt.Errorf("find layer %s: %w", diffID, os.ErrNotExist)
	}
	if !l.meta().Loose {
		return l, nil
	}
	defer l.Release()
	n, err := s.inChain(ctx, l, below)
	if err != nil {
		return nil, fmt.Errorf("find layer %s: %w", diffID, err)
	}
	return n, nil
}

// chainID is the id of a layer that depends on the layers below.
func chainID(diffID digest.Digest, below []string) digest.Digest {
	return digest.FromString("cairn layer in a chain v1\n" + diffID.String() + "\n" + strings.Join(below, "\n"))
}

// inChain returns the strict layer that a loose one is on the layers below.
func (s *Store) inChain(ctx context.Context, raw *Layer, on Below) (*Layer, error) {
	below, err := on.layers(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(below))
	for i, b := range below {
		ids[i] = b.ID()
	}
	m := raw.meta()
	id := chainID(m.DiffID, ids)
	if l, err := s.Layer(id.Encoded()); err == nil {
		if _, err := l.Index(); err == nil && len(l.Blobs()) > 0 {
			return l, nil
		}
		l.Release()
	}
	indexes := make([]*index.Index, len(below))
	for i, b := range below {
		var err error
		if indexes[i], err = b.Index(); err != nil {
			return nil, err
		}
	}
	loose, err := raw.Index()
	if err != nil {
		return nil, err
	}
	under := tree.New(indexes...)
	strict, err := tree.Normalise(ctx, loose, under)
	if err != nil {
		return nil, err
	}
	from, err := inheritance(ctx, loose, strict, below, under)
	if err != nil {
		return nil, err
	}
	blobs := raw.Blobs()
	if len(blobs) == 0 {
		return nil, raw.noContent()
	}
	return s.addLayer(ctx, id, layerMeta{ContentID: id, Chain: true, Inherited: from}, LayerContent{
		Index: strict, DiffID: m.DiffID, Blob: blobs[0].Descriptor, Foreign: true,
	})
}
