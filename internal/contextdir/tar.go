package contextdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"syscall"

	"github.com/cairnbuild/cairn/internal/resolve"
	"github.com/cairnbuild/cairn/oci/index"
)

// FromTar makes a context of a tar, plain or compressed, that r gives. Its files' contents are kept in a Spool in the
// directory dir until Close. Owners are those of every context, 0:0. The tar's own .dockerignore is applied by WithIgnore,
// after ReadFile has read it.
func FromTar(ctx context.Context, r io.Reader, dir string) (_ *Context, err error) {
	spool, err := NewSpool(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			spool.Close()
		}
	}()
	t := &tarball{spool: spool, root: &tarNode{info: info{File: File{Entry: implied(".")}}}}
	if err := ReadTar(ctx, r, spool, t.put); err != nil {
		return nil, fmt.Errorf("read context tar: %w", err)
	}
	return newContext(t, nil), nil
}

// tarball is a backend in memory: entries by place, contents in the spool.
type tarball struct {
	root   *tarNode
	spool  *Spool
	inodes int
}

type tarNode struct {
	info
	children map[string]*tarNode
}

func implied(p string) index.Entry {
	return index.Entry{Path: p, Type: index.Directory, Mode: 0o755, Offset: -1}
}

// put places one entry as unpacking it would: the parent's links are followed, the entry itself replaces whatever has its
// name, except that a directory merges into a directory.
func (t *tarball) put(e index.Entry) error {
	e.UID, e.GID = 0, 0
	if e.Path == "." {
		return nil
	}
	parent, err := t.parent(index.Parent(e.Path))
	if err != nil {
		return fmt.Errorf("unpack %q: %w", e.Path, err)
	}
	name := index.Base(e.Path)
	e.Path = index.Join(parent.Path, name)
	n := &tarNode{info: info{File: File{Entry: e}, settled: true}}
	switch old := parent.children[name]; {
	case e.Type == index.Hardlink:
		if n, err = t.link(e); err != nil {
			return fmt.Errorf("unpack %q: %w", e.Path, err)
		}
	case e.Type == index.Directory && old != nil && old.Type == index.Directory:
		n.children = old.children
	}
	parent.add(name, n)
	return nil
}

func (n *tarNode) add(name string, child *tarNode) {
	if n.children == nil {
		n.children = map[string]*tarNode{}
	}
	n.children[name] = child
}

// link makes a further name of a file.
func (t *tarball) link(e index.Entry) (*tarNode, error) {
	dir, err := t.parent(index.Parent(e.Link))
	if err != nil {
		return nil, err
	}
	target := dir.children[index.Base(e.Link)]
	if target == nil {
		return nil, &fs.PathError{Op: "link", Path: e.Link, Err: fs.ErrNotExist}
	}
	if target.Type == index.Directory {
		return nil, &fs.PathError{Op: "link", Path: e.Link, Err: syscall.EPERM}
	}
	if target.Inode == "" && target.Type == index.Regular {
		t.inodes++
		target.Inode = strconv.Itoa(t.inodes)
	}
	n := *target
	n.Path = e.Path
	return &n, nil
}

// parent finds the directory dir, following links clipped at the root, and makes what is missing of it.
func (t *tarball) parent(dir string) (*tarNode, error) {
	at, err := resolve.Walk(t.root, dir, func(here *tarNode, p string) (resolve.Found[*tarNode], error) {
		if name := index.Base(p); here.children[name] == nil {
			here.add(name, &tarNode{info: info{File: File{Entry: implied(p)}}})
		}
		return here.child(p)
	}, 0)
	if err == nil && at.Kind != resolve.Directory {
		err = syscall.ENOTDIR
	}
	return at.Node, err
}

// child finds the name at the end of p.
func (n *tarNode) child(p string) (resolve.Found[*tarNode], error) {
	ch, ok := n.children[index.Base(p)]
	if !ok {
		return resolve.Found[*tarNode]{}, nil
	}
	return resolve.Found[*tarNode]{Node: ch, Kind: kindOf(ch.Type), Link: ch.Link}, nil
}

func (t *tarball) list(dir string, keep func(string, bool) bool) ([]info, error) {
	at, err := resolve.Walk(t.root, dir, (*tarNode).child, resolve.NoFollow)
	if err != nil {
		return nil, err
	}
	infos := make([]info, 0, len(at.Node.children))
	for name, ch := range at.Node.children {
		if keep(name, ch.Type == index.Directory) {
			infos = append(infos, ch.info)
		}
	}
	return infos, nil
}

// hash has nothing to do: ReadTar did it.
func (t *tarball) hash(context.Context, *info) error {
	return errors.New("file of a tar without digest")
}

func (t *tarball) open(in info) (io.ReadCloser, error) { return t.spool.Open(in.Offset, in.Size), nil }

func (t *tarball) close() error { return t.spool.Close() }
