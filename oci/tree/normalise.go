package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/cairnbuild/cairn/internal/resolve"
	"github.com/cairnbuild/cairn/oci/index"
)

// Normalise makes the index of a foreign layer strict, as if its tar were extracted over the tree below: parents that it only
// implies are those below, through the links there, or new ones (root's, mode 0755); a hard link to a file that only a layer
// below has becomes that file, with Offset -1; an opaque root becomes whiteouts; whiteouts and opaque marks that hide nothing
// are dropped. The names of the new index are the resolved ones. A strict index is returned as it is.
func Normalise(ctx context.Context, raw *index.Index, below *Tree) (*index.Index, error) {
	if !raw.Loose() {
		return raw, nil
	}
	n := &normaliser{raw: raw, b: NewBuilder(below), dirs: map[string]string{".": "."}, taken: make(map[string]string)}
	for _, pass := range []func(index.Entry) error{n.entry, n.hardlink} {
		for e := range raw.Entries() {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := pass(e); err != nil {
				return nil, fmt.Errorf("normalise layer: %q: %w", e.Path, err)
			}
		}
	}
	ix, err := n.b.Index()
	if err != nil {
		return nil, fmt.Errorf("normalise layer: %w", err)
	}
	return ix, nil
}

type normaliser struct {
	raw   *index.Index
	b     *Builder
	dirs  map[string]string // directories as named in raw -> resolved
	taken map[string]string // files of the tree below -> the name here that became a copy of it
}

// entry puts what is no Hardlink. Entries come in index order, parents first.
func (n *normaliser) entry(e index.Entry) error {
	switch {
	case e.Type == index.Hardlink:
		return nil
	case e.Path == ".":
		return n.root(e)
	}
	named := e.Path
	parent, err := n.dir(index.Parent(named), e.MTime)
	if err != nil {
		return err
	}
	e.Path = index.Join(parent, index.Base(named))
	switch e.Type {
	case index.Whiteout:
		if err := n.b.Remove(e.Path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	case index.Implied:
		if n.dirs[named], err = n.imply(e.Path, n.timeOf(named)); err != nil || !e.Opaque {
			return err
		}
		return n.opaque(n.dirs[named])
	case index.Directory:
		n.dirs[named] = e.Path
	}
	return n.b.Put(e)
}

// root takes attributes of the root, and makes its opacity explicit: overlayfs knows no opaque root.
func (n *normaliser) root(e index.Entry) error {
	if e.Opaque {
		for _, old := range n.b.below.ReadDir(".") {
			if err := n.b.Remove(old.Path); err != nil {
				return err
			}
		}
	}
	if e.Type == index.Implied {
		return nil
	}
	e.Opaque = false
	return n.b.Put(e)
}

// dir returns where a directory, as named in raw, really is, making it where it is missing.
func (n *normaliser) dir(named string, mtime time.Time) (string, error) {
	if real, ok := n.dirs[named]; ok {
		return real, nil
	}
	parent, err := n.dir(index.Parent(named), mtime)
	if err != nil {
		return "", err
	}
	real, err := n.imply(index.Join(parent, index.Base(named)), mtime)
	if err == nil {
		n.dirs[named] = real
	}
	return real, err
}

// imply returns the directory that p leads to, which is made where nothing is.
func (n *normaliser) imply(p string, mtime time.Time) (string, error) {
	real, existing, err := n.b.ResolveNew(p)
	if err != nil {
		return "", err
	}
	if existing {
		if node, ok := n.b.Lookup(real); !ok || node.Type != index.Directory {
			return "", &fs.PathError{Op: "add", Path: p, Err: syscall.ENOTDIR}
		}
		return real, nil
	}
	if mtime.IsZero() { // of a whiteout
		mtime = time.Unix(0, 0).UTC()
	}
	_, err = n.b.MkdirAll(real, 0o755, 0, 0, mtime)
	return real, err
}

// timeOf is the mtime of a directory that nobody gave one: that of the first entry in it.
func (n *normaliser) timeOf(named string) time.Time {
	from, to := n.raw.Range(named)
	for ; from < to; from++ {
		if e := n.raw.At(from); !e.MTime.IsZero() {
			return e.MTime
		}
	}
	return time.Unix(0, 0).UTC()
}

func (n *normaliser) opaque(p string) error {
	node, ok := n.b.Lookup(p)
	if !ok {
		return &fs.PathError{Op: "add", Path: p, Err: fs.ErrNotExist}
	}
	node.Entry.Opaque = true
	return n.b.Put(node.Entry)
}

// hardlink puts a Hardlink, when everything that it can lead to is there.
func (n *normaliser) hardlink(e index.Entry) error {
	if e.Type != index.Hardlink {
		return nil
	}
	target := e.Link
	for hops := 0; ; hops++ { // through names that are no files themselves
		i, ok := n.raw.Find(target)
		if !ok || n.raw.TypeAt(i) != index.Hardlink {
			break
		}
		if hops > resolve.MaxLinks {
			return &fs.PathError{Op: "link", Path: e.Link, Err: syscall.ELOOP}
		}
		target = n.raw.At(i).Link
	}
	dir, ok := n.dirs[index.Parent(target)]
	if !ok {
		var err error
		if dir, _, err = n.b.ResolveNew(index.Parent(target)); err != nil {
			return err
		}
	}
	target = index.Join(dir, index.Base(target))
	parent, err := n.dir(index.Parent(e.Path), time.Unix(0, 0).UTC())
	if err != nil {
		return err
	}
	return n.link(index.Join(parent, index.Base(e.Path)), target)
}

// link makes name a name of the inode at target, which is one of the layer or below it.
func (n *normaliser) link(name, target string) error {
	if first, ok := n.taken[target]; ok {
		target = first
	}
	inode, ok := n.b.Lookup(target)
	switch {
	case !ok:
		return &fs.PathError{Op: "link", Path: target, Err: fs.ErrNotExist}
	case inode.Type == index.Directory:
		return &fs.PathError{Op: "link", Path: target, Err: syscall.EISDIR}
	case inode.Layer == n.b.below.Layers():
		return n.b.Put(index.Entry{Path: name, Type: index.Hardlink, Link: inode.LinkPath})
	}
	n.taken[target] = name
	copied := inode.Entry
	copied.Path, copied.Offset = name, -1
	return n.b.Put(copied)
}
