package layout

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/oci"
)

// BlobPath is where the blob of digest d is, or would be; empty when d is malformed.
func (l *Layout) BlobPath(d digest.Digest) string {
	if d.Validate() != nil {
		return ""
	}
	return filepath.Join(l.dir, ispec.ImageBlobsDir, string(d.Algorithm()), d.Encoded())
}

// HasBlob says whether there is a blob of digest d, and its size in bytes. Its content is not looked at.
func (l *Layout) HasBlob(d digest.Digest) (size int64, ok bool) {
	info, err := os.Stat(l.BlobPath(d))
	if err != nil || !info.Mode().IsRegular() {
		return 0, false
	}
	return info.Size(), true
}

// OpenBlob implements oci.BlobSource. A file of another size than the descriptor's is an error at once.
func (l *Layout) OpenBlob(_ context.Context, desc ispec.Descriptor) (io.ReadCloser, error) {
	if err := oci.CheckDescriptor(desc); err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	f, err := openRegular(l.BlobPath(desc.Digest))
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() != desc.Size {
		err = &oci.MismatchError{Want: desc, Size: info.Size()}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open blob: %w", err), f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{oci.VerifyReader(f, desc), f}, nil
}

// openRegular opens a file of a layout that may be anybody's: a FIFO or device in its place would block, or act.
func openRegular(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// PutBlob implements oci.BlobSink. The blob appears under its name only when it is whole, and then it is on the disk; a damaged one of the
// same name is replaced. When ctx is done the copy stops.
func (l *Layout) PutBlob(ctx context.Context, want digest.Digest, r io.Reader) (desc ispec.Descriptor, err error) {
	w, err := l.NewWriter()
	if err != nil {
		return ispec.Descriptor{}, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := io.CopyBuffer(w, files.Reader(ctx, r), make([]byte, 256<<10)); err != nil {
		return ispec.Descriptor{}, fmt.Errorf("put blob: %w", err)
	}
	return w.Commit(want)
}

// Writer is a blob on its way into a layout. It is used by one goroutine at a time.
type Writer struct {
	l    *Layout
	f    *files.Pending
	hash hash.Hash
	size int64
}

// NewWriter starts a blob. The caller closes the Writer in any case.
func (l *Layout) NewWriter() (*Writer, error) {
	f, err := files.Create(l.tempDir(), 0o644)
	if err != nil {
		return nil, fmt.Errorf("start blob: %w", err)
	}
	return &Writer{l: l, f: f, hash: digest.Canonical.Hash()}, nil
}

// Write adds to the blob.
func (w *Writer) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	w.hash.Write(p[:n])
	w.size += int64(n)
	return n, err
}

// Size is how many bytes were written so far.
func (w *Writer) Size() int64 { return w.size }

// Commit gives the blob its name. When want is not empty and not its digest, it is an error and nothing is stored. want may
// have another algorithm than sha256; the blob is then read again to compute it.
func (w *Writer) Commit(want digest.Digest) (ispec.Descriptor, error) {
	got := digest.NewDigest(digest.Canonical, w.hash)
	var err error
	if want != "" && want.Algorithm() != digest.Canonical {
		got, err = rehash(w.f, want)
	}
	if err == nil && want != "" && got != want {
		err = &oci.MismatchError{Want: ispec.Descriptor{Digest: want, Size: w.size}, Digest: got, Size: w.size}
	}
	path := w.l.BlobPath(got)
	if err == nil && got.Algorithm() != digest.Canonical {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = w.f.Replace(path, true)
	}
	if err != nil {
		return ispec.Descriptor{}, fmt.Errorf("put blob: %w", errors.Join(err, w.Close()))
	}
	return ispec.Descriptor{Digest: got, Size: w.size}, nil
}

// Close drops the blob unless it was committed.
func (w *Writer) Close() error { return w.f.Close() }

func rehash(f io.ReaderAt, want digest.Digest) (digest.Digest, error) {
	if err := want.Validate(); err != nil {
		return "", fmt.Errorf("digest %q: %w", want, err)
	}
	h := want.Algorithm().Hash()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, 1<<62)); err != nil {
		return "", err
	}
	return digest.NewDigest(want.Algorithm(), h), nil
}

func (l *Layout) tempDir() string {
	if l.TempDir != "" {
		return l.TempDir
	}
	return l.dir
}
