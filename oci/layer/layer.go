// Package layer turns the three forms of a layer into each other: the blob's uncompressed tar, the directory in overlay form,
// and the index. It packs (diffID and digest in one pass), unpacks, and reads what a RUN left in an overlay's upper
// directory. Everything streams: memory depends on the number of entries, never on their content.
//
// The tar form is that of the OCI image specification v1.1 (layer.md); the overlay form that of the kernel's overlayfs
// mounted with userxattr: a whiteout is a character device 0:0, an opaque directory has user.overlay.opaque=y, and an
// attribute of the image that looks like overlayfs's own has one more "overlay." in its name.
//
// Tars come from anywhere and are not trusted: Read keeps in memory what it made and touches only that, so no name, link or
// sequence of entries leads out of the directory.
package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/oci/index"
)

// Source gives the content of a layer's files.
type Source interface {
	// Open returns the content of e, a Regular entry of the layer. The caller closes it. It may be called from several
	// goroutines.
	Open(ctx context.Context, e index.Entry) (io.ReadCloser, error)
}

// Below tells what the layers below a directory have: a tree.Tree behind an adapter.
type Below interface {
	// ReadDir lists the directory at path without following links; nothing when there is no directory. A further name of
	// an inode comes with the inode's Type.
	ReadDir(path string) []index.Entry
}

// ReadOptions say what Read and Extract make beside the index. The zero value makes nothing.
type ReadOptions struct {
	// Dir, an empty directory that nobody else uses, becomes the layer's directory form.
	Dir string
	// Owners is how Dir holds owners. Table receives what Dir's files cannot record; it may be nil for Chown.
	Owners owners.Mode
	Table  *owners.Table
	// Inherited has the content of files that a normalised layer links to in a layer below (Extract only).
	Inherited Source
}

// ScanOptions are those of Scan.
type ScanOptions struct {
	// Below are the layers that the directory lies on. Nil says that the directory is a layer's own form, to be read as it
	// is; otherwise it is what a RUN left, to be reduced to what changed.
	Below Below
	// Epoch is the latest mtime that the layer may have (SOURCE_DATE_EPOCH); nil for no limit.
	Epoch *time.Time
	// Owners and Table are as in ReadOptions.
	Owners owners.Mode
	Table  *owners.Table
}

// ErrLoose is Read's error for a tar whose directory form depends on the layers below. The index that comes with it is right;
// the directory is incomplete, to be removed. The way on is tree.Normalise and Extract.
var ErrLoose = errors.New("the layer's directory depends on the layers below")

// ChangedError says that a file's content is not what its entry says: not its size, or not its digest.
type ChangedError struct{ Path string }

func (e *ChangedError) Error() string { return fmt.Sprintf("%q changed", e.Path) }

// OwnerError says that a file's owner has no id in this user namespace.
type OwnerError struct {
	Path     string
	UID, GID int
	Err      error
}

func (e *OwnerError) Error() string {
	return fmt.Sprintf("%q belongs to %d:%d, which has no id in this user namespace", e.Path, e.UID, e.GID)
}

// Unwrap returns what the kernel said.
func (e *OwnerError) Unwrap() error { return e.Err }

// keepsData reports whether an entry's content goes into its Data. The backups are in because tars made from a live system
// may have the file as a hard link to one.
func keepsData(path string, size int64) bool {
	switch path {
	case "etc/passwd", "etc/group", "etc/passwd-", "etc/group-":
		return size <= maxData
	}
	return false
}

const maxData = 1 << 20

// bufferSize is that of one read or write of content.
const bufferSize = 256 << 10

// contentReader reads exactly n bytes; fewer are io.ErrUnexpectedEOF.
type contentReader struct {
	r io.Reader
	n int64
}

func (c *contentReader) Read(p []byte) (int, error) {
	if c.n <= 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > c.n {
		p = p[:c.n]
	}
	n, err := c.r.Read(p)
	c.n -= int64(n)
	if err == io.EOF && c.n > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// counter counts what is read through it.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// skip moves c to position to, which must not lie behind it.
func (c *counter) skip(to int64) error {
	n, err := io.CopyN(io.Discard, c, to-c.n)
	if err == io.EOF && n < to {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// block rounds up to where the next header of a tar can stand.
func block(n int64) int64 { return (n + 511) &^ 511 }
