package copier

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"path"
	"slices"
	"strconv"

	"github.com/cairnbuild/cairn/oci/index"
	"github.com/opencontainers/go-digest"
)

// Input is one file or directory that a COPY reads.
type Input struct {
	// Name is its path as the source names it.
	Name string
	// Entry are its attributes in the source. The Path is Name, a Hardlink's Link the Name of the same inode's first name.
	// MTime is there, but no part of any digest.
	Entry index.Entry
}

// Inputs are all that is read, in the order in which it is copied: what goes into a cache key, and what --explain compares.
// Where it is copied to, and the flags, are the instruction's part of the key.
func (g *Gathered) Inputs() iter.Seq[Input] {
	return func(yield func(Input) bool) {
		for i := range g.found {
			if !g.found[i].inputs(yield) {
				return
			}
		}
	}
}

func (f *found) inputs(yield func(Input) bool) bool {
	first := map[string]string{}
	for i := range f.files {
		it := f.at(i)
		e := it.Entry
		e.Path, e.Offset, e.Data = path.Join(f.name, it.rel), -1, nil
		if e.Path == "" {
			e.Path = "."
		}
		if it.rel == "" && e.Type == index.Directory {
			e = index.Entry{Path: e.Path, Type: e.Type, Offset: -1} // its contents are copied, not itself
		}
		if it.Inode != "" && e.Type == index.Regular {
			if target, again := first[it.Inode]; again {
				e = index.Entry{Path: e.Path, Type: index.Hardlink, Link: target, Offset: -1}
			} else {
				first[it.Inode] = e.Path
			}
		}
		if !yield(Input{Name: e.Path, Entry: e}) {
			return false
		}
	}
	return true
}

// Digest names this input's content, without its name.
func (in Input) Digest() digest.Digest {
	in.Name = ""
	sum := sha256.Sum256(in.appendTo(make([]byte, 0, 256)))
	return digest.NewDigestFromBytes(digest.SHA256, sum[:])
}

// Detail says what Digest covers, for people: type, mode, owner, and size and content or link target.
func (in Input) Detail() string {
	e := &in.Entry
	buf := fmt.Appendf(make([]byte, 0, 128), "%s %04o %d:%d", e.Type, e.Mode, e.UID, e.GID)
	switch e.Type {
	case index.Regular:
		buf = strconv.AppendInt(append(buf, ' '), e.Size, 10)
		buf = append(append(buf, ' '), e.Digest...)
	case index.Symlink, index.Hardlink:
		buf = append(append(buf, " -> "...), e.Link...)
	case index.CharDevice, index.BlockDevice:
		buf = fmt.Appendf(buf, " %d:%d", e.Major, e.Minor)
	}
	if len(e.Xattrs) > 0 {
		buf = fmt.Appendf(buf, " xattrs %q", slices.Sorted(maps.Keys(e.Xattrs)))
	}
	return string(buf)
}

// appendTo appends what the digests cover.
func (in *Input) appendTo(buf []byte) []byte {
	e := &in.Entry
	str := func(s string) { buf = append(binary.AppendUvarint(buf, uint64(len(s))), s...) }
	num := func(n int64) { buf = binary.AppendVarint(buf, n) }
	str(in.Name)
	num(int64(e.Type))
	num(int64(e.Mode))
	num(int64(e.UID))
	num(int64(e.GID))
	num(e.Size)
	str(e.Link)
	num(int64(e.Major))
	num(int64(e.Minor))
	str(string(e.Digest))
	num(int64(len(e.Xattrs)))
	if len(e.Xattrs) == 0 {
		return buf
	}
	for _, k := range slices.Sorted(maps.Keys(e.Xattrs)) {
		str(k)
		str(e.Xattrs[k])
	}
	return buf
}
