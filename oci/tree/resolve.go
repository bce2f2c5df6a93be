package tree

import (
	"time"

	"github.com/cairnbuild/cairn/internal/resolve"
	"github.com/cairnbuild/cairn/oci/index"
)

// Resolve follows every symbolic link of p inside the root, with ".." clipped at it, and returns the path without links and
// what is there. p may be absolute. Errors are *fs.PathError with syscall.ENOENT, ENOTDIR, ELOOP or ENAMETOOLONG, where the
// kernel would give them for that path with the tree as its root.
func (t *Tree) Resolve(p string) (string, Node, error) { return NewBuilder(t).Resolve(p) }

// ResolveNew follows the links of p, the last component's too, as far as it exists; what is missing is kept as named: where a
// COPY lands. existing says that all of it is there. Errors are *fs.PathError with syscall.ENOTDIR, ELOOP or ENAMETOOLONG.
func (t *Tree) ResolveNew(p string) (real string, existing bool, err error) {
	return NewBuilder(t).ResolveNew(p)
}

// Resolve is Tree.Resolve over the tree with the new layer on top.
func (b *Builder) Resolve(p string) (string, Node, error) {
	at, err := resolve.Walk(b.below.top(), p, b.child, 0)
	if err != nil {
		return "", Node{}, err
	}
	n, _ := b.Lookup(at.Path)
	return at.Path, n, nil
}

// ResolveNew is Tree.ResolveNew over the tree with the new layer on top.
func (b *Builder) ResolveNew(p string) (real string, existing bool, err error) {
	at, err := resolve.Walk(b.below.top(), p, b.child, resolve.KeepMissing)
	return at.Path, err == nil && at.Kind != resolve.Missing, err
}

// child finds the name at the end of p. dir are the spans of the tree below that the directory shows.
func (b *Builder) child(dir []span, p string) (resolve.Found[[]span], error) {
	layer, i, below, ok := b.below.step(dir, p)
	if e, own := b.own[p]; own {
		if e.Opaque {
			below = nil
		}
		return found(b.node(e).Entry, below), nil
	}
	switch {
	case !ok:
		return resolve.Found[[]span]{}, nil
	case b.below.layers[layer].TypeAt(i) == index.Directory:
		return resolve.Found[[]span]{Node: below, Kind: resolve.Directory}, nil
	}
	return found(b.below.node(layer, i).Entry, nil), nil
}

func found(e index.Entry, below []span) resolve.Found[[]span] {
	switch e.Type {
	case index.Whiteout:
		return resolve.Found[[]span]{}
	case index.Directory:
		return resolve.Found[[]span]{Node: below, Kind: resolve.Directory}
	case index.Symlink:
		return resolve.Found[[]span]{Kind: resolve.Symlink, Link: e.Link}
	}
	return resolve.Found[[]span]{Kind: resolve.Other}
}

// defaultDirectory is a directory that nobody described.
func defaultDirectory(p string) index.Entry {
	return index.Entry{Path: p, Type: index.Directory, Mode: 0o755, MTime: time.Unix(0, 0).UTC(), Offset: -1}
}
