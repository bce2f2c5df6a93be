package index

import (
	"fmt"
	"iter"
	"sort"
	"strings"
	"sync"
	"unsafe"

	"github.com/opencontainers/go-digest"
)

// Index is the sorted list of a layer's entries. It is immutable and may be used from several goroutines. It keeps the
// entries in the encoded form of its file, mapped or in memory, and decodes one when asked for it.
type Index struct {
	buf   []byte
	n     int
	recs  []byte
	strs  []byte
	extra []byte
	unmap func() error
	ids   sync.Once
	id    digest.Digest
	cid   digest.Digest
}

func newIndex(buf []byte) *Index {
	n, strs, extra := sections(buf)
	ix := &Index{buf: buf, n: n}
	ix.recs = buf[headerSize : headerSize+n*recordSize]
	ix.strs = buf[len(buf)-extra-strs : len(buf)-extra]
	ix.extra = buf[len(buf)-extra:]
	return ix
}

// Len returns the number of entries.
func (ix *Index) Len() int { return ix.n }

// At returns entry i, 0 <= i < Len(). Its Xattrs and Data are the caller's.
func (ix *Index) At(i int) Entry { return decode(ix.rec(i), ix.path(i), ix.extra) }

// PathAt returns At(i).Path without decoding the rest.
func (ix *Index) PathAt(i int) string { return string(ix.path(i)) }

// TypeAt returns At(i).Type without decoding the rest.
func (ix *Index) TypeAt(i int) Type { return Type(ix.rec(i)[6]) }

// OpaqueAt returns At(i).Opaque without decoding the rest.
func (ix *Index) OpaqueAt(i int) bool { return ix.rec(i)[7]&flagOpaque != 0 }

func (ix *Index) rec(i int) []byte { return ix.recs[i*recordSize : (i+1)*recordSize] }

func (ix *Index) path(i int) []byte { return pathOf(ix.rec(i), ix.strs) }

// pathOf returns the path of a record, empty when it points out of strs.
func pathOf(rec, strs []byte) []byte {
	at, n := uint64(le.Uint32(rec)), uint64(le.Uint16(rec[4:]))
	if at+n > uint64(len(strs)) {
		return nil
	}
	return strs[at : at+n : at+n]
}

// view lends b as a string for a comparison, without a copy.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Find returns the position of path, or where it would stand.
func (ix *Index) Find(path string) (i int, ok bool) { return ix.FindIn(path, 0, ix.n) }

// FindIn is Find among the entries from..to-1.
func (ix *Index) FindIn(path string, from, to int) (i int, ok bool) {
	i = from + sort.Search(to-from, func(i int) bool { return Compare(view(ix.path(from+i)), path) >= 0 })
	return i, i < to && view(ix.path(i)) == path
}

// Range returns the positions from..to-1 of all entries below dir, at any depth, without dir itself.
func (ix *Index) Range(dir string) (from, to int) {
	from, ok := ix.Find(dir)
	if ok {
		from++
	}
	return from, ix.end(dir, from, ix.n)
}

// SubtreeEnd returns the position after the last entry below entry i, looking no further than to.
func (ix *Index) SubtreeEnd(i, to int) int { return ix.end(view(ix.path(i)), i+1, to) }

// end finds the first position from..to that is not below dir, galloping because most subtrees are small.
func (ix *Index) end(dir string, from, to int) int {
	if dir == "." {
		return to
	}
	step := 1
	lo, hi := from, from
	for hi < to && below(view(ix.path(hi)), dir) {
		lo = hi + 1
		hi = from + step
		step *= 2
	}
	hi = min(hi, to)
	return lo + sort.Search(hi-lo, func(i int) bool { return !below(view(ix.path(lo+i)), dir) })
}

func below(path, dir string) bool {
	return len(path) > len(dir) && path[len(dir)] == '/' && strings.HasPrefix(path, dir)
}

// Entries yields all entries in order.
func (ix *Index) Entries() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for i := range ix.n {
			if !yield(ix.At(i)) {
				return
			}
		}
	}
}

// Children yields the entries directly in dir, in order. Subtrees are skipped, not read.
func (ix *Index) Children(dir string) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		from, to := ix.Range(dir)
		for i := from; i < to; {
			next := ix.SubtreeEnd(i, to)
			if e := ix.At(i); Parent(e.Path) == dir && !yield(e) {
				return
			}
			i = next
		}
	}
}

// Loose says that what the index means depends on the layers below: a parent is Implied or missing, a Hardlink's inode is not
// in this layer, or the root is opaque. Only layers made by others are; tree.Normalise makes them strict.
func (ix *Index) Loose() bool { return ix.flags()&fileLoose != 0 }

// Complete says that every Regular has its Digest.
func (ix *Index) Complete() bool { return ix.flags()&fileComplete != 0 }

// examine checks how the entries fit together and returns the flags of the file.
func (ix *Index) examine() (flags uint32, err error) {
	flags = fileComplete
	var dirs []string // the path from the root to the current entry
	for i := range ix.n {
		path, typ := view(ix.path(i)), ix.TypeAt(i)
		for len(dirs) > 0 && !below(path, dirs[len(dirs)-1]) {
			dirs = dirs[:len(dirs)-1]
		}
		parent := Parent(path)
		if len(dirs) > 0 && dirs[len(dirs)-1] != parent || len(dirs) == 0 && parent != "." {
			flags |= fileLoose
		}
		switch typ {
		case Directory:
			if path != "." {
				dirs = append(dirs, path)
			} else if ix.OpaqueAt(i) {
				flags |= fileLoose
			}
			continue
		case Implied:
			flags |= fileLoose
			if path != "." {
				dirs = append(dirs, path)
			}
			continue
		case Regular:
			if ix.rec(i)[7]&flagSHA256 == 0 && ix.At(i).Digest == "" {
				flags &^= fileComplete
			}
		case Hardlink:
			if _, ok := ix.Find(ix.At(i).Link); !ok {
				flags |= fileLoose
			}
		}
		if i+1 < ix.n && below(view(ix.path(i+1)), path) {
			return 0, fmt.Errorf("%q is below %q, which is no directory", ix.path(i+1), path)
		}
	}
	return flags, nil
}

// CompareAt orders entry i against entry j of another index, without decoding either.
func (ix *Index) CompareAt(i int, other *Index, j int) int {
	return Compare(view(ix.path(i)), view(other.path(j)))
}
