package index

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"syscall"
)

// The file of an index, little endian: a header, the records, the strings (paths), the extra section.
//
//	 0 magic [8], CRC-32C of all that follows u32, flags u32
//	16 records u32, zero u32, length of the strings u64
//	32 length of the extra section u64
const (
	headerSize = 40
	magic      = "cairnix\x01" // the last byte is the version
)

const (
	fileLoose = 1 << iota
	fileComplete
)

// ErrCorrupt is the cause of every error about an index file that is not as it was written.
var ErrCorrupt = errors.New("corrupt index")

func putHeader(buf []byte, n, strs, extra int) {
	copy(buf, magic)
	le.PutUint32(buf[16:], uint32(n))
	le.PutUint64(buf[24:], uint64(strs))
	le.PutUint64(buf[32:], uint64(extra))
}

func sections(buf []byte) (n, strs, extra int) {
	return int(le.Uint32(buf[16:])), int(le.Uint64(buf[24:])), int(le.Uint64(buf[32:]))
}

func (ix *Index) flags() uint32 { return le.Uint32(ix.buf[12:]) }

// seal sets the flags and the checksum.
func (ix *Index) seal(flags uint32) {
	le.PutUint32(ix.buf[12:], flags)
	le.PutUint32(ix.buf[8:], checksum(ix.buf))
}

func checksum(buf []byte) uint32 { return crc32.Checksum(buf[12:], crc32.MakeTable(crc32.Castagnoli)) }

// inspect checks header and checksum.
func inspect(buf []byte) error {
	if len(buf) < headerSize || string(buf[:len(magic)]) != magic {
		return fmt.Errorf("%w: no index of this version", ErrCorrupt)
	}
	n, strs, extra := uint64(le.Uint32(buf[16:])), le.Uint64(buf[24:]), le.Uint64(buf[32:])
	if strs > math.MaxUint32 || extra > math.MaxUint32 || headerSize+n*recordSize+strs+extra != uint64(len(buf)) {
		return fmt.Errorf("%w: sizes do not add up", ErrCorrupt)
	}
	if le.Uint32(buf[8:]) != checksum(buf) {
		return fmt.Errorf("%w: bad checksum", ErrCorrupt)
	}
	return nil
}

// WriteTo writes the file of the index. Equal indexes give equal bytes.
func (ix *Index) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(ix.buf)
	return int64(n), err
}

// Read reads an index that WriteTo wrote, from a source that need not be trusted: every entry is checked. It reads r to its
// end. A file that is not exactly what WriteTo would write is an error that wraps ErrCorrupt.
func Read(r io.Reader) (*Index, error) {
	buf, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	if err := inspect(buf); err != nil {
		return nil, err
	}
	raw := newIndex(buf)
	b := NewBuilder()
	for e := range raw.Entries() {
		if err := b.Add(e); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
	ix, err := b.Build()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if !bytes.Equal(ix.buf, buf) {
		return nil, fmt.Errorf("%w: not in canonical form", ErrCorrupt)
	}
	return ix, nil
}

// Open maps an index file of our own read-only and checks its checksum. The file must not be written to any more (it is
// replaced by rename). Close unmaps it.
func Open(path string) (*Index, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	if info.Size() < headerSize || info.Size() > math.MaxInt32*int64(recordSize) {
		return nil, fmt.Errorf("open index %s: %w: bad size", path, ErrCorrupt)
	}
	buf, err := syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map index %s: %w", path, err)
	}
	if err := inspect(buf); err != nil {
		return nil, errors.Join(fmt.Errorf("open index %s: %w", path, err), syscall.Munmap(buf))
	}
	ix := newIndex(buf)
	ix.unmap = func() error { return syscall.Munmap(buf) }
	return ix, nil
}

// Close releases the mapping of an opened index, which must not be used any more by anyone; entries taken from it stay valid.
// It does nothing for an index that was built or read.
func (ix *Index) Close() error {
	if ix.unmap == nil {
		return nil
	}
	unmap := ix.unmap
	ix.unmap = nil
	return unmap()
}
