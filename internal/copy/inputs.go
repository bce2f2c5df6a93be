package copy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
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

// Manifest is all that a COPY reads, in the order in which it is copied: what goes into its cache key, and what --explain
// compares. Where it is copied to, and the flags, are the instruction's part of the key.
type Manifest []Input

// Inputs lists what r reads, with the digests of all contents. An archive that will be unpacked is one file. It looks at no
// destination, and Apply with the same sources sees the same files.
func Inputs(ctx context.Context, r Request) (Manifest, error) {
	var all Manifest
	for _, it := range r.Sources {
		matches, err := matchesOf(ctx, &r, it)
		if err != nil {
			return nil, err
		}
		for _, m := range matches {
			g, err := gather(ctx, m)
			if err != nil {
				return nil, err
			}
			if list := inputs(m, g); all == nil {
				all = list
			} else {
				all = append(all, list...)
			}
		}
	}
	return all, nil
}

func inputs(m match, g *gathered) Manifest {
	list := make(Manifest, len(g.files))
	first := map[string]string{}
	for i := range g.files {
		it := g.at(i)
		e := it.Entry
		e.Path, e.Offset, e.Data = path.Join(m.name, it.rel), -1, nil
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
		list[i] = Input{Name: e.Path, Entry: e}
	}
	return list
}

// Digest names the manifest's content: names, types, modes, owners, links, devices, extended attributes and contents, never
// times.
func (m Manifest) Digest() digest.Digest {
	h := sha256.New()
	var buf []byte
	for i := range m {
		buf = m[i].appendTo(buf[:0])
		h.Write(buf)
	}
	return digest.NewDigest(digest.SHA256, h)
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
