package layout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/oci"
)

// linker is a source whose blobs are files that may get a second name.
type linker interface {
	LinkBlob(desc ispec.Descriptor, name string) error
}

// CopyBlob brings a blob here from src: by a hard link where src has it in a file of this file system, else as PutBlob does. It takes
// the place of one that is here.
func (l *Layout) CopyBlob(ctx context.Context, src oci.BlobSource, desc ispec.Descriptor) error {
	if s, ok := src.(linker); ok && l.link(s, desc) == nil {
		return nil
	}
	r, err := src.OpenBlob(ctx, desc)
	if err != nil {
		return fmt.Errorf("open blob %s: %w", desc.Digest, err)
	}
	_, err = l.PutBlob(ctx, desc.Digest, r)
	return errors.Join(err, r.Close())
}

func (l *Layout) link(src linker, desc ispec.Descriptor) error {
	path := l.BlobPath(desc.Digest)
	if path == "" {
		return os.ErrInvalid
	}
	temp := filepath.Join(l.tempDir(), files.TempPrefix+files.RandomName())
	if err := src.LinkBlob(desc, temp); err != nil {
		return err
	}
	defer os.Remove(temp) // a rename onto the same file does nothing
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return files.SyncDir(filepath.Dir(path))
}
