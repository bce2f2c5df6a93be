package layout

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/cairnbuild/cairn/oci"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
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

// PutBlob implements oci.BlobSink. The blob appears under its name only when it is whole, and on the disk unless NoSync; a
// damaged one of the same name is replaced. When ctx is done the copy stops.
func (l *Layout) PutBlob(ctx context.Context, want digest.Digest, r io.Reader) (desc ispec.Descriptor, err error) {
	w, err := l.NewWriter()
	if err != nil {
		return ispec.Descriptor{}, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := io.CopyBuffer(w, reader{ctx, r}, make([]byte, 256<<10)); err != nil {
		return ispec.Descriptor{}, fmt.Errorf("put blob: %w", err)
	}
	return w.Commit(want)
}

// reader ends when its context does, and hides the other methods of what it reads from, so that the buffer is used.
type reader struct {
	ctx context.Context //nolint:containedctx // lives for one copy
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// Writer is a blob on its way into a layout. It is used by one goroutine at a time.
type Writer struct {
	l    *Layout
	f    *os.File // nil when committed or closed
	hash hash.Hash
	size int64
}

// NewWriter starts a blob. The caller closes the Writer in any case.
func (l *Layout) NewWriter() (*Writer, error) {
	f, err := createTemp(l.tempDir())
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
	if err == nil && !w.l.NoSync {
		err = w.f.Sync()
	}
	if err != nil {
		return ispec.Descriptor{}, fmt.Errorf("put blob: %w", errors.Join(err, w.Close()))
	}
	if err := w.rename(got); err != nil {
		return ispec.Descriptor{}, fmt.Errorf("put blob: %w", err)
	}
	return ispec.Descriptor{Digest: got, Size: w.size}, nil
}

func (w *Writer) rename(d digest.Digest) error {
	f, path := w.f, w.l.BlobPath(d)
	w.f = nil
	err := f.Close()
	if err == nil && d.Algorithm() != digest.Canonical {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if w.l.NoSync {
		return nil
	}
	return syncDir(filepath.Dir(path))
}

// Close drops the blob unless it was committed.
func (w *Writer) Close() error {
	if w.f == nil {
		return nil
	}
	f := w.f
	w.f = nil
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func rehash(f *os.File, want digest.Digest) (digest.Digest, error) {
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

// createTemp makes a new file for reading and writing. Its mode follows the umask, unlike os.CreateTemp's: others may be meant
// to read the layout.
func createTemp(dir string) (*os.File, error) {
	for {
		name := filepath.Join(dir, ".tmp-"+strconv.FormatUint(rand.Uint64(), 36))
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		if !errors.Is(err, os.ErrExist) {
			return f, err
		}
	}
}

// writeTemp writes a synced temporary file and returns its name.
func writeTemp(dir string, data []byte) (string, error) {
	f, err := createTemp(dir)
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
