package layer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/oci/index"
)

// Packed is what is known of a blob that Pack wrote.
type Packed struct {
	Index   *index.Index  // with all Digests and Offsets
	DiffID  digest.Digest // of the tar
	Digest  digest.Digest // of the blob
	Size    int64         // of the blob, in bytes
	TarSize int64         // of the tar, in bytes
}

// Pack writes the layer's blob to w: tar, diffID, compression and digest in one pass, each in a goroutine of its own. The
// uncompressed tar also goes to every writer in tars. When it returns, with an error or not, nothing writes any more. Errors
// are those of WriteTar, of compression and of the writers.
func Pack(ctx context.Context, w io.Writer, ix *index.Index, src Source, o compress.Options, tars ...io.Writer) (p Packed, err error) {
	blob, err := newBlobSide(w, o)
	if err != nil {
		return p, fmt.Errorf("compress layer: %w", err)
	}
	diff, size := sha256.New(), &countingWriter{w: io.Discard}
	tarball := newStage(io.MultiWriter(append([]io.Writer{diff, size, blob.in}, tars...)...))
	p.Index, err = WriteTar(ctx, tarball, ix, src)
	err = firstError(err, tarball.Close())
	if err = firstError(err, blob.close()); err != nil {
		return Packed{}, fmt.Errorf("pack layer: %w", err)
	}
	p.DiffID, p.TarSize = sum(diff), size.n
	p.Digest, p.Size = p.DiffID, p.TarSize
	if blob.hash != nil {
		p.Digest, p.Size = sum(blob.hash), blob.size.n
	}
	return p, nil
}

func sum(h hash.Hash) digest.Digest { return digest.NewDigest(digest.SHA256, h) }

// blobSide is what a tar goes through after its diffID: compression, then digest and writer in a goroutine of their own. An
// uncompressed blob is the tar, and needs neither.
type blobSide struct {
	in   io.Writer
	comp io.WriteCloser
	out  *stage
	hash hash.Hash
	size *countingWriter
}

func newBlobSide(w io.Writer, o compress.Options) (*blobSide, error) {
	if o.Algorithm == compress.None {
		return &blobSide{in: w}, nil
	}
	b := &blobSide{hash: sha256.New(), size: &countingWriter{w: io.Discard}}
	b.out = newStage(io.MultiWriter(b.hash, b.size, w))
	var err error
	if b.comp, err = compress.NewWriter(b.out, o); err != nil {
		return nil, firstError(err, b.out.Close())
	}
	b.in = b.comp
	return b, nil
}

func (b *blobSide) close() error {
	if b.comp == nil {
		return nil
	}
	err := b.comp.Close()
	return firstError(err, b.out.Close())
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// stage is a writer that hands what it gets to another in a goroutine of its own, in chunks.
type stage struct {
	chunk  []byte
	full   chan []byte
	empty  chan []byte
	done   chan struct{}
	failed error // the consumer's; to be read after done or failure
	broken chan struct{}
}

// stageDepth is how many chunks of bufferSize a stage may be behind.
const stageDepth = 4

func newStage(w io.Writer) *stage {
	s := &stage{full: make(chan []byte, stageDepth), empty: make(chan []byte, stageDepth), done: make(chan struct{}), broken: make(chan struct{})}
	for range stageDepth {
		s.empty <- nil // they grow as they are written to: most layers are a few headers
	}
	s.chunk = <-s.empty
	go s.run(w)
	return s
}

func (s *stage) run(w io.Writer) {
	defer close(s.done)
	for chunk := range s.full {
		if s.failed == nil {
			if _, err := w.Write(chunk); err != nil {
				s.failed = err
				close(s.broken)
			}
		}
		s.empty <- chunk[:0] // there are no more chunks than it holds
	}
}

// Write keeps no reference to p. It returns the error of an earlier chunk.
func (s *stage) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		room := min(bufferSize-len(s.chunk), len(p))
		s.chunk = append(s.chunk, p[:room]...)
		p = p[room:]
		if len(s.chunk) == bufferSize {
			s.full <- s.chunk
			s.chunk = <-s.empty
		}
	}
	select {
	case <-s.broken:
		return 0, s.failed
	default:
		return n, nil
	}
}

// Close passes on the rest and waits for the consumer, whose error it returns.
func (s *stage) Close() error {
	if len(s.chunk) > 0 {
		s.full <- s.chunk
	}
	close(s.full)
	<-s.done
	return s.failed
}
