package index

import (
	"bytes"
	"fmt"
	"math"
	"sort"
)

// Builder collects the entries of a layer in any order. It keeps them encoded, so that a million of them cost little more
// than the finished index. Not for concurrent use.
type Builder struct {
	recs  []byte
	strs  []byte
	extra []byte
	known map[string]uint32 // extra bytes -> where they are: many files have the same xattrs
	links []int             // the Hardlinks, by position of Add
	buf   []byte
}

// NewBuilder returns an empty Builder.
func NewBuilder() *Builder {
	return &Builder{extra: []byte{0}, known: make(map[string]uint32)}
}

// Len returns how many entries were added.
func (b *Builder) Len() int { return len(b.recs) / recordSize }

// Add adds an entry in its normal form: whole seconds, mode 0777 for a Symlink, nothing but the path (and Link or Opaque) for
// a Hardlink, Whiteout or Implied. The error names the path; a *NameError is one that no layer can have. That a path occurs
// twice is found by Build.
func (b *Builder) Add(e Entry) error {
	e, err := normal(e)
	if err != nil {
		return err
	}
	if len(b.strs)+len(e.Path) > math.MaxUint32 || len(b.extra) > math.MaxUint32-maxExtra {
		return fmt.Errorf("%q: too many entries for one layer", e.Path)
	}
	b.buf = appendExtra(b.buf[:0], e)
	if len(b.buf) > maxExtra {
		return fmt.Errorf("%q: more than %d bytes of extended attributes", e.Path, maxExtra)
	}
	if e.Type == Hardlink {
		b.links = append(b.links, b.Len())
	}
	b.recs = appendRecord(b.recs, e, uint32(len(b.strs)), b.place(b.buf))
	b.strs = append(b.strs, e.Path...)
	return nil
}

const maxExtra = 16 << 20

// place returns the offset of these bytes in the extra section, adding them when they are new.
func (b *Builder) place(extra []byte) uint32 {
	if len(extra) == 0 {
		return 0
	}
	if at, ok := b.known[string(extra)]; ok {
		return at
	}
	at := uint32(len(b.extra))
	b.known[string(extra)] = at
	b.extra = append(b.extra, extra...)
	return at
}

func (b *Builder) rec(i int) []byte { return b.recs[i*recordSize : (i+1)*recordSize] }

func (b *Builder) path(i int) []byte { return pathOf(b.rec(i), b.strs) }

func (b *Builder) entry(i int) Entry { return decode(b.rec(i), b.path(i), b.extra) }

// Build sorts what was added and returns the Index, in which the first name of every inode is the file and the others are
// Hardlinks to it. A path that was added twice, an entry below something that is no directory, or a hard link to a directory
// or in a circle is an error. The Builder must not be used any more.
func (b *Builder) Build() (*Index, error) {
	order := b.sorted()
	for i := 1; i < len(order); i++ {
		if bytes.Equal(b.path(order[i-1]), b.path(order[i])) {
			return nil, fmt.Errorf("%q occurs twice", b.path(order[i]))
		}
	}
	if len(b.links) > 0 {
		if err := b.settleLinks(order); err != nil {
			return nil, err
		}
	}
	ix := newIndex(b.layOut(order))
	flags, err := ix.examine()
	if err != nil {
		return nil, err
	}
	ix.seal(flags)
	return ix, nil
}

func (b *Builder) sorted() []int {
	order := make([]int, b.Len())
	for i := range order {
		order[i] = i
	}
	less := func(i, j int) bool { return Compare(view(b.path(order[i])), view(b.path(order[j]))) < 0 }
	if !sort.SliceIsSorted(order, less) {
		sort.SliceStable(order, less)
	}
	return order
}

// settleLinks makes the first name of every inode its file.
func (b *Builder) settleLinks(order []int) error {
	find := func(path string) (int, bool) {
		i := sort.Search(len(order), func(i int) bool { return Compare(view(b.path(order[i])), path) >= 0 })
		return i, i < len(order) && string(b.path(order[i])) == path
	}
	rank := make(map[int]int, len(b.links)) // position of Add -> of order
	for r, i := range order {
		if Type(b.rec(i)[6]) == Hardlink {
			rank[i] = r
		}
	}
	names := make(map[int][]int) // inode's place in order -> places of its Hardlinks
	for _, i := range b.links {
		r, found, err := b.inode(b.entry(i), find, order)
		if err != nil {
			return err
		}
		if found {
			names[r] = append(names[r], rank[i])
		}
	}
	for inode, links := range names {
		if err := b.promote(order, inode, links); err != nil {
			return err
		}
	}
	return nil
}

// maxHops is how many Hardlinks may lead to one another before a file comes. Without it a chain of a million takes a million
// steps for each of them.
const maxHops = 40

// inode follows a Hardlink to the entry that is none; found is false when the layer does not have it.
func (b *Builder) inode(link Entry, find func(string) (int, bool), order []int) (r int, found bool, err error) {
	e := link
	for hops := 0; e.Type == Hardlink; hops++ {
		if r, found = find(e.Link); !found {
			return 0, false, nil
		}
		e = b.entry(order[r])
		if hops > maxHops {
			return 0, false, fmt.Errorf("%q: hard links in a circle, or to more than %d others one after the other", link.Path, maxHops)
		}
	}
	if e.Type == Directory || e.Type == Implied || e.Type == Whiteout {
		return 0, false, fmt.Errorf("%q: hard link to %q, which is no file", link.Path, e.Path)
	}
	return r, true, nil
}

// promote rewrites the records of one inode's names.
func (b *Builder) promote(order []int, inode int, links []int) error {
	first := inode
	for _, r := range links {
		first = min(first, r)
	}
	file := b.entry(order[inode])
	target := string(b.path(order[first]))
	for _, r := range append(links, inode) {
		e := Entry{Path: string(b.path(order[r])), Type: Hardlink, Link: target, Offset: -1}
		if r == first {
			e = file
			e.Path = target
		}
		if err := b.rewrite(order[r], e); err != nil {
			return err
		}
	}
	return nil
}

// rewrite replaces the entry at i by e, which has the same path.
func (b *Builder) rewrite(i int, e Entry) error {
	at := le.Uint32(b.rec(i))
	extra := b.place(appendExtra(nil, e))
	if len(b.extra) > math.MaxUint32 {
		return fmt.Errorf("%q: too many entries for one layer", e.Path)
	}
	copy(b.rec(i), appendRecord(nil, e, at, extra))
	return nil
}

// layOut writes header, records, strings and extra in the order of the index, so that equal layers are equal bytes.
func (b *Builder) layOut(order []int) []byte {
	var strs, extra []byte
	extra = append(extra, 0)
	moved := make(map[uint32]uint32, len(b.known))
	buf := make([]byte, headerSize, headerSize+len(b.recs)+len(b.strs)+len(b.extra))
	for _, i := range order {
		buf = append(buf, b.rec(i)...)
		rec := buf[len(buf)-recordSize:]
		path := b.path(i)
		le.PutUint32(rec, uint32(len(strs)))
		strs = append(strs, path...)
		old := le.Uint32(rec[20:])
		if old == 0 {
			continue
		}
		at, ok := moved[old]
		if !ok {
			at = uint32(len(extra))
			moved[old] = at
			extra = append(extra, b.extra[old:old+extraLen(b.extra[old:])]...)
		}
		le.PutUint32(rec[20:], at)
	}
	putHeader(buf, len(order), len(strs), len(extra))
	return append(append(buf, strs...), extra...)
}

// extraLen returns the length of what appendExtra wrote at the start of b.
func extraLen(b []byte) uint32 {
	c := cursor{rest: b}
	c.string()
	c.uvarint()
	c.uvarint()
	for n := c.uvarint(); n > 0; n-- {
		c.string()
		c.string()
	}
	c.string()
	c.string()
	return uint32(len(b) - len(c.rest))
}
