package layer

import (
	"archive/tar"
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/oci/index"
)

// spot is where a content is in an uncompressed tar; i is the caller's number for it.
type spot struct {
	at     int64
	size   int64
	sparse bool // at is where its header starts
	i      int
}

func spotOf(e index.Entry, i int) spot {
	if e.Offset < -1 {
		return spot{at: -2 - e.Offset, size: e.Size, sparse: true, i: i}
	}
	return spot{at: e.Offset, size: e.Size, i: i}
}

// serve reads the tar once and calls fn with each content, in the order of the tar. fn need not read all of it.
func serve(ctx context.Context, r io.Reader, spots []spot, fn func(spot, io.Reader) error) error {
	if len(spots) == 0 {
		return nil
	}
	slices.SortFunc(spots, func(a, b spot) int {
		switch {
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return a.i - b.i
	})
	in := &counter{r: bufio.NewReaderSize(files.Reader(ctx, r), bufferSize)}
	for _, s := range spots {
		if s.at < in.n {
			return fmt.Errorf("two contents at byte %d of the tar", s.at)
		}
		if err := in.skip(s.at); err != nil {
			return fmt.Errorf("skip to byte %d of the tar: %w", s.at, err)
		}
		content, err := contentAt(in, s)
		if err != nil {
			return err
		}
		if err := fn(s, content); err != nil {
			return err
		}
		if s.sparse { // to the end of what the tar has of it
			if _, err := io.Copy(io.Discard, content); err != nil {
				return err
			}
		}
	}
	return nil
}

// contentAt returns the content of the spot, at which r stands.
func contentAt(r io.Reader, s spot) (io.Reader, error) {
	if !s.sparse {
		return &contentReader{r, s.size}, nil
	}
	tr := tar.NewReader(r)
	h, err := tr.Next()
	if err != nil {
		return nil, fmt.Errorf("sparse file at byte %d of the tar: %w", s.at, err)
	}
	if h.Size != s.size {
		return nil, fmt.Errorf("sparse file at byte %d of the tar: size is %d, not %d", s.at, h.Size, s.size)
	}
	return tr, nil
}

// ServeAll calls fn with the content of every wanted entry, in one pass over the layer's uncompressed tar and in its order;
// entries without content come first. A wanted Hardlink is served with its inode's content; when several names of one inode
// are wanted fn is called with the first of them only. fn need not read to the end. An entry whose content is not in the tar
// is an error before anything is read.
func ServeAll(ctx context.Context, ix *index.Index, wanted []index.Entry, tar io.Reader, fn func(index.Entry, io.Reader) error) error {
	var spots []spot
	var empty []int
	seen := make(map[int64]bool)
	for i, e := range wanted {
		file, err := inodeOf(ix, e)
		switch {
		case err != nil:
			return err
		case file.Size == 0:
			empty = append(empty, i)
		case file.Offset == -1:
			return fmt.Errorf("%q: its content is not in the layer's tar", e.Path)
		case !seen[file.Offset]:
			seen[file.Offset] = true
			spots = append(spots, spotOf(file, i))
		}
	}
	for _, i := range empty {
		if err := fn(wanted[i], &contentReader{}); err != nil {
			return err
		}
	}
	return serve(ctx, tar, spots, func(s spot, r io.Reader) error { return fn(wanted[s.i], r) })
}

// inodeOf returns the Regular that e is, or is a further name of.
func inodeOf(ix *index.Index, e index.Entry) (index.Entry, error) {
	if e.Type == index.Hardlink {
		at, ok := ix.Find(e.Link)
		if !ok {
			return e, fmt.Errorf("%q: its inode is not in the layer", e.Path)
		}
		path := e.Path
		if e = ix.At(at); e.Type == index.Regular {
			return e, nil
		}
		e.Path = path
	}
	if e.Type != index.Regular {
		return e, fmt.Errorf("%q is no file", e.Path)
	}
	return e, nil
}
