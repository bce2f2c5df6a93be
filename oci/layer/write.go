package layer

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cairnbuild/cairn/oci/index"
)

// WriteTar writes the uncompressed tar of a strict index and returns the index with all Digests, Offsets and Data. Equal
// indexes and contents give equal bytes: entries in index order, whole seconds, no names of users, PAX only where an entry
// needs it. A content that has not its entry's size, or a digest other than the one that the entry has already, is a
// *ChangedError.
func WriteTar(ctx context.Context, w io.Writer, ix *index.Index, src Source) (*index.Index, error) {
	if ix.Loose() {
		return nil, ErrLoose
	}
	buffered := bufio.NewWriterSize(w, 64<<10)
	out := &countingWriter{w: buffered}
	tw := &tarWriter{ix: ix, src: src, out: out, tar: tar.NewWriter(out)}
	b := index.NewBuilder()
	for e := range ix.Entries() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := tw.entry(ctx, &e); err != nil {
			return nil, fmt.Errorf("write %q: %w", e.Path, err)
		}
		if err := b.Add(e); err != nil {
			return nil, err
		}
	}
	if err := tw.tar.Close(); err != nil {
		return nil, fmt.Errorf("end tar: %w", err)
	}
	if err := buffered.Flush(); err != nil {
		return nil, fmt.Errorf("end tar: %w", err)
	}
	return b.Build()
}

type tarWriter struct {
	ix  *index.Index
	src Source
	out *countingWriter
	tar *tar.Writer
	buf []byte // made for the first content
}

// entry writes e, and fills in what becomes known.
func (t *tarWriter) entry(ctx context.Context, e *index.Entry) error {
	h, err := t.header(*e)
	if err != nil {
		return err
	}
	if err := t.tar.WriteHeader(h); err != nil {
		return err
	}
	if e.Opaque {
		return t.tar.WriteHeader(whiteoutHeader(index.Join(e.Path, opaqueName)))
	}
	if e.Type != index.Regular {
		return nil
	}
	e.Offset = t.out.n
	if t.buf == nil {
		t.buf = make([]byte, bufferSize)
	}
	return readContent(ctx, e, t.src, t.tar, t.buf)
}

// header returns the tar header of an entry. A Hardlink has its inode's attributes, as tar(1) writes it.
func (t *tarWriter) header(e index.Entry) (*tar.Header, error) {
	switch e.Type {
	case index.Whiteout:
		return whiteoutHeader(index.Join(index.Parent(e.Path), index.WhiteoutPrefix+index.Base(e.Path))), nil
	case index.Hardlink:
		i, ok := t.ix.Find(e.Link)
		if !ok {
			return nil, errors.New("its inode is not in the layer")
		}
		h := attributesHeader(t.ix.At(i))
		h.Typeflag, h.Name, h.Linkname = tar.TypeLink, e.Path, e.Link
		h.PAXRecords, h.Size, h.Devmajor, h.Devminor = nil, 0, 0, 0
		return h, nil
	}
	h := attributesHeader(e)
	h.Name = e.Path
	switch e.Type {
	case index.Regular:
		h.Typeflag = tar.TypeReg
	case index.Directory:
		h.Typeflag = tar.TypeDir
		h.Name += "/"
	case index.Symlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Link
	case index.CharDevice:
		h.Typeflag = tar.TypeChar
	case index.BlockDevice:
		h.Typeflag = tar.TypeBlock
	case index.FIFO:
		h.Typeflag = tar.TypeFifo
	default:
		return nil, fmt.Errorf("no tar entry for type %v", e.Type)
	}
	return h, nil
}

func attributesHeader(e index.Entry) *tar.Header {
	h := &tar.Header{
		Mode: int64(e.Mode), Uid: e.UID, Gid: e.GID, Size: e.Size, ModTime: e.MTime,
		Devmajor: int64(e.Major), Devminor: int64(e.Minor),
	}
	if len(e.Xattrs) > 0 {
		h.PAXRecords = make(map[string]string, len(e.Xattrs))
		for name, value := range e.Xattrs {
			h.PAXRecords[paxXattr+name] = value
		}
	}
	return h
}

func whiteoutHeader(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, ModTime: time.Unix(0, 0)}
}

// readContent copies e's content from src to w and fills in e.Digest and e.Data.
func readContent(ctx context.Context, e *index.Entry, src Source, w io.Writer, buf []byte) (err error) {
	sum := sha256.New()
	var data []byte
	if e.Size > 0 {
		r, err := src.Open(ctx, *e)
		if err != nil {
			return err
		}
		defer r.Close()
		if data, err = copyContent(ctx, *e, r, io.MultiWriter(w, sum), buf); err != nil {
			return err
		}
	} else if keepsData(e.Path, 0) {
		data = []byte{}
	}
	return settle(e, sum, data)
}

func settle(e *index.Entry, sum hash.Hash, data []byte) error {
	got := digest.NewDigest(digest.SHA256, sum)
	if e.Digest != "" && e.Digest.Algorithm() == digest.SHA256 && e.Digest != got {
		return &ChangedError{e.Path}
	}
	if e.Digest == "" {
		e.Digest = got
	}
	if data != nil {
		e.Data = data
	}
	return nil
}

// copyContent copies exactly e.Size bytes, and keeps them when they are to be kept.
func copyContent(ctx context.Context, e index.Entry, r io.Reader, w io.Writer, buf []byte) (data []byte, err error) {
	keep := keepsData(e.Path, e.Size)
	left := e.Size
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := r.Read(buf)
		if int64(n) > left {
			return nil, &ChangedError{e.Path}
		}
		left -= int64(n)
		if _, err := w.Write(buf[:n]); err != nil {
			return nil, err
		}
		if keep {
			data = append(data, buf[:n]...)
		}
		switch {
		case err == io.EOF && left > 0:
			return nil, &ChangedError{e.Path}
		case err == io.EOF:
			return data, nil
		case err != nil:
			return nil, err
		}
	}
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
