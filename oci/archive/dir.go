package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/oci"
)

// ReadDir reads an OCI image layout directory as Read does an archive. Blobs that no image of its index.json refers to are left
// alone, and links that lead out of dir are not followed.
func ReadDir(ctx context.Context, dir string, sink oci.BlobSink) ([]oci.Named, error) {
	named, err := readDir(ctx, dir, sink)
	if err != nil {
		return nil, fmt.Errorf("read layout %s: %w", dir, err)
	}
	return named, nil
}

func readDir(ctx context.Context, dir string, sink oci.BlobSink) (_ []oci.Named, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	f, err := openRegular(root, ispec.ImageIndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotArchive
	}
	if err != nil {
		return nil, err
	}
	data, err := readLimited(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	d := &directory{root: root, sink: sink, made: map[digest.Digest]bool{}}
	named, err := fromIndex(ctx, d, data)
	if err != nil {
		return nil, err
	}
	for _, n := range named {
		if err := d.copyTree(ctx, n.Descriptor); err != nil {
			return nil, err
		}
	}
	return named, nil
}

// openRegular opens a file of the layout. A FIFO or device in its place would block, or act.
func openRegular(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// directory is an OCI layout in a directory, with the blobs that were made while reading it.
type directory struct {
	root *os.Root
	sink oci.BlobSink
	mem  oci.Memory
	made map[digest.Digest]bool // in mem and in sink, or copied
}

// OpenBlob implements oci.BlobSource.
func (d *directory) OpenBlob(ctx context.Context, desc ispec.Descriptor) (io.ReadCloser, error) {
	if rc, err := d.mem.OpenBlob(ctx, desc); err == nil {
		return rc, nil
	}
	f, err := openRegular(d.root, blobName(desc.Digest))
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{oci.VerifyReader(f, desc), f}, nil
}

// PutBlob implements oci.BlobSink for a narrowed index.
func (d *directory) PutBlob(ctx context.Context, want digest.Digest, r io.Reader) (ispec.Descriptor, error) {
	return d.mem.PutBlob(ctx, want, r)
}

func (d *directory) size(dig digest.Digest) (int64, bool) {
	info, err := d.root.Stat(blobName(dig))
	if err != nil || !info.Mode().IsRegular() {
		return 0, false
	}
	return info.Size(), true
}

// copyTree puts a blob and all that it refers to into the sink, children first.
func (d *directory) copyTree(ctx context.Context, desc ispec.Descriptor) error {
	if d.made[desc.Digest] {
		return nil
	}
	d.made[desc.Digest] = true
	children, err := oci.Children(ctx, d, desc)
	if err != nil {
		return err
	}
	for _, c := range children {
		if err := d.copyTree(ctx, c); err != nil {
			return err
		}
	}
	rc, err := d.OpenBlob(ctx, desc)
	if err != nil {
		return err
	}
	_, err = d.sink.PutBlob(ctx, desc.Digest, files.Reader(ctx, rc))
	return errors.Join(err, rc.Close())
}
