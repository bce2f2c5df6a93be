package layer

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/oci/index"
)

// Names of the tar form, all with the prefix of a whiteout.
const (
	opaqueName = index.WhiteoutPrefix + index.WhiteoutPrefix + ".opq"
	metaPrefix = index.WhiteoutPrefix + index.WhiteoutPrefix // what aufs kept for itself
)

// Read reads an uncompressed tar to its end marker and returns its index, with the Offset of every file. In the same pass it
// makes the directory form when o.Dir is set. What follows the end marker is left, in part, in
// r. ErrLoose comes with an index; every other error says which entry it is about. How much it may read and write is the
// caller's to bound, through r and ctx.
func Read(ctx context.Context, r io.Reader, o ReadOptions) (*index.Index, error) {
	return readWithin(ctx, r, o, maxMetadata)
}

// readWithin is Read with a limit of the memory for names and attributes, in bytes.
func readWithin(ctx context.Context, r io.Reader, o ReadOptions, limit int64) (*index.Index, error) {
	in := &counter{r: bufio.NewReaderSize(r, bufferSize)}
	rd := &reader{in: in, tar: tar.NewReader(in), root: newDirNode(), budget: budget{limit: limit}, buf: make([]byte, bufferSize)}
	if o.Dir != "" {
		d, err := newDisk(o)
		if err != nil {
			return nil, err
		}
		defer d.close()
		rd.disk = d
	}
	if err := rd.all(ctx); err != nil {
		return nil, fmt.Errorf("read layer: %w", err)
	}
	b := index.NewBuilder()
	if err := rd.root.entries(b); err != nil {
		return nil, fmt.Errorf("read layer: %w", err)
	}
	ix, err := b.Build()
	if err != nil {
		return nil, fmt.Errorf("read layer: %w", err)
	}
	if o.Dir == "" {
		return ix, nil
	}
	if rd.disk == nil || ix.Loose() {
		return ix, ErrLoose
	}
	if err := rd.disk.finishAll(ix); err != nil {
		return nil, fmt.Errorf("finish layer directory: %w", err)
	}
	return ix, nil
}

// reader is the state of one Read.
type reader struct {
	in     *counter
	tar    *tar.Reader
	root   *node
	disk   *disk // nil when no directory is wanted, or can be made
	budget budget
	buf    []byte
}

func (rd *reader) all(ctx context.Context) error {
	next := int64(0) // where the next header starts
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := rd.tar.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // names are ours to judge
			return fmt.Errorf("tar at byte %d: %w", next, err)
		}
		header, content := next, rd.in.n
		if err := rd.entry(ctx, h, header); err != nil {
			return err
		}
		next = block(max(rd.in.n, content+physicalSize(h)))
	}
}

// entry takes in one entry of the tar; header is where its first header starts.
func (rd *reader) entry(ctx context.Context, h *tar.Header, header int64) error {
	if h.Typeflag == tar.TypeXGlobalHeader || h.Typeflag == 'V' { // comments and volume labels
		return nil
	}
	e, err := entryOf(h)
	if err != nil {
		return err
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	if err := rd.budget.take(textSize(name, e)); err != nil {
		return err
	}
	if name == "." {
		return rd.rootEntry(e)
	}
	base := index.Base(name)
	if strings.HasPrefix(base, index.WhiteoutPrefix) {
		return rd.whiteout(name, base)
	}
	at, err := rd.find(name, rd.imply)
	if err != nil {
		return err
	}
	if err := index.CheckPath(at.path); err != nil {
		return err
	}
	e.Path = at.path
	switch e.Type {
	case index.Directory:
		return rd.directory(at, e)
	case index.Hardlink:
		return rd.hardlink(at, h.Linkname)
	case index.Regular:
		e.Offset = rd.in.n
		if isSparse(h) {
			e.Offset = -2 - header
		}
		return rd.file(ctx, at, e)
	}
	return rd.special(at, e)
}

// imply makes a directory that the tar has not named (yet). Over a whiteout it is a new one.
func (rd *reader) imply(dir *node, path string) (*node, error) {
	if err := index.CheckPath(path); err != nil {
		return nil, err
	}
	if err := rd.budget.take(len(path)); err != nil {
		return nil, err
	}
	kid, base := newDirNode(), index.Base(path)
	if dir.kids[base] != nil { // a whiteout
		kid.anew()
	}
	dir.kids[base] = kid
	return kid, rd.onDisk(func(d *disk) error { return d.mkdir(path) })
}

func (rd *reader) onDisk(f func(*disk) error) error {
	if rd.disk == nil {
		return nil
	}
	return f(rd.disk)
}

func (rd *reader) rootEntry(e index.Entry) error {
	if e.Type != index.Directory {
		return errors.New("the root is no directory")
	}
	e.Opaque = rd.root.e.Opaque
	rd.root.e = e
	return nil
}

// clear removes what an earlier entry put at the place: the last one counts.
func (rd *reader) clear(at place) error {
	old := at.child()
	if old == nil {
		return nil
	}
	delete(at.dir.kids, at.base)
	if old.e.Type == index.Whiteout { // not on the disk before the end
		return nil
	}
	return rd.onDisk(func(d *disk) error { return d.remove(at.path) })
}

func (rd *reader) directory(at place, e index.Entry) error {
	old := at.child()
	if old != nil && old.isDir() {
		e.Opaque = old.e.Opaque
		old.e = e
		return nil
	}
	e.Opaque = old != nil // a whiteout, or a file that took the place of what the layers below have
	if err := rd.clear(at); err != nil {
		return err
	}
	at.dir.kids[at.base] = &node{e: e, kids: make(map[string]*node)}
	return rd.onDisk(func(d *disk) error { return d.mkdir(at.path) })
}

func (rd *reader) special(at place, e index.Entry) error {
	if err := rd.clear(at); err != nil {
		return err
	}
	at.dir.kids[at.base] = &node{e: e}
	return rd.onDisk(func(d *disk) error { return d.special(e) })
}

func (rd *reader) hardlink(at place, target string) error {
	target, err := cleanName(target)
	if err != nil {
		return err
	}
	to, err := rd.find(target, nil)
	if err != nil {
		return err
	}
	inode := to.child()
	switch {
	case inode != nil && inode == at.child():
		return nil
	case inode != nil && inode.isDir():
		return fmt.Errorf("%q: hard link to directory %q", at.path, target)
	}
	if err := rd.clear(at); err != nil {
		return err
	}
	if inode == nil || inode.e.Type == index.Whiteout || inode.e.Type == index.Hardlink { // it is in a layer below, or comes later
		link := to.path
		if inode != nil && inode.e.Type == index.Hardlink {
			link = inode.e.Link
		}
		at.dir.kids[at.base] = &node{e: index.Entry{Type: index.Hardlink, Link: link}}
		if rd.disk != nil {
			rd.disk.close()
			rd.disk = nil
		}
		return nil
	}
	inode.used = true
	at.dir.kids[at.base] = inode
	return rd.onDisk(func(d *disk) error { return d.link(at.path, to.path) })
}

func (rd *reader) file(ctx context.Context, at place, e index.Entry) error {
	if err := rd.clear(at); err != nil {
		return err
	}
	n := &node{e: e}
	at.dir.kids[at.base] = n
	var content io.Reader = files.Reader(ctx, rd.tar)
	var data strings.Builder
	keep := keepsData(e.Path, e.Size)
	if keep {
		content = io.TeeReader(content, &data)
	}
	var err error
	switch {
	case rd.disk != nil:
		err = rd.disk.file(e, content)
	case keep || e.Offset < -1: // a sparse file is read to find its end
		_, err = io.CopyBuffer(io.Discard, content, rd.buf)
	}
	if err != nil {
		return fmt.Errorf("%q: %w", e.Path, err)
	}
	if keep {
		n.e.Data = []byte(data.String())
	}
	if rd.disk != nil && e.Offset < -1 { // up to the end of the tar's own data
		_, err = io.Copy(io.Discard, rd.tar)
	}
	return err
}

// whiteout takes in an entry whose name starts with .wh. It acts on the layers below only, wherever it stands in the tar.
func (rd *reader) whiteout(name, base string) error {
	hidden := strings.TrimPrefix(base, index.WhiteoutPrefix)
	if base != opaqueName && strings.HasPrefix(base, metaPrefix) {
		return nil
	}
	if hidden == "" || hidden == "." || hidden == ".." {
		return &index.NameError{Path: name, Why: "is no whiteout of anything"}
	}
	at, err := rd.find(name, rd.imply)
	if err != nil {
		return err
	}
	if base == opaqueName {
		at.dir.e.Opaque = true
		return nil
	}
	at.path = index.Join(index.Parent(at.path), hidden)
	at.base = hidden
	if err := index.CheckPath(at.path); err != nil {
		return err
	}
	switch old := at.child(); {
	case old == nil:
		at.dir.kids[hidden] = &node{e: index.Entry{Type: index.Whiteout}}
	case old.e.Type == index.Implied:
		old.anew()
	case old.isDir():
		old.e.Opaque = true
	}
	return nil
}
