// Package compress packs and unpacks layer streams: gzip and zstd in both directions, xz and bzip2 for reading. What a stream
// is compressed with is found in its first bytes, never from a name or a media type. Output depends on the content and the
// Options alone, not on the number of processors nor on how the writes are cut.
package compress

import (
	"fmt"
	"strconv"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Algorithm is a compression, by the name that users write.
type Algorithm string

// The algorithms. Xz and Bzip2 can only be read.
const (
	None  Algorithm = "uncompressed"
	Gzip  Algorithm = "gzip"
	Zstd  Algorithm = "zstd"
	Xz    Algorithm = "xz"
	Bzip2 Algorithm = "bzip2"
)

// Levels of the two compressors: what 0 stands for, and the largest that may be asked for.
const (
	gzipDefault = 6
	gzipMax     = 9
	zstdDefault = 3
	zstdMax     = 22
)

// generation counts the changes of output for equal content and Options: a new version of a compressor that gives other bytes
// raises it. The golden test tells when.
const generation = "1"

// Options says how to compress. The zero value is gzip at its default level.
type Options struct {
	// Algorithm is None, Gzip or Zstd; empty is Gzip.
	Algorithm Algorithm
	// Level is 1 to 9 for gzip and 1 to 22 for zstd, larger is smaller and slower; 0 is the default (6 and 3). None has no level.
	Level int
}

// ParseOptions reads an algorithm and a level as the command line has them; either may be empty for the default.
func ParseOptions(algorithm, level string) (Options, error) {
	o := Options{Algorithm: Algorithm(algorithm)}
	switch o.Algorithm {
	case None, Gzip, Zstd:
	case "":
		o.Algorithm = Gzip
	default:
		return Options{}, fmt.Errorf("compression %q: must be gzip, zstd or uncompressed", algorithm)
	}
	if level == "" {
		return o, nil
	}
	n, err := strconv.Atoi(level)
	if err != nil {
		return Options{}, fmt.Errorf("compression level %q: must be a number", level)
	}
	o.Level = n
	return o, o.check()
}

// fill puts defaults in the place of zero values.
func (o Options) fill() Options {
	if o.Algorithm == "" {
		o.Algorithm = Gzip
	}
	if o.Level == 0 {
		switch o.Algorithm {
		case Gzip:
			o.Level = gzipDefault
		case Zstd:
			o.Level = zstdDefault
		}
	}
	return o
}

func (o Options) check() error {
	top := 0
	switch o.fill().Algorithm {
	case None:
	case Gzip:
		top = gzipMax
	case Zstd:
		top = zstdMax
	default:
		return fmt.Errorf("compression %q can only be read", o.Algorithm)
	}
	if o.Level < 0 || o.Level > top {
		return fmt.Errorf("compression level %d: %s has levels 0 to %d", o.Level, o.fill().Algorithm, top)
	}
	return nil
}

// MediaType is the OCI media type of a layer packed with o.
func (o Options) MediaType() string {
	switch o.fill().Algorithm {
	case None:
		return ispec.MediaTypeImageLayer
	case Zstd:
		return ispec.MediaTypeImageLayerZstd
	}
	return ispec.MediaTypeImageLayerGzip
}

// String names algorithm, level and the generation of the compressor: "gzip-6.1". Equal strings mean that equal content gives
// equal bytes, so it can be part of a key.
func (o Options) String() string {
	o = o.fill()
	if o.Algorithm == None {
		return string(None)
	}
	return fmt.Sprintf("%s-%d.%s", o.Algorithm, o.Level, generation)
}
