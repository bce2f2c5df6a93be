package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
	"github.com/cairnbuild/cairn/oci/tree"
)

// WriteOptions say how a tree is copied.
type WriteOptions struct {
	Open Content
	// Owners is how the copy holds owners.
	Owners owners.Mode
	// Sub is a path of the tree: what is neither in it nor above it is left out. "." is all.
	Sub string
}

// Content opens the content of a tree's regular file.
type Content func(context.Context, tree.Node) (io.ReadCloser, error)

// Root is a copy of a tree: a directory that is its root file system.
type Root struct {
	Dir string
	// Table has the owners that Dir's files can't record (one id only).
	Table *owners.Table
	// Bytes is how much was copied.
	Bytes int64

	made  map[string]bool // by Add
	since time.Time
}

// kernelDirs are filled by the kernel, or for want of it by the sandbox: a layer never gets what a command does there.
func kernelDirs() []string { return []string{"dev", "proc", "sys"} }

// inKernelDir reports whether a path is below one of them.
func inKernelDir(p string) bool {
	for _, d := range kernelDirs() {
		if strings.HasPrefix(p, d+"/") {
			return true
		}
	}
	return false
}

// Write makes dir, which does not exist, a copy of the tree. Blocks are shared where the file system can.
func Write(ctx context.Context, dir string, t *tree.Tree, o WriteOptions) (*Root, error) {
	r := &Root{Dir: dir, Table: owners.NewTable(), made: map[string]bool{}}
	ix, err := r.flatten(t, o.Sub)
	if err != nil {
		return nil, fmt.Errorf("copy the layers: %w", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	read := layer.ReadOptions{Dir: dir, Owners: o.Owners, Table: r.Table, Inherited: treeSource{t, o.Open}}
	if err := layer.Extract(ctx, ix, bytes.NewReader(nil), dir, read); err != nil {
		return nil, fmt.Errorf("copy the layers: %w", err)
	}
	return r, nil
}

// flatten makes one layer of a tree. Its files have their content elsewhere.
func (r *Root) flatten(t *tree.Tree, sub string) (*index.Index, error) {
	type inode struct {
		layer int
		path  string
	}
	first := map[inode]string{}
	b := index.NewBuilder()
	if n, ok := t.Lookup("."); ok {
		n.Path = "."
		if err := b.Add(n.Entry); err != nil {
			return nil, err
		}
	}
	err := t.Walk(".", func(n tree.Node) error {
		switch {
		case n.Path == ".", inKernelDir(n.Path), !within(n, sub):
			return nil
		}
		e := n.Entry
		e.Opaque, e.Data = false, nil
		if e.Type != index.Directory {
			id := inode{n.Layer, n.LinkPath}
			if to, ok := first[id]; ok {
				return b.Add(index.Entry{Path: e.Path, Type: index.Hardlink, Link: to})
			}
			first[id] = e.Path
		}
		if e.Type == index.Regular {
			e.Offset = -1
			r.Bytes += e.Size
		}
		return b.Add(e)
	})
	if err != nil {
		return nil, err
	}
	return b.Build()
}

// within reports whether n is sub, in it, or a directory above it.
func within(n tree.Node, sub string) bool {
	return sub == "." || n.Path == sub || strings.HasPrefix(n.Path, sub+"/") ||
		n.Type == index.Directory && strings.HasPrefix(sub, n.Path+"/")
}

// treeSource finds contents by their path in the tree.
type treeSource struct {
	t    *tree.Tree
	open Content
}

func (s treeSource) Open(ctx context.Context, e index.Entry) (io.ReadCloser, error) {
	n, ok := s.t.Lookup(e.Path)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: e.Path, Err: fs.ErrNotExist}
	}
	return s.open(ctx, n)
}

// Add makes the directories and empty files of ix that are not there, such as mount points. Changes takes no notice of them
// unless changed says that they are the command's.
func (r *Root) Add(ix *index.Index, changed bool) error {
	root, err := os.OpenRoot(r.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for e := range ix.Entries() {
		if e.Path == "." {
			continue
		}
		if _, err := root.Lstat(e.Path); !errors.Is(err, fs.ErrNotExist) {
			if err != nil {
				return err
			}
			continue
		}
		err := KeepTime(root, path.Dir(e.Path), func() error {
			if e.Type == index.Directory {
				return root.Mkdir(e.Path, 0o755)
			}
			return root.WriteFile(e.Path, nil, 0o644)
		})
		if err != nil {
			return fmt.Errorf("make mount point: %w", err)
		}
		if !changed {
			r.made[e.Path] = true
		}
	}
	return nil
}

// KeepTime calls change, which makes or removes names in a directory of root, and leaves the directory its mtime.
func KeepTime(root *os.Root, dir string, change func() error) error {
	info, err := root.Stat(dir)
	if err != nil {
		return change()
	}
	if err := change(); err != nil {
		return err
	}
	return root.Chtimes(dir, time.Time{}, info.ModTime())
}

// Begin is called when the directory is complete, before the command starts: it waits until the clock of the file system has
// gone on, a few milliseconds, so that a change can be told from the copying.
func (r *Root) Begin() error {
	stamp := func() (time.Time, error) {
		f, err := os.CreateTemp(filepath.Dir(r.Dir), ".stamp-")
		if err != nil {
			return time.Time{}, err
		}
		defer os.Remove(f.Name())
		info, err := f.Stat()
		f.Close()
		if err != nil {
			return time.Time{}, err
		}
		return info.ModTime(), nil
	}
	copied, err := stamp()
	for err == nil && !r.since.After(copied) {
		time.Sleep(2 * time.Millisecond)
		r.since, err = stamp()
	}
	return err
}

// Changes returns what the command changed as a layer on t, which the Root was made of. covered are the mount points, and
// what is below them is not looked at either.
func (r *Root) Changes(ctx context.Context, o layer.ScanOptions, covered []string) (*index.Index, error) {
	hide := map[string]bool{}
	for _, p := range covered {
		hide[strings.TrimPrefix(path.Clean(p), "/")] = true
	}
	o.Table = r.Table
	ix, err := layer.Changes(ctx, r.Dir, layer.ChangesOptions{
		ScanOptions: o, Since: r.since,
		Covered: func(p string) bool { return hide[p] || inKernelDir(p) },
		Made:    func(p string) bool { return r.made[p] },
	})
	if err != nil {
		return nil, err
	}
	return ix, r.clean(ix)
}

// clean removes what Add made and the layer does not have, and what is in the kernel's directories: then the directory is the
// tree with the layer on it.
func (r *Root) clean(ix *index.Index) error {
	root, err := os.OpenRoot(r.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, d := range kernelDirs() {
		entries, err := fs.ReadDir(root.FS(), d)
		if err != nil {
			continue // the command may have removed it
		}
		for _, e := range entries {
			if err := root.RemoveAll(d + "/" + e.Name()); err != nil {
				return fmt.Errorf("empty /%s: %w", d, err)
			}
		}
	}
	for again := true; again; {
		again = false
		for p := range r.made {
			if _, ok := ix.Find(p); ok {
				delete(r.made, p)
			} else if err := KeepTime(root, path.Dir(p), func() error { return root.Remove(p) }); err == nil || errors.Is(err, fs.ErrNotExist) {
				delete(r.made, p)
				again = true // its parent may be empty now
			}
		}
	}
	return nil
}
