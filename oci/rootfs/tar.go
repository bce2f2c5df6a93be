package rootfs

import (
	"archive/tar"
	"context"
	"fmt"
	"io"

	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
)

// WriteTar writes the merged file system of t to w as one tar: every entry but the root itself, in index order, with owners,
// modes, times, devices and extended attributes; further names of a file as hard links. The same tree gives the same bytes.
func WriteTar(ctx context.Context, w io.Writer, t *tree.Tree, open Opener) error {
	tw := &tarWriter{tw: tar.NewWriter(w), open: open}
	if err := write(ctx, t, tw); err != nil {
		return fmt.Errorf("write tar of file system: %w", err)
	}
	if err := tw.tw.Close(); err != nil {
		return fmt.Errorf("write tar of file system: %w", err)
	}
	return nil
}

type tarWriter struct {
	tw   *tar.Writer
	open Opener
}

func (t *tarWriter) entry(ctx context.Context, n tree.Node) error {
	hdr, err := header(n)
	if err != nil {
		return err
	}
	if err := t.tw.WriteHeader(hdr); err != nil {
		return fmt.Errorf("write %s: %w", n.Path, err)
	}
	if n.Type != index.Regular || n.Size == 0 {
		return nil
	}
	return copyContent(ctx, t.tw, n, t.open)
}

func (t *tarWriter) link(n tree.Node, first string) error {
	hdr, err := header(n)
	if err != nil {
		return err
	}
	hdr.Typeflag, hdr.Linkname, hdr.Size, hdr.PAXRecords = tar.TypeLink, first, 0, nil
	hdr.Devmajor, hdr.Devminor = 0, 0
	if err := t.tw.WriteHeader(hdr); err != nil {
		return fmt.Errorf("write %s: %w", n.Path, err)
	}
	return nil
}

// header leaves the choice of format to archive/tar: ustar as far as it goes, PAX where it must.
func header(n tree.Node) (*tar.Header, error) {
	hdr := &tar.Header{Name: n.Path, Mode: int64(n.Mode), Uid: n.UID, Gid: n.GID, ModTime: n.MTime}
	switch n.Type {
	case index.Regular:
		hdr.Typeflag, hdr.Size = tar.TypeReg, n.Size
	case index.Directory:
		hdr.Typeflag, hdr.Name = tar.TypeDir, n.Path+"/"
	case index.Symlink:
		hdr.Typeflag, hdr.Linkname = tar.TypeSymlink, n.Link
	case index.CharDevice, index.BlockDevice:
		hdr.Typeflag, hdr.Devmajor, hdr.Devminor = tar.TypeChar, int64(n.Major), int64(n.Minor)
		if n.Type == index.BlockDevice {
			hdr.Typeflag = tar.TypeBlock
		}
	case index.FIFO:
		hdr.Typeflag = tar.TypeFifo
	default:
		return nil, fmt.Errorf("write %s: a tree has no %v", n.Path, n.Type)
	}
	for name, value := range n.Xattrs {
		if hdr.PAXRecords == nil {
			hdr.PAXRecords = map[string]string{}
		}
		hdr.PAXRecords["SCHILY.xattr."+name] = value
	}
	return hdr, nil
}
