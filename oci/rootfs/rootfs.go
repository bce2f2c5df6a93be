// Package rootfs writes an image's file system out, without the image: as one tar (build --output type=tar) or as a plain
// directory (type=local). It reads the merged tree of indexes; no layer has to be extracted for it.
package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
)

// Opener opens the content of a regular file of the tree: exactly Node.Size bytes. The caller closes it.
type Opener func(ctx context.Context, n tree.Node) (io.ReadCloser, error)

// inode identifies a file through all its names.
type inode struct {
	layer int
	path  string
}

func inodeOf(n tree.Node) inode { return inode{n.Layer, n.LinkPath} }

// linked finds the inodes that have more than one name in the tree, so that a first name is remembered only where a further
// one will come: few of a million files have one.
func linked(ctx context.Context, t *tree.Tree) (map[inode]string, error) {
	names := map[inode]string{}
	err := t.Walk(".", func(n tree.Node) error {
		if n.Type != index.Directory && n.LinkPath != n.Path {
			names[inodeOf(n)] = ""
		}
		return ctx.Err()
	})
	return names, err
}

// writer makes one kind of output.
type writer interface {
	// entry writes n, which is no further name of anything.
	entry(ctx context.Context, n tree.Node) error
	// link writes n as a further name of first, which was written before.
	link(n tree.Node, first string) error
}

// write walks the tree in index order and gives w every entry but the root.
func write(ctx context.Context, t *tree.Tree, w writer) error {
	names, err := linked(ctx, t)
	if err != nil {
		return err
	}
	return t.Walk(".", func(n tree.Node) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if n.Path == "." {
			return nil
		}
		if first, ok := names[inodeOf(n)]; ok && n.Type != index.Directory {
			if first != "" {
				return w.link(n, first)
			}
			names[inodeOf(n)] = n.Path
		}
		return w.entry(ctx, n)
	})
}

// copyContent copies the content of n to w and insists on its size.
func copyContent(ctx context.Context, w io.Writer, n tree.Node, open Opener) (err error) {
	rc, err := open(ctx, n)
	if err != nil {
		return fmt.Errorf("open %s: %w", n.Path, err)
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	r := files.Reader(ctx, rc)
	copied, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(r, n.Size), make([]byte, min(n.Size, 256<<10)))
	if err == nil && copied < n.Size {
		err = fmt.Errorf("content has %d bytes, not %d", copied, n.Size)
	}
	if err == nil {
		err = atEnd(r, n.Size)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", n.Path, err)
	}
	return nil
}

// atEnd reads on, which also lets a verifying reader say what it thinks of the whole.
func atEnd(r io.Reader, size int64) error {
	n, err := io.ReadFull(r, make([]byte, 1))
	if n > 0 {
		return fmt.Errorf("content has more than %d bytes", size)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
