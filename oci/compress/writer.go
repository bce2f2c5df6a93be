package compress

import (
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/gzip"
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
	return &gzipWriter{w: w, level: o.Level}, nil
}

// gzipSmall is the content up to which a stream is compressed in one go, by one goroutine and without the megabytes of blocks that
// several need: most layers of a build are a few headers. The bytes that come out are the same either way.
const gzipSmall = 64 << 10

// gzipWriter holds content back until it is clear that there is more than a little of it.
type gzipWriter struct {
	w     io.Writer
	level int
	held  []byte
	large *pgzip.Writer // nil while all content is held
}

func (g *gzipWriter) Write(p []byte) (int, error) {
	if g.large == nil {
		if len(g.held)+len(p) <= gzipSmall {
			g.held = append(g.held, p...)
			return len(p), nil
		}
		if err := g.grow(); err != nil {
			return 0, err
		}
	}
	return g.large.Write(p)
}

// grow goes on with several goroutines.
func (g *gzipWriter) grow() error {
	z, err := pgzip.NewWriterLevel(g.w, g.level)
	if err != nil {
		return fmt.Errorf("start gzip: %w", err)
	}
	if err := z.SetConcurrency(gzipBlock, max(2, runtime.GOMAXPROCS(0))); err != nil {
		return fmt.Errorf("start gzip: %w", err)
	}
	g.large = z
	_, err = z.Write(g.held)
	g.held = nil
	return err
}

func (g *gzipWriter) Close() error {
	if g.large != nil {
		return g.large.Close()
	}
	z, err := gzip.NewWriterLevel(g.w, g.level)
	if err != nil {
		return fmt.Errorf("start gzip: %w", err)
	}
	if _, err := z.Write(g.held); err != nil {
		return err
	}
	if err := z.Flush(); err != nil { // as at the end of a block
		return err
	}
	return z.Close()
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
