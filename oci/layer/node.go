package layer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cairnbuild/cairn/oci/index"
)

// maxLinks is how many symbolic links one name of a tar may lead through.
const maxLinks = 255

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

// walkState is where a resolution has come to: the directories from the root on, and their names.
type walkState struct {
	dirs  []*node // dirs[0] is the root; nil for one the layer does not have
	names []string
}

func (w *walkState) path(base string) string {
	if len(w.names) == 0 {
		return base
	}
	return strings.Join(w.names, "/") + "/" + base
}

func (w *walkState) up() {
	if len(w.names) > 0 {
		w.names = w.names[:len(w.names)-1]
		w.dirs = w.dirs[:len(w.dirs)-1]
	}
}

// find resolves the parents of a cleaned name through the layer's own symbolic links, which never lead out of its root.
// Directories that are missing are made by imply, or stay missing when it is nil.
func (root *node) find(name string, imply func(dir *node, base, path string) (*node, error)) (place, error) {
	rest := strings.Split(name, "/")
	base := rest[len(rest)-1]
	rest = rest[:len(rest)-1]
	w := walkState{dirs: []*node{root}}
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			w.up()
			continue
		}
		at := place{w.dirs[len(w.dirs)-1], part, w.path(part)}
		kid := at.child()
		switch {
		case kid == nil || kid.e.Type == index.Whiteout:
			kid = nil
			if imply != nil {
				var err error
				if kid, err = imply(at.dir, at.base, at.path); err != nil {
					return place{}, err
				}
			}
		case kid.e.Type == index.Symlink:
			if links++; links > maxLinks {
				return place{}, &nameError{name, syscall.ELOOP}
			}
			if strings.HasPrefix(kid.e.Link, "/") {
				w = walkState{dirs: []*node{root}}
			}
			rest = append(strings.Split(kid.e.Link, "/"), rest...)
			continue
		case !kid.isDir():
			return place{}, &nameError{name, syscall.ENOTDIR}
		}
		w.dirs = append(w.dirs, kid)
		w.names = append(w.names, part)
	}
	return place{w.dirs[len(w.dirs)-1], base, w.path(base)}, nil
}

// nameError says why a name of a tar cannot be.
type nameError struct {
	name string
	err  error
}

func (e *nameError) Error() string { return fmt.Sprintf("name %q: %v", e.name, e.err) }

func (e *nameError) Unwrap() error { return e.err }

// cleanName makes the clean relative form of a name or link target in a tar; "." for the root. One that leads above the root
// is an error.
func cleanName(name string) (string, error) {
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".":
		case "..":
			if len(parts) == 0 {
				return "", fmt.Errorf("name %q leads out of the layer", name)
			}
			parts = parts[:len(parts)-1]
		default:
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return ".", nil
	}
	return strings.Join(parts, "/"), nil
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
