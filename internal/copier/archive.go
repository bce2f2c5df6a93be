package copier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"syscall"

	"github.com/cairnbuild/cairn/internal/contextdir"
	"github.com/cairnbuild/cairn/internal/resolve"
	"github.com/cairnbuild/cairn/oci/index"
)

// unpack places the entries of a match that is a tar; done is false when it is none, and is then to be copied as it is. The
// destination is always a directory. Owners are the tar's unless --chown is given; --chmod does not apply.
func (c *placer) unpack(ctx context.Context, f *found) (done bool, err error) {
	archive := &f.files[0].Entry
	if archive.Type != index.Regular {
		return false, nil
	}
	isTar, err := isTar(ctx, f.from, archive)
	if !isTar || err != nil {
		return false, err
	}
	dest, _, err := c.b.ResolveNew(c.dest)
	if err != nil {
		return true, placeError("/"+c.dest, err)
	}
	if err := c.mkdirMode(dest, 0o755); err != nil {
		return true, err
	}
	dir, err := c.r.TempDir()
	if err != nil {
		return true, err
	}
	spool, err := contextdir.NewSpool(dir)
	if err != nil {
		return true, err
	}
	c.result.close = append(c.result.close, spool)
	u := &unpacker{c: c, root: dest, from: spooled{spool}}
	r, err := f.from.Open(ctx, *archive)
	if err != nil {
		return true, err
	}
	defer r.Close()
	if err = contextdir.ReadTar(ctx, r, spool, func(e index.Entry) error { return u.put(ctx, e) }); err == nil {
		_, err = io.Copy(io.Discard, r) // to its end, where the content is verified
	}
	if err != nil {
		return true, fmt.Errorf("unpack archive %q: %w", f.name, err)
	}
	return true, nil
}

func isTar(ctx context.Context, from Source, e *index.Entry) (bool, error) {
	r, err := from.Open(ctx, *e)
	if err != nil {
		return false, err
	}
	defer r.Close()
	return contextdir.IsTar(r), nil
}

type spooled struct{ *contextdir.Spool }

func (s spooled) Open(_ context.Context, e index.Entry) (io.ReadCloser, error) {
	return s.Spool.Open(e.Offset, e.Size), nil
}

// unpacker merges an archive's entries, in their order, into the tree at root. Symbolic links are followed, clipped at root
// (not at the image's root: BuildKit unpacks in a chroot there), in the parents of a name only. The name itself is replaced
// whatever it is, except that a directory merges into a directory.
type unpacker struct {
	c    *placer
	root string
	from spooled
}

func (u *unpacker) put(ctx context.Context, e index.Entry) error {
	if e.Path == "." {
		return nil // there already, and stays as it is
	}
	parent, err := u.parent(index.Parent(e.Path))
	if err != nil {
		return &PlaceError{Path: "/" + index.Join(u.root, e.Path), Why: "cannot unpack, something on the way is no directory", Err: err}
	}
	source := e
	name := e.Path
	e.Path = index.Join(parent, index.Base(e.Path))
	if e.Type == index.Hardlink {
		if e.Link, err = u.linkTarget(e); err != nil {
			return err
		}
		return u.c.put(e, name)
	}
	e.Offset, e.MTime = -1, u.c.clamp(e.MTime)
	if u.c.owner != nil {
		e.UID, e.GID = u.c.owner.UID, u.c.owner.GID
	}
	if e.Type == index.Regular {
		if err := u.c.hold(ctx, &e, content{u.from, &source}); err != nil {
			return err
		}
	}
	return u.c.put(e, name)
}

// linkTarget finds the file of a hard link: it must be one that this layer has, since only its content is at hand.
func (u *unpacker) linkTarget(e index.Entry) (string, error) {
	dir, err := u.parent(index.Parent(e.Link))
	if err != nil {
		return "", fmt.Errorf("%q: hard link to %q: %w", e.Path, e.Link, err)
	}
	target := index.Join(dir, index.Base(e.Link))
	n, ok := u.c.b.Lookup(target)
	switch {
	case !ok:
		return "", fmt.Errorf("%q: hard link to %q: %w", e.Path, e.Link, fs.ErrNotExist)
	case n.Type == index.Directory:
		return "", fmt.Errorf("%q: hard link to the directory %q: %w", e.Path, e.Link, syscall.EPERM)
	}
	if n.Type == index.Regular {
		at, ours := u.c.result.contents[target]
		if !ours {
			return "", fmt.Errorf("%q: hard link to %q, which is in the image below and not in the archive", e.Path, e.Link)
		}
		u.c.result.contents[e.Path] = at
	}
	return target, nil
}

// parent finds the directory dir of the archive in the image, following links, and makes what is missing of it.
func (u *unpacker) parent(dir string) (string, error) {
	at, err := resolve.Walk(u.root, dir, u.child, 0)
	if err == nil && at.Kind != resolve.Directory {
		err = syscall.ENOTDIR
	}
	return at.Node, err
}

// child finds the name at the end of p in a directory of the image, and makes it a directory where nothing is.
func (u *unpacker) child(dir, p string) (resolve.Found[string], error) {
	at := index.Join(dir, index.Base(p))
	found := resolve.Found[string]{Node: at, Kind: resolve.Directory}
	switch n, ok := u.c.b.Lookup(at); {
	case !ok:
		return found, u.implied(at)
	case n.Type == index.Symlink:
		found.Kind, found.Link = resolve.Symlink, n.Link
	case n.Type != index.Directory:
		found.Kind = resolve.Other
	}
	return found, nil
}

// implied makes a directory that the archive has no entry for.
func (u *unpacker) implied(p string) error {
	err := u.c.b.Put(index.Entry{Path: p, Type: index.Directory, Mode: 0o755, MTime: u.c.now, Offset: -1})
	var name *index.NameError
	if errors.As(err, &name) {
		return fmt.Errorf("copy %q: %w", path.Base(p), err)
	}
	return err
}
