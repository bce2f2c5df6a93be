package tree

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cairnbuild/cairn/oci/index"
)

// Builder makes a new layer over a tree: entries are put into it, and it answers lookups as if the layer were already there.
// Not for concurrent use.
type Builder struct {
	below *Tree
	own   map[string]index.Entry
	kids  map[string]map[string]bool // directories of the layer -> the names it has in them
	names map[string][]string        // files -> their Hardlinks
}

// NewBuilder starts an empty layer over below.
func NewBuilder(below *Tree) *Builder {
	return &Builder{below, make(map[string]index.Entry), make(map[string]map[string]bool), make(map[string][]string)}
}

// Lookup finds the entry at p in the tree with the new layer on top, without following any link.
func (b *Builder) Lookup(p string) (Node, bool) {
	if e, ok := b.own[p]; ok {
		if e.Type == index.Whiteout {
			return Node{}, false
		}
		return b.node(e), true
	}
	if b.hides(p) {
		return Node{}, false
	}
	return b.below.Lookup(p)
}

// hides reports whether the layer hides what the tree below has at p, by what it has above p.
func (b *Builder) hides(p string) bool {
	if p == "." {
		return false
	}
	for end := 0; ; end++ {
		next := strings.IndexByte(p[end:], '/')
		if next < 0 {
			return false
		}
		end += next
		e, ok := b.own[p[:end]]
		if !ok {
			return false // nor does it have anything below
		}
		if e.Type != index.Directory || e.Opaque {
			return true
		}
	}
}

func (b *Builder) node(e index.Entry) Node {
	n := Node{Entry: e, Layer: b.below.Layers(), LinkPath: e.Path}
	if e.Type == index.Hardlink {
		n.Entry = b.own[e.Link]
		n.LinkPath = e.Link
		n.Path = e.Path
	}
	return n
}

// Put adds an entry. Its parents must be directories; those that the layer does not have yet are added with the attributes
// that they have below. What was at the path is replaced with all below it, but a directory put on a directory changes its
// attributes and keeps what is in it. A directory that takes the place of something the layer removed or replaced before is
// made Opaque, if the tree below has one there. A Hardlink's inode must have been put before. When the inode of other names is
// replaced, the next name becomes its file, as after unlink(2).
func (b *Builder) Put(e index.Entry) error {
	if err := index.CheckPath(e.Path); err != nil {
		return err
	}
	switch e.Type {
	case index.Whiteout, index.Implied:
		return fmt.Errorf("%q: cannot put a %v", e.Path, e.Type)
	case index.Hardlink:
		inode, ok := b.own[e.Link]
		if ok && inode.Type == index.Hardlink {
			e.Link, inode = inode.Link, b.own[inode.Link]
		}
		if !ok || inode.Type == index.Directory || inode.Type == index.Whiteout {
			return &fs.PathError{Op: "link", Path: e.Link, Err: fs.ErrNotExist}
		}
		if e.Link == e.Path {
			return nil // it is that inode
		}
	}
	if err := b.addParents(e.Path); err != nil {
		return err
	}
	old, had := b.own[e.Path]
	if had && !(old.Type == index.Directory && e.Type == index.Directory) {
		b.drop(e.Path)
	}
	if e.Type == index.Directory {
		again := had && (old.Type != index.Directory || old.Opaque)
		e.Opaque = (e.Opaque || again) && b.shows(e.Path)
	}
	if e.Type == index.Hardlink { // the drop may have moved the inode
		if inode, ok := b.own[e.Link]; !ok || inode.Type == index.Hardlink {
			return &fs.PathError{Op: "link", Path: e.Link, Err: fs.ErrNotExist}
		}
		b.names[e.Link] = append(b.names[e.Link], e.Path)
	}
	b.set(e)
	return nil
}

func (b *Builder) set(e index.Entry) {
	b.own[e.Path] = e
	parent := index.Parent(e.Path)
	if b.kids[parent] == nil {
		b.kids[parent] = make(map[string]bool)
	}
	if e.Path != "." {
		b.kids[parent][e.Path] = true
	}
}

// shows reports whether a directory of the tree below would be seen through one of the layer at p.
func (b *Builder) shows(p string) bool {
	if p == "." || b.hides(p) {
		return false
	}
	n, ok := b.below.Lookup(p)
	return ok && n.Type == index.Directory
}

// drop takes what the layer has at p, and below, out of it.
func (b *Builder) drop(p string) {
	for kid := range b.kids[p] {
		b.drop(kid)
	}
	delete(b.kids, p)
	e, ok := b.own[p]
	if !ok {
		return
	}
	delete(b.own, p)
	delete(b.kids[index.Parent(p)], p)
	if e.Type == index.Hardlink {
		b.names[e.Link] = slices.DeleteFunc(b.names[e.Link], func(name string) bool { return name == p })
		return
	}
	b.bequeath(e)
}

// bequeath gives the inode of a file that is no more to the next of its names.
func (b *Builder) bequeath(e index.Entry) {
	names := b.names[e.Path]
	delete(b.names, e.Path)
	if len(names) == 0 {
		return
	}
	heir := slices.MinFunc(names, index.Compare)
	e.Path = heir
	b.own[heir] = e
	for _, name := range names {
		if name == heir {
			continue
		}
		link := b.own[name]
		link.Link = heir
		b.own[name] = link
		b.names[heir] = append(b.names[heir], name)
	}
}

// addParents adds the directories above p that the layer does not have yet.
func (b *Builder) addParents(p string) error {
	for i := range len(p) {
		if p[i] != '/' {
			continue
		}
		dir := p[:i]
		if e, ok := b.own[dir]; ok && e.Type == index.Directory {
			continue
		}
		n, ok := b.Lookup(dir)
		switch {
		case !ok:
			return &fs.PathError{Op: "add", Path: p, Err: fs.ErrNotExist}
		case n.Type != index.Directory:
			return &fs.PathError{Op: "add", Path: p, Err: syscall.ENOTDIR}
		}
		n.Entry.Opaque = false
		b.set(n.Entry)
	}
	return nil
}

// MkdirAll makes the directory at p, which has no links in it, and its missing parents, and returns those that it made, the
// outermost first. Directories that are there stay as they are.
func (b *Builder) MkdirAll(p string, mode uint32, uid, gid int, mtime time.Time) (made []string, err error) {
	if p == "." {
		return nil, nil
	}
	for i := 0; i <= len(p); i++ {
		if i < len(p) && p[i] != '/' {
			continue
		}
		dir := p[:i]
		n, ok := b.Lookup(dir)
		switch {
		case ok && n.Type == index.Directory:
			continue
		case ok:
			return made, &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
		}
		e := index.Entry{Path: dir, Type: index.Directory, Mode: mode, UID: uid, GID: gid, MTime: mtime, Offset: -1}
		if err := b.Put(e); err != nil {
			return made, err
		}
		made = append(made, dir)
	}
	return made, nil
}

// Remove takes away what is at p and all below it: a whiteout where the tree below has it. What is not there is an error for
// which errors.Is(err, fs.ErrNotExist).
func (b *Builder) Remove(p string) error {
	if _, ok := b.Lookup(p); !ok || p == "." {
		return &fs.PathError{Op: "remove", Path: p, Err: fs.ErrNotExist}
	}
	b.drop(p)
	if b.hides(p) {
		return nil
	}
	if _, ok := b.below.Lookup(p); !ok {
		return nil
	}
	if err := b.addParents(p); err != nil {
		return err
	}
	b.set(index.Entry{Path: p, Type: index.Whiteout})
	return nil
}

// Index returns the layer so far.
func (b *Builder) Index() (*index.Index, error) {
	ib := index.NewBuilder()
	for _, e := range b.own {
		if err := ib.Add(e); err != nil {
			return nil, err
		}
	}
	ix, err := ib.Build()
	if err != nil {
		return nil, fmt.Errorf("build index: %w", err)
	}
	return ix, nil
}

// Tree returns the tree with the layer so far on top. It costs as much as the layer has entries: Lookup and Resolve do not.
func (b *Builder) Tree() (*Tree, error) {
	ix, err := b.Index()
	if err != nil {
		return nil, err
	}
	return b.below.Push(ix), nil
}
