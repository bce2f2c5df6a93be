// Package tree is the merged tree of an image: a stack of layer indexes seen as one file system. It is pure data: looking a path
// up, following symbolic links inside the image, finding what a COPY lands on need no root file system.
//
// Nothing is copied or folded in advance. A lookup descends through all layers at once with a binary search per component and
// layer, and a walk is a streaming merge; so the tree of a cached base of a million files costs nothing until it is asked.
//
// The rules of the fold are overlayfs's: the topmost layer that has a path decides what it is; a whiteout, or anything that is
// no directory, hides all that the layers below have there; so does an opaque directory, but for its attributes.
package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cairnbuild/cairn/oci/index"
)

// Tree is an immutable stack of strict indexes. It may be used from several goroutines, as long as no index is closed.
type Tree struct{ layers []*index.Index }

// Node is an entry of the merged tree. For a further name of an inode it has the inode's attributes and Type, never Hardlink.
type Node struct {
	index.Entry
	// Layer is the position, from the base, of the index that the entry is in; -1 for a root that no layer has.
	Layer int
	// LinkPath is the path of the entry that stands for the inode in that layer: (Layer, LinkPath) identifies the inode. It
	// equals Path for a first name.
	LinkPath string
}

// String is the entry as one line, with its layer.
func (n Node) String() string { return fmt.Sprintf("%s (layer %d)", n.Entry, n.Layer) }

// New returns the tree of the indexes, base first. They must be strict (not Loose: see Normalise).
func New(indexes ...*index.Index) *Tree { return &Tree{slices.Clone(indexes)} }

// Push returns the tree with one more layer on top. t stays as it is.
func (t *Tree) Push(ix *index.Index) *Tree { return New(append(slices.Clip(t.layers), ix)...) }

// Layers is how many indexes there are.
func (t *Tree) Layers() int { return len(t.layers) }

// span is what is below one directory in one layer: the entries from..to-1.
type span struct{ layer, from, to int }

// top returns the spans of the root, the topmost layer first.
func (t *Tree) top() []span {
	spans := make([]span, 0, len(t.layers))
	for layer := len(t.layers) - 1; layer >= 0; layer-- {
		ix := t.layers[layer]
		from := 0
		if ix.Len() > 0 && ix.PathAt(0) == "." {
			from = 1
		}
		spans = append(spans, span{layer, from, ix.Len()})
	}
	return spans
}

// locate descends to p. It returns where the entry that decides is, and the spans that may hold what is below it: they
// begin at the right place, and end where the search for p ended, which may be too far.
func (t *Tree) locate(p string) (layer, i int, spans []span, ok bool) {
	spans = t.top()
	for end := 0; end < len(p); end++ {
		if next := strings.IndexByte(p[end:], '/'); next >= 0 {
			end += next
		} else {
			end = len(p)
		}
		if layer, i, spans, ok = t.step(spans, p[:end]); !ok {
			return 0, 0, nil, false
		}
	}
	return layer, i, spans, ok
}

// step finds prefix, one component longer than what the spans belong to.
func (t *Tree) step(spans []span, prefix string) (layer, i int, below []span, ok bool) {
	for _, s := range spans {
		ix := t.layers[s.layer]
		at, has := ix.FindIn(prefix, s.from, s.to)
		if !has {
			continue
		}
		typ := ix.TypeAt(at)
		if typ == index.Whiteout {
			break
		}
		if !ok {
			layer, i, ok = s.layer, at, true
			below = make([]span, 0, len(spans))
		}
		if typ != index.Directory {
			break
		}
		below = append(below, span{s.layer, at + 1, s.to})
		if ix.OpaqueAt(at) {
			break
		}
	}
	return layer, i, below, ok
}

// Lookup finds the entry at p, a clean path relative to the root, without following any link. The root, ".", always exists:
// where no layer has it, it is root's, mode 0755, of 1970.
func (t *Tree) Lookup(p string) (Node, bool) {
	if p == "." {
		return t.root(), true
	}
	layer, i, _, ok := t.locate(p)
	if !ok {
		return Node{}, false
	}
	return t.node(layer, i), true
}

func (t *Tree) root() Node {
	for layer := len(t.layers) - 1; layer >= 0; layer-- {
		if i, ok := t.layers[layer].Find("."); ok {
			return t.node(layer, i)
		}
	}
	return Node{Entry: defaultDirectory("."), Layer: -1, LinkPath: "."}
}

// node makes the Node of an entry: a Hardlink is resolved in its own layer, whatever later layers did to the other names.
func (t *Tree) node(layer, i int) Node {
	ix := t.layers[layer]
	e := ix.At(i)
	n := Node{Entry: e, Layer: layer, LinkPath: e.Path}
	if e.Type != index.Hardlink {
		return n
	}
	if at, ok := ix.Find(e.Link); ok {
		n.Entry = ix.At(at)
		n.LinkPath = n.Path
		n.Path = e.Path
	}
	return n
}

// ReadDir lists the directory at p, without following links, sorted by name; nil when there is no directory.
func (t *Tree) ReadDir(p string) []Node {
	var nodes []Node
	_ = t.merge(t.spansOf(p), func(n Node, _ []span) error {
		nodes = append(nodes, n)
		return nil
	})
	return nodes
}

// spansOf returns the spans of what is below p.
func (t *Tree) spansOf(p string) []span {
	if p == "." {
		return t.top()
	}
	_, _, spans, _ := t.locate(p)
	for k, s := range spans {
		spans[k].to = t.layers[s.layer].SubtreeEnd(s.from-1, s.to)
	}
	return spans
}

// Walk calls fn for the entry at p and all below it, in index order. fs.SkipDir from fn skips what is below a directory; any
// other error ends the walk and is returned.
func (t *Tree) Walk(p string, fn func(Node) error) error {
	n, ok := t.Lookup(p)
	if !ok {
		return &fs.PathError{Op: "walk", Path: p, Err: fs.ErrNotExist}
	}
	return t.walk(n, t.spansOf(p), fn)
}

func (t *Tree) walk(n Node, below []span, fn func(Node) error) error {
	if err := fn(n); err != nil {
		if errors.Is(err, fs.SkipDir) {
			return nil
		}
		return err
	}
	return t.merge(below, func(n Node, below []span) error { return t.walk(n, below, fn) })
}

// merge calls fn with the direct children of the directory that the spans belong to, in order, each with the spans of what is
// below it. It uses the spans up.
func (t *Tree) merge(spans []span, fn func(Node, []span) error) error {
	for {
		first := -1
		for k, s := range spans {
			if s.from < s.to && (first < 0 || t.compare(s, spans[first]) < 0) {
				first = k
			}
		}
		if first < 0 {
			return nil
		}
		layer, at := spans[first].layer, spans[first].from
		below := t.group(spans, first)
		if t.layers[layer].TypeAt(at) == index.Whiteout {
			continue
		}
		if err := fn(t.node(layer, at), below); err != nil {
			return err
		}
	}
}

func (t *Tree) compare(a, b span) int {
	return t.layers[a.layer].CompareAt(a.from, t.layers[b.layer], b.from)
}

// group moves every span that stands at the same path as the first behind that path, and returns the spans of what can be seen
// below it.
func (t *Tree) group(spans []span, first int) (below []span) {
	open := true
	head := spans[first]
	for k := first; k < len(spans); k++ {
		s := spans[k]
		if s.from >= s.to || k > first && t.compare(s, head) != 0 {
			continue
		}
		ix := t.layers[s.layer]
		end := ix.SubtreeEnd(s.from, s.to)
		spans[k].from = end
		if open = open && ix.TypeAt(s.from) == index.Directory; open {
			below = append(below, span{s.layer, s.from + 1, end})
			open = !ix.OpaqueAt(s.from)
		}
	}
	return below
}

// Passwd returns the image's etc/passwd, links followed; nil when there is none, or where it is elsewhere.
func (t *Tree) Passwd() []byte { return t.data("etc/passwd") }

// Group returns the image's etc/group, links followed; nil when there is none, or where it is elsewhere.
func (t *Tree) Group() []byte { return t.data("etc/group") }

func (t *Tree) data(p string) []byte {
	_, n, err := t.Resolve(p)
	if err != nil {
		return nil
	}
	return n.Data
}
