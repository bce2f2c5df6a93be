package compress

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// DetectLen is how many first bytes Detect needs to see.
const DetectLen = 10

// maxWindow is the most memory in bytes that a stream may make the decompressor keep: that of zstd --ultra -22 and twice that
// of xz -9. A stream made with a larger window is refused.
const maxWindow = 128 << 20

// readBuffer is how much is read from the compressed stream at once.
const readBuffer = 256 << 10

// ErrWindow says that a stream needs more memory to unpack than is allowed.
var ErrWindow = fmt.Errorf("compressed with a window larger than %d MiB", maxWindow>>20)

// Detect tells the compression from the first bytes of a stream, of which DetectLen are enough. None means that it is none of
// the others.
func Detect(prefix []byte) Algorithm {
	has := func(magic string) bool { return bytes.HasPrefix(prefix, []byte(magic)) }
	switch {
	case has("\x1f\x8b\x08"):
		return Gzip
	case has("\x28\xb5\x2f\xfd"):
		return Zstd
	case len(prefix) >= 4 && prefix[0]&0xf0 == 0x50 && string(prefix[1:4]) == "\x2a\x4d\x18": // a skippable frame first
		return Zstd
	case has("\xfd7zXZ\x00"):
		return Xz
	case len(prefix) >= 10 && has("BZh") && prefix[3] >= '1' && prefix[3] <= '9' &&
		(string(prefix[4:10]) == "1AY&SY" || string(prefix[4:10]) == "\x17\x72\x45\x38\x50\x90"): // a block, or the end
		return Bzip2
	}
	return None
}

// NewReader returns the unpacked content of r, whatever it is packed with, and says which that is. Streams of several gzip
// members or zstd frames are read to the end. Truncated and damaged streams are errors when reading gets there. Memory is
// bounded by the window limit, except that of an xz stream only the first block is known beforehand; how much comes out is not
// bounded: a caller that does not trust r counts. Close releases memory and does not close r.
func NewReader(r io.Reader) (io.ReadCloser, Algorithm, error) {
	b := bufio.NewReaderSize(r, readBuffer)
	prefix, err := b.Peek(DetectLen)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, "", fmt.Errorf("read first bytes: %w", err)
	}
	alg := Detect(prefix)
	rc, err := open(b, alg)
	if err != nil {
		return nil, "", fmt.Errorf("open %s stream: %w", alg, err)
	}
	return rc, alg, nil
}

func open(b *bufio.Reader, alg Algorithm) (io.ReadCloser, error) {
	switch alg {
	case Gzip:
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(z), nil // its Close only says again what Read said
	case Zstd:
		// One goroutine costs less processor time and no more wall time than two.
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return zstdReader{z}, nil
	case Xz:
		if err := checkXz(b); err != nil {
			return nil, err
		}
		x, err := xz.NewReader(b)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(x), nil
	case Bzip2:
		return io.NopCloser(bzip2.NewReader(b)), nil
	}
	return io.NopCloser(b), nil
}

type zstdReader struct{ *zstd.Decoder }

func (z zstdReader) Read(p []byte) (int, error) {
	n, err := z.Decoder.Read(p)
	if errors.Is(err, zstd.ErrWindowSizeExceeded) {
		err = ErrWindow
	}
	return n, err
}

func (z zstdReader) Close() error {
	z.Decoder.Close()
	return nil
}

// checkXz looks for the size of the dictionary in the header of the first block (xz file format 1.2.1, 3.1 and 5.3.1), as the
// library allocates what is asked for, up to 4 GiB.
func checkXz(b *bufio.Reader) error {
	const streamHeader = 12
	head, err := b.Peek(streamHeader + 2)
	if err != nil || head[streamHeader] == 0 { // cut short, or no block: the library's to say
		return nil //nolint:nilerr // as above
	}
	head, err = b.Peek(streamHeader + (int(head[streamHeader])+1)*4)
	if err != nil {
		return nil //nolint:nilerr // as above
	}
	flags, rest := head[streamHeader+1], head[streamHeader+2:]
	for _, bit := range []byte{0x40, 0x80} { // compressed and uncompressed size, when there
		if flags&bit != 0 {
			for len(rest) > 0 && rest[0]&0x80 != 0 {
				rest = rest[1:]
			}
			rest = rest[min(1, len(rest)):]
		}
	}
	if len(rest) < 3 || rest[0] != 0x21 || rest[1] != 1 { // not LZMA2 alone: the library refuses it
		return nil
	}
	bits := rest[2]
	size := uint64(2|bits&1) << (bits/2 + 11)
	if bits >= 40 || size > maxWindow {
		return ErrWindow
	}
	return nil
}
