// Package copier is COPY, ADD of local files, and WORKDIR as functions of pure data: sources and the tree below give the entries
// of a new layer. Names are resolved in the tree of indexes and no root file system is ever touched, so there is no link to
// be tricked by, no race, and no privilege needed. Where the contents of the new layer's files come from is part of the
// result; they are read later, by whoever packs or extracts the layer.
//
// The meaning is that of BuildKit v0.34: what a source names, where it lands, what happens to owners, modes and existing
// directories. The differences are few, and each says so where it is made.
package copier

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/cairnbuild/cairn/internal/contextdir"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
)

// File is one file of a Source.
type File = contextdir.File

// Source is a file system to copy from. *contextdir.Context is one, and so are *Stage and *Inline. Methods may be called from
// several goroutines.
type Source interface {
	// Resolve finds path, following every symbolic link, clipped at the root. The File's Path has no links in it. What is
	// not there is an error for which errors.Is(err, fs.ErrNotExist).
	Resolve(ctx context.Context, path string) (File, error)
	// ReadDir lists the directory dir, a path without links, sorted by name, without following links.
	ReadDir(ctx context.Context, dir string) ([]File, error)
	// Fill completes the regular files among files in place: digest, and what else only their content shows.
	Fill(ctx context.Context, files []File) error
	// Open returns the content of a regular file; the entry is one that this Source returned. The caller closes it.
	Open(ctx context.Context, e index.Entry) (io.ReadCloser, error)
}

// Item is one source of a COPY or ADD.
type Item struct {
	// Pattern is a path or wildcard in the source, as written and expanded.
	Pattern string
	// From takes the place of Request.From for this item: a checkout of a git source, a downloaded file, heredocs.
	From Source
	// Literal says that Pattern is a plain name, not a wildcard, and that Request.Parents does not concern it.
	Literal bool
	// Unpack says that a file which is a tar is unpacked (ADD of a local file, or with --unpack).
	Unpack bool
}

// Request is one COPY or ADD, every string expanded.
type Request struct {
	Sources []Item
	// From is what the items copy from that have no From of their own.
	From Source
	// Dest is the destination as written; a relative one is joined to Workdir. Whether it ends in a slash matters.
	Dest    string
	Workdir string
	// Chown is the owner of everything that is made, as --chown names it: user[:group], by name or number. Names are looked
	// up in the tree below, but not with Link. Empty keeps the owners of the source.
	Chown string
	// Chmod is an octal or symbolic mode for everything that is made, or empty. It does not concern unpacked archives.
	Chmod string
	// Link builds the layer over an empty tree.
	Link bool
	// Parents keeps the path of a source below the destination, from its "/./" on.
	Parents bool
	// Exclude are patterns, as in .dockerignore, of what to leave out, relative to each source directory.
	Exclude []string
	// Epoch, if set, is the latest time that an entry may have.
	Epoch *time.Time
	// Now is the time of directories that are made on the way; the zero value means time.Now.
	Now time.Time
	// TempDir makes the directory in which the contents of archives are kept until Result.Close. It is asked once for each
	// archive that is unpacked, and may be nil where no item has Unpack.
	TempDir func() (string, error)
}

// Result is a new layer.
type Result struct {
	// Index is strict and complete: every file has its digest.
	Index *index.Index
	// Warnings are remarks for the person who builds.
	Warnings []string
	contents contents
	close    []io.Closer
}

// Open returns the content of a regular file of Index; it makes a Result a layer.Source. Content that is no longer what the
// digest says ends in an error (*contextdir.ChangedError when the context changed). May be called from several goroutines.
func (r *Result) Open(ctx context.Context, e index.Entry) (io.ReadCloser, error) {
	return r.contents.open(ctx, e)
}

// Close frees what unpacked archives took in TempDir; Open must not be called after it.
func (r *Result) Close() error {
	var first error
	for _, c := range r.close {
		if err := c.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Apply computes the layer that g adds to below (nil is an empty tree). With Link, below is looked at for warnings only.
// Errors: *PlaceError where a source cannot go to its destination, *index.NameError for a file whose name no layer can have,
// *contextdir.ChangedError, and *OptionError for a bad Chown or Chmod. It may be called more than once.
func (g *Gathered) Apply(ctx context.Context, below *tree.Tree) (_ *Result, err error) {
	p, err := newPlacer(orEmpty(below), &g.request)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.result.Close()
		}
	}()
	for i := range g.found {
		if err := p.placeAll(ctx, &g.found[i]); err != nil {
			return nil, err
		}
	}
	p.warn()
	if p.result.Index, err = p.b.Index(); err != nil {
		return nil, fmt.Errorf("build layer: %w", err)
	}
	return p.result, nil
}

// Workdir returns the layer of WORKDIR dir: the missing directories of it, 0755, owned by user, as USER names it (empty is
// root), over the tree below; an empty index where it is there. Links on the way are followed. mtime is that of what is made.
func Workdir(below *tree.Tree, dir, user string, mtime time.Time) (*index.Index, error) {
	below = orEmpty(below)
	owner := Owner{}
	if user != "" {
		var err error
		if owner, err = resolveOwner(below, "USER", user); err != nil {
			return nil, err
		}
	}
	b := tree.NewBuilder(below)
	real, _, err := b.ResolveNew(strings.TrimPrefix(path.Clean("/"+dir), "/"))
	if err != nil {
		return nil, placeError(dir, err)
	}
	if _, err := b.MkdirAll(real, 0o755, owner.UID, owner.GID, mtime.UTC().Truncate(time.Second)); err != nil {
		return nil, placeError(dir, err)
	}
	return b.Index()
}

func orEmpty(t *tree.Tree) *tree.Tree {
	if t == nil {
		return tree.New()
	}
	return t
}

// contents knows for each file of the new layer where its bytes are.
type contents map[string]content

// content is a file's content: the entry is the one in the source.
type content struct {
	from  opener
	entry *index.Entry
}

type opener interface {
	Open(ctx context.Context, e index.Entry) (io.ReadCloser, error)
}

func (c contents) open(ctx context.Context, e index.Entry) (io.ReadCloser, error) {
	at, ok := c[e.Path]
	if !ok {
		return nil, fmt.Errorf("no content for %q", e.Path)
	}
	return at.from.Open(ctx, *at.entry)
}
