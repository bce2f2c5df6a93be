package layer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cairnbuild/cairn/internal/resolve"
	"github.com/cairnbuild/cairn/oci/index"
)

// node is one inode of the layer being read. Names that are hard links share it.
type node struct {
	e    index.Entry // Path is not set
	kids map[string]*node
	used bool // it has further names
}

func newDirNode() *node {
	return &node{e: index.Entry{Type: index.Implied}, kids: make(map[string]*node)}
}

// anew makes n a directory that owes nothing to one of the layers below, until the tar describes it.
func (n *node) anew() {
	n.e = index.Entry{Type: index.Directory, Mode: 0o755, MTime: time.Unix(0, 0).UTC(), Opaque: true, Offset: -1}
}

func (n *node) isDir() bool { return n.kids != nil }

// place is a name in a directory of the layer; path is where that is, without links.
type place struct {
	dir  *node
	base string
	path string
}

// child is what is at the place; nil for nothing.
func (p place) child() *node {
	if p.dir == nil {
		return nil
	}
	return p.dir.kids[p.base]
}

// cleanName makes the clean relative form of a name or link target in a tar; "." for the root. One that leads above the root,
// or that no path can have, is an error.
func cleanName(name string) (string, error) {
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".":
		case "..":
			if len(parts) == 0 {
				return "", fmt.Errorf("name %q leads out of the layer", resolve.Shorten(name))
			}
			parts = parts[:len(parts)-1]
		default:
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return ".", nil
	}
	clean := strings.Join(parts, "/")
	if len(clean) >= resolve.MaxPath+len(index.WhiteoutPrefix) {
		return "", fmt.Errorf("name %q has %d bytes, where %d are possible", resolve.Shorten(name), len(clean), resolve.MaxPath-1)
	}
	return clean, nil
}

// visit calls fn for every node below n in index order, with its path and the directory it is in. hidden says that a
// directory above is opaque: nothing of the layers below is seen there.
func (n *node) visit(path string, hidden bool, fn func(path string, n *node, hidden bool) error) error {
	hidden = hidden || n.e.Opaque
	for _, name := range slices.Sorted(maps.Keys(n.kids)) {
		kid, at := n.kids[name], index.Join(path, name)
		if err := fn(at, kid, hidden); err != nil {
			return err
		}
		if err := kid.visit(at, hidden, fn); err != nil {
			return err
		}
	}
	return nil
}

// entries adds the whole layer to b.
func (n *node) entries(b *index.Builder) error {
	if n.e.Type == index.Directory || n.e.Opaque {
		e := n.e
		e.Path = "."
		if err := b.Add(e); err != nil {
			return err
		}
	}
	first := make(map[*node]string)
	return n.visit(".", false, func(path string, kid *node, hidden bool) error {
		e := kid.e
		e.Path = path
		if e.Type == index.Whiteout && hidden {
			return nil // there is nothing that it could hide
		}
		if kid.used {
			if file, seen := first[kid]; seen {
				e = index.Entry{Path: path, Type: index.Hardlink, Link: file}
			} else {
				first[kid] = path
			}
		}
		return b.Add(e)
	})
}
