package layer

import (
	"io/fs"
	"syscall"

	"github.com/cairnbuild/cairn/internal/resolve"
	"github.com/cairnbuild/cairn/oci/index"
)

// find resolves the parents of a cleaned name through the layer's own symbolic links, which never lead out of its root.
// Directories that are missing are made by imply, or stay missing when it is nil. Errors are *fs.PathError with
// syscall.ENOTDIR, ELOOP or ENAMETOOLONG, that of too many links, and those of imply.
func (rd *reader) find(name string, imply func(dir *node, path string) (*node, error)) (place, error) {
	dir, err := resolve.Walk(rd.root, index.Parent(name), func(dir *node, path string) (resolve.Found[*node], error) {
		kid := dir.kids[index.Base(path)]
		if kid != nil && kid.e.Type != index.Whiteout {
			return rd.found(kid)
		}
		if imply == nil {
			return resolve.Found[*node]{}, nil
		}
		kid, err := imply(dir, path)
		return resolve.Found[*node]{Node: kid, Kind: resolve.Directory}, err
	}, resolve.KeepMissing)
	switch {
	case err != nil:
		return place{}, err
	case dir.Kind == resolve.Other:
		return place{}, &fs.PathError{Op: "resolve", Path: resolve.Shorten(name), Err: syscall.ENOTDIR}
	}
	base := index.Base(name)
	return place{dir.Node, base, index.Join(dir.Path, base)}, nil
}

// found tells a walk what a node is. A link is paid for each time: a few entries can be walked through very often.
func (rd *reader) found(n *node) (resolve.Found[*node], error) {
	switch {
	case n.isDir():
		return resolve.Found[*node]{Node: n, Kind: resolve.Directory}, nil
	case n.e.Type == index.Symlink:
		return resolve.Found[*node]{Kind: resolve.Symlink, Link: n.e.Link}, rd.budget.follow(n.e.Link)
	}
	return resolve.Found[*node]{Kind: resolve.Other}, nil
}
