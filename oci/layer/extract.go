package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/oci/index"
)

// Extract makes the directory form of a strict index in dir, an empty directory, with the content that the uncompressed tar
// has at the entries' Offsets. It reads the tar once, no further than the last content, and not at all where no file has any.
// o.Dir and o.Digests are not used.
func Extract(ctx context.Context, ix *index.Index, tar io.Reader, dir string, o ReadOptions) error {
	if ix.Loose() {
		return ErrLoose
	}
	o.Dir = dir
	d, err := newDisk(o)
	if err != nil {
		return err
	}
	defer d.close()
	x := &extraction{ix: ix, disk: d, inherited: o.Inherited}
	for _, pass := range []func(context.Context) error{
		x.skeleton,
		func(ctx context.Context) error { return serve(ctx, tar, x.spots, x.file) },
		x.links,
		func(context.Context) error { return d.finishAll(ix) },
	} {
		if err := pass(ctx); err != nil {
			return fmt.Errorf("extract layer: %w", err)
		}
	}
	return nil
}

type extraction struct {
	ix        *index.Index
	disk      *disk
	inherited Source
	spots     []spot
	further   []int // the Hardlinks
}

// skeleton makes all that needs no content from the tar.
func (x *extraction) skeleton(ctx context.Context) error {
	for i := range x.ix.Len() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := x.bones(ctx, i); err != nil {
			return fmt.Errorf("%q: %w", x.ix.PathAt(i), err)
		}
	}
	return nil
}

func (x *extraction) bones(ctx context.Context, i int) error {
	switch x.ix.TypeAt(i) {
	case index.Directory:
		if path := x.ix.PathAt(i); path != "." {
			return x.disk.mkdir(path)
		}
		return nil
	case index.Hardlink:
		x.further = append(x.further, i)
		return nil
	case index.Whiteout:
		return nil // finishAll makes them
	case index.Regular:
		e := x.ix.At(i)
		switch {
		case e.Size == 0:
			return x.disk.file(e, nil)
		case e.Offset == -1:
			return x.inherit(ctx, e)
		}
		x.spots = append(x.spots, spotOf(e, i))
		return nil
	}
	return x.disk.special(x.ix.At(i))
}

// inherit takes the content of a file from below.
func (x *extraction) inherit(ctx context.Context, e index.Entry) error {
	if x.inherited == nil {
		return errors.New("its content is not in the layer's tar")
	}
	r, err := x.inherited.Open(ctx, e)
	if err != nil {
		return err
	}
	defer r.Close()
	if f, ok := r.(*os.File); ok {
		return x.disk.fileFrom(e, f, files.Reader(ctx, r))
	}
	return x.disk.file(e, files.Reader(ctx, r))
}

func (x *extraction) file(s spot, r io.Reader) error {
	e := x.ix.At(s.i)
	if err := x.disk.file(e, r); err != nil {
		return fmt.Errorf("%q: %w", e.Path, err)
	}
	return nil
}

func (x *extraction) links(ctx context.Context) error {
	for _, i := range x.further {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := x.ix.At(i)
		if err := x.disk.link(e.Path, e.Link); err != nil {
			return fmt.Errorf("%q: %w", e.Path, err)
		}
	}
	return nil
}

// finishAll makes the whiteouts and gives the directories their attributes, the innermost first: then nothing has to be
// reached through a directory that may be closed already, and no mtime changes any more.
func (d *disk) finishAll(ix *index.Index) error {
	whiteouts := make(map[string]bool) // directories that have some
	root := index.Entry{Path: ".", Type: index.Directory, Mode: 0o755}
	for i := ix.Len() - 1; i >= 0; i-- {
		var err error
		switch ix.TypeAt(i) {
		case index.Whiteout:
			e := ix.At(i)
			whiteouts[index.Parent(e.Path)] = true
			err = d.special(e)
		case index.Directory:
			e := ix.At(i)
			if e.Path == "." {
				root = e
				continue
			}
			err = d.finish(e, whiteouts[e.Path])
			delete(whiteouts, e.Path)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", ix.PathAt(i), err)
		}
	}
	d.forget()
	if err := d.finish(root, whiteouts["."]); err != nil {
		return fmt.Errorf("the layer's root: %w", err)
	}
	return nil
}
