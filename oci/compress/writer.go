package compress

import (
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
)

// gzipBlock is how much content each gzip block has. It decides the bytes that come out, so it never changes.
const gzipBlock = 1 << 20

// NewWriter returns a writer that compresses to w. It has to be closed for the stream to be complete; w is not closed. Gzip
// and zstd use several processors; memory is a few MiB for each.
func NewWriter(w io.Writer, o Options) (io.WriteCloser, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	o = o.fill()
	switch o.Algorithm {
	case None:
		return nopCloser{w}, nil
	case Zstd:
		z, err := zstd.NewWriter(w,
			zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(o.Level)),
			zstd.WithZeroFrames(true)) // no content is still a frame, not an empty file
		if err != nil {
			return nil, fmt.Errorf("start zstd: %w", err)
		}
		return z, nil
	}
	z, err := pgzip.NewWriterLevel(w, o.Level)
	if err != nil {
		return nil, fmt.Errorf("start gzip: %w", err)
	}
	if err := z.SetConcurrency(gzipBlock, max(2, runtime.GOMAXPROCS(0))); err != nil {
		return nil, fmt.Errorf("start gzip: %w", err)
	}
	return z, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
