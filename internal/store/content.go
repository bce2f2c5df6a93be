package store

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
)

// OpenTar returns the layer's uncompressed tar from one of its blobs. It gives an error in place of io.EOF when the blob or the
// tar is not what its digest says, so it must be read to the end. The caller closes it. The error is fs.ErrNotExist when there
// is no blob (see ErrNeedsNamespace).
func (l *Layer) OpenTar(ctx context.Context) (io.ReadCloser, error) {
	r, err := l.openTar(ctx)
	if err != nil {
		return nil, err // not a nil *tarReader in an interface
	}
	return r, nil
}

func (l *Layer) openTar(ctx context.Context) (*tarReader, error) {
	blobs := l.Blobs()
	if len(blobs) == 0 {
		return nil, l.noContent()
	}
	best := blobs[0]
	for _, b := range blobs {
		if isRaw(b) {
			best = b
		}
	}
	blob, err := l.s.OpenBlob(ctx, best.Descriptor)
	if err != nil {
		return nil, err
	}
	r := &tarReader{blob: files.Reader(ctx, blob), closer: blob, want: best.DiffID, hash: digest.SHA256.Hash()}
	if r.plain, _, err = compress.NewReader(r.blob); err != nil {
		err = r.blame(err)
		blob.Close()
		return nil, fmt.Errorf("decompress layer %s: %w", l.st.id, err)
	}
	return r, nil
}

// isRaw says whether a blob is an uncompressed tar.
func isRaw(b oci.Layer) bool {
	return b.MediaType == compress.Options{Algorithm: compress.None}.MediaType()
}

// tarReader reads a decompressed blob and compares its diffID, and the blob's digest, at the end.
type tarReader struct {
	blob   io.Reader
	closer io.Closer
	plain  io.ReadCloser
	want   digest.Digest
	hash   hash.Hash
}

// blame returns err, which came up in making sense of the blob, or what is wrong with the blob itself, if it is: then it is
// removed, too.
func (r *tarReader) blame(err error) error {
	if err == nil || isDamaged(err) {
		return err
	}
	if _, deeper := io.Copy(io.Discard, r.blob); isDamaged(deeper) {
		return deeper
	}
	return err
}

func (r *tarReader) Read(p []byte) (int, error) {
	n, err := r.plain.Read(p)
	r.hash.Write(p[:n])
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, io.EOF) {
		return n, r.blame(err)
	}
	// What stands behind the compressed stream belongs to the blob's digest.
	if _, err := io.Copy(io.Discard, r.blob); err != nil {
		return n, err
	}
	if got := digest.NewDigest(digest.SHA256, r.hash); got != r.want && r.want.Algorithm() == digest.SHA256 {
		return n, fmt.Errorf("the layer's tar has the digest %s and not %s", got, r.want)
	}
	return n, io.EOF
}

func (r *tarReader) Close() error { return errors.Join(r.plain.Close(), r.closer.Close()) }

// cheapSource is the content by entry, without decompressing anything; nil when only a compressed blob has it.
func (l *Layer) cheapSource() (layer.Source, error) {
	if dir, ok := l.Dir(l.s.host.form); ok {
		return layer.DirSource(dir), nil
	}
	blobs := l.Blobs()
	for _, b := range blobs {
		if isRaw(b) {
			f, err := l.rawTar(b)
			if err != nil {
				return nil, err
			}
			return l.inheriting(layer.TarSource(f)), nil
		}
	}
	if len(blobs) == 0 {
		return nil, l.noContent()
	}
	return nil, nil
}

// rawTar opens the layer's uncompressed blob for random access; it stays open as long as the layer is in use.
func (l *Layer) rawTar(b oci.Layer) (*os.File, error) {
	l.st.tarMu.Lock()
	defer l.st.tarMu.Unlock()
	if l.st.tar == nil {
		f, err := os.Open(l.s.blobPath(b.Digest))
		if err != nil {
			return nil, err
		}
		l.st.tar = f
	}
	return l.st.tar, nil
}

// Source reads the content of the layer's files, in any order, as long as the layer is not released. What exists only as a
// compressed blob is decompressed once into a temporary file. The error is ErrNeedsNamespace when the content is only in a
// directory that this process cannot read, and fs.ErrNotExist when it is gone.
func (l *Layer) Source(ctx context.Context) (layer.Source, error) {
	src, err := l.cheapSource()
	if src != nil || err != nil {
		return src, err
	}
	l.st.tarMu.Lock()
	defer l.st.tarMu.Unlock()
	if l.st.tar == nil {
		if l.st.tar, err = l.spool(ctx); err != nil {
			return nil, fmt.Errorf("read layer %s: %w", l.st.id, err)
		}
	}
	return l.inheriting(layer.TarSource(l.st.tar)), nil
}

// spool decompresses the layer into a file without a name.
func (l *Layer) spool(ctx context.Context) (*os.File, error) {
	tar, err := l.OpenTar(ctx)
	if err != nil {
		return nil, err
	}
	defer tar.Close()
	dir, err := l.s.scratchDir()
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, "tar-")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name()) // if that fails Close of the Store does it
	if _, err := io.Copy(f, tar); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// repack compresses the layer's tar anew and returns its diffID.
func (l *Layer) repack(ctx context.Context, w io.Writer, o compress.Options) (digest.Digest, error) {
	tar, err := l.OpenTar(ctx)
	if err != nil {
		return "", err
	}
	defer tar.Close()
	cw, err := compress.NewWriter(w, o)
	if err != nil {
		return "", err
	}
	_, err = io.CopyBuffer(cw, tar, make([]byte, 256<<10))
	return l.DiffID(), errors.Join(err, cw.Close())
}

// hashed returns ix with all digests, read from whatever is cheapest.
func (l *Layer) hashed(ctx context.Context, ix *index.Index) (*index.Index, error) {
	src, err := l.cheapSource()
	if src == nil && err == nil && len(l.meta().Inherited) > 0 {
		src, err = l.Source(ctx)
	}
	if err != nil {
		return nil, err
	}
	if src != nil {
		return layer.Hash(ctx, ix, src)
	}
	tar, err := l.openTar(ctx)
	if err != nil {
		return nil, err
	}
	defer tar.Close()
	var wanted []index.Entry
	for e := range ix.Entries() {
		if e.Type == index.Regular && e.Digest == "" {
			wanted = append(wanted, e)
		}
	}
	digests := make(map[string]digest.Digest, len(wanted))
	err = layer.ServeAll(ctx, ix, wanted, tar, func(e index.Entry, r io.Reader) error {
		d, err := digest.SHA256.FromReader(r)
		digests[e.Path] = d
		return err
	})
	if err == nil {
		_, err = io.Copy(io.Discard, tar)
	}
	if err != nil {
		return nil, tar.blame(err)
	}
	return withDigests(ix, digests)
}

// withDigests returns ix with the digests of the files with these paths.
func withDigests(ix *index.Index, digests map[string]digest.Digest) (*index.Index, error) {
	b := index.NewBuilder()
	for e := range ix.Entries() {
		if d := digests[e.Path]; d != "" && e.Type == index.Regular {
			e.Digest = d
		}
		if err := b.Add(e); err != nil {
			return nil, err
		}
	}
	return b.Build()
}
