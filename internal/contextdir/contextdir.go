// Package contextdir is the build context as COPY sees it: a tree of entries owned by 0:0, without what .dockerignore hides,
// whose files' contents are named by digest.
//
// A Context is a snapshot in effect. What is listed or hashed once is remembered for the rest of the build, and content
// read later is checked against the digest that went into the cache key: a file that was changed in between is a
// ChangedError, never a layer that does not match its key. Digests are remembered across builds in a stat cache.
//
// The context may be hostile: its symbolic links are resolved here, clipped at its root, and files are opened beneath the
// root without following any link, so that a link swapped in while the build runs leads nowhere.
package contextdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/cairnbuild/cairn/internal/resolve"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/opencontainers/go-digest"
)

// File is one file of a source of COPY.
type File struct {
	index.Entry
	// Inode is equal for the names of one hard-linked file and empty for a file with one name. It has a meaning only
	// within one source. The Entry of each such name is a Regular.
	Inode string
}

// ChangedError says that a file's content or type is no longer what it was when the build first looked.
type ChangedError struct {
	// Path is relative to the context's root.
	Path string
}

func (e *ChangedError) Error() string { return fmt.Sprintf("file %q changed during the build", e.Path) }

// Ignorer says what .dockerignore hides; *ignore.Matcher does, also a nil one. Paths are slash separated and relative to the context's root.
type Ignorer interface {
	// Match says whether path is hidden.
	Match(path string, isDir bool) bool
	// MayMatchBelow says whether something below the hidden directory dir may be visible all the same.
	MayMatchBelow(dir string) bool
	// Reason returns the pattern that hides path, for messages.
	Reason(path string) (pattern string, hidden bool)
}

// Options for Open. The zero value works and remembers nothing.
type Options struct {
	// StatCache is the file that remembers digests from build to build; empty for none. It is made when missing, may be
	// shared by many contexts and processes, and its loss costs time only. Its directory must exist.
	StatCache string
	// OnHash, when set, is told how many more bytes of files were read for their digests. It may be called from several
	// goroutines.
	OnHash func(bytes int64)
}

// Context is one build context. Its methods may be called from several goroutines. Close it when the build is over.
type Context struct {
	from   backend
	ignore Ignorer

	mu   sync.Mutex // guards the tree of nodes, not their digests
	root *node
}

// backend is where a context's files are.
type backend interface {
	// list returns what keep lets through of the directory dir.
	list(dir string, keep func(name string, isDir bool) bool) ([]info, error)
	// hash fills the digest, the attributes that only opening the file shows, and refreshes its status.
	hash(ctx context.Context, in *info) error
	// open returns the content that the info's digest names; in was hashed.
	open(in info) (io.ReadCloser, error)
	close() error
}

// info is a file as the backend knows it.
type info struct {
	File
	id      identity
	settled bool // the digest was taken clearly later than the last change: an equal identity means equal content
}

type node struct {
	info
	children []*node // sorted by name, when listed
	listed   bool

	hashing sync.Mutex // held while the digest is being made
	hashed  bool
}

func (n *node) name() string { return index.Base(n.Path) }

// Open makes a context of the directory dir. ig may be nil. Nothing is read until something is asked for.
func Open(dir string, ig Ignorer, o Options) (*Context, error) {
	d, err := openDisk(dir, o)
	if err != nil {
		return nil, fmt.Errorf("open context: %w", err)
	}
	return newContext(d, ig), nil
}

func newContext(b backend, ig Ignorer) *Context {
	root := &node{info: info{File: File{Entry: index.Entry{Path: ".", Type: index.Directory, Mode: 0o755, Offset: -1}}}}
	return &Context{from: b, ignore: ig, root: root}
}

// WithIgnore returns a view of the same files without what ig hides; c stays as it is. Either may be used after it, but
// only one of them is to be closed. It is for contexts that carry their own .dockerignore, such as a tar.
func (c *Context) WithIgnore(ig Ignorer) *Context { return newContext(c.from, ig) }

// Close writes the stat cache and lets the directory go.
func (c *Context) Close() error { return c.from.close() }

// Lookup finds path without following a symbolic link in its last component; the others are followed, clipped at the root.
// A path that is not there, or hidden, is an error for which errors.Is(err, fs.ErrNotExist).
func (c *Context) Lookup(path string) (File, error) {
	_, f, err := c.find(path, false)
	return f, err
}

// Resolve follows every symbolic link of path, clipped at the root, and returns the file that it leads to; the File's Path
// has no links in it. Errors are as for Lookup; a loop is syscall.ELOOP.
func (c *Context) Resolve(_ context.Context, path string) (File, error) {
	return c.whole(path)
}

// ReadDir lists the directory dir, a path without symbolic links, sorted by name.
func (c *Context) ReadDir(_ context.Context, dir string) ([]File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.walkTo(dir, false)
	if err != nil {
		return nil, err
	}
	if n.Type != index.Directory {
		return nil, &fs.PathError{Op: "readdir", Path: dir, Err: syscall.ENOTDIR}
	}
	if err := c.list(n); err != nil {
		return nil, err
	}
	files := make([]File, len(n.children))
	for i, ch := range n.children {
		files[i] = ch.File
	}
	return files, nil
}

// Walk calls fn for dir and everything visible below it in index order, without following links. fn may return fs.SkipDir.
func (c *Context) Walk(ctx context.Context, dir string, fn func(File) error) error {
	f, err := c.Lookup(dir)
	if err != nil {
		return err
	}
	if err := c.walk(ctx, f, fn); err != fs.SkipDir {
		return err
	}
	return nil
}

func (c *Context) walk(ctx context.Context, f File, fn func(File) error) error {
	if err := fn(f); err != nil || f.Type != index.Directory {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	files, err := c.ReadDir(ctx, f.Path)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := c.walk(ctx, f, fn); err != nil && err != fs.SkipDir {
			return err
		}
	}
	return nil
}

// Digest returns the digest of the regular file path, following links, reading it unless it is known.
func (c *Context) Digest(ctx context.Context, path string) (digest.Digest, error) {
	f, err := c.Resolve(ctx, path)
	if err != nil {
		return "", err
	}
	files := []File{f}
	if err := c.Fill(ctx, files); err != nil {
		return "", err
	}
	return files[0].Digest, nil
}

// ReadFile reads the regular file path, following links; more than limit bytes are an error.
func (c *Context) ReadFile(ctx context.Context, path string, limit int64) ([]byte, error) {
	f, err := c.Resolve(ctx, path)
	if err != nil {
		return nil, err
	}
	if f.Type != index.Regular {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	r, err := c.Open(ctx, f.Entry)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("read %q: more than %d bytes", path, limit)
	}
	return data, err
}

// Open returns the content of a regular file that this context returned. The reader gives a *ChangedError instead of
// io.EOF when what it read is not what e.Digest, or the digest first computed, names. The caller closes it.
func (c *Context) Open(ctx context.Context, e index.Entry) (io.ReadCloser, error) {
	n, f, err := c.find(e.Path, false)
	if err != nil {
		return nil, err
	}
	if f.Type != index.Regular {
		return nil, &ChangedError{Path: e.Path}
	}
	in, err := c.hashed(ctx, n)
	if err != nil {
		return nil, err
	}
	if e.Digest != "" && e.Digest != in.Digest {
		return nil, &ChangedError{Path: e.Path}
	}
	return c.from.open(in)
}

// whole follows every link of path.
func (c *Context) whole(path string) (File, error) {
	_, f, err := c.find(path, true)
	return f, err
}

// find walks to path under the lock and returns the node with what it is now.
func (c *Context) find(path string, follow bool) (*node, File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.walkTo(path, follow)
	if err != nil {
		return nil, File{}, err
	}
	return n, n.File, nil
}

// walkTo finds path: links on the way are followed, the last component's only when follow is set. c.mu is held.
func (c *Context) walkTo(path string, follow bool) (*node, error) {
	mode := resolve.NoFollow
	if follow {
		mode = 0
	}
	at, err := resolve.Walk(c.root, path, c.child, mode)
	return at.Node, err
}

// child finds the name at the end of path.
func (c *Context) child(dir *node, path string) (resolve.Found[*node], error) {
	if err := c.list(dir); err != nil {
		return resolve.Found[*node]{}, &fs.PathError{Op: "open", Path: resolve.Shorten(path), Err: err}
	}
	i, ok := slices.BinarySearchFunc(dir.children, index.Base(path), func(n *node, s string) int { return strings.Compare(n.name(), s) })
	if !ok {
		return resolve.Found[*node]{}, nil
	}
	n := dir.children[i]
	return resolve.Found[*node]{Node: n, Kind: kindOf(n.Type), Link: n.Link}, nil
}

func kindOf(t index.Type) resolve.Kind {
	switch t {
	case index.Directory:
		return resolve.Directory
	case index.Symlink:
		return resolve.Symlink
	}
	return resolve.Other
}
