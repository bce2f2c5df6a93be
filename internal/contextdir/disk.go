package contextdir

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/opencontainers/go-digest"
)

// settleTime is how much older than its hashing a file's last change must be before the digest is remembered: a file system
// may give two changes within one tick of its clock the same times. The coarsest in use, FAT's, ticks every two seconds.
const settleTime = 2 * time.Second

// identity is what a file's content is remembered under. The mode is no part of it.
type identity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64 // nanoseconds since 1970
}

// lastChange is when the content may last have changed.
func (id identity) lastChange() time.Time { return time.Unix(0, max(id.mtime, id.ctime)) }

// disk is a directory.
type disk struct {
	root    *os.File
	cache   *statCache
	buffers sync.Pool
	onHash  func(bytes int64)
}

func openDisk(dir string, o Options) (*disk, error) {
	root, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &disk{root: root, cache: openStatCache(o.StatCache), onHash: o.OnHash}, nil
}

func (d *disk) close() error {
	return errors.Join(d.cache.save(), d.root.Close())
}

func (d *disk) list(dir string, keep func(string, bool) bool) ([]info, error) {
	f, err := sys.OpenBeneath(d.root, dir, os.O_RDONLY|syscall.O_DIRECTORY)
	if err != nil {
		return nil, replaced(dir, err)
	}
	defer f.Close()
	names, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	infos := make([]info, 0, len(names))
	for _, de := range names {
		if !keep(de.Name(), de.IsDir()) {
			continue
		}
		st, err := sys.LstatAt(f, de.Name())
		if errors.Is(err, os.ErrNotExist) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, err
		}
		in, err := newInfo(index.Join(dir, de.Name()), st)
		if err != nil {
			return nil, err
		}
		switch in.Type {
		case index.Symlink:
			if in.Link, err = sys.ReadlinkAt(f, de.Name()); err != nil {
				return nil, err
			}
		case index.Regular:
			d.cached(&in, st)
		}
		infos = append(infos, in)
	}
	return infos, nil
}

// cached takes the digest from the stat cache.
func (d *disk) cached(in *info, st sys.Stat) {
	if st.Mode&syscall.S_IFMT == syscall.S_IFSOCK {
		return
	}
	sum, capability, ok := d.cache.lookup(in.id)
	if ok {
		in.Digest, in.settled = digest.Digest("sha256:"+hex.EncodeToString(sum[:])), true
		in.setCapability(capability)
	}
}

// newInfo makes the entry of a file in the context: owner 0:0, the mode with setuid, setgid and sticky, whole seconds. A
// socket becomes an empty regular file, as in BuildKit.
func newInfo(p string, st sys.Stat) (info, error) {
	e := index.Entry{
		Path: p, Mode: st.Mode & 0o7777, MTime: time.Unix(0, st.MTime).UTC().Truncate(time.Second),
		Offset: -1,
	}
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		e.Type, e.Size = index.Regular, st.Size
	case syscall.S_IFSOCK:
		e.Type, e.Digest = index.Regular, digest.SHA256.FromBytes(nil)
	case syscall.S_IFDIR:
		e.Type = index.Directory
	case syscall.S_IFLNK:
		e.Type, e.Mode = index.Symlink, 0o777
	case syscall.S_IFIFO:
		e.Type = index.FIFO
	case syscall.S_IFCHR:
		e.Type, e.Major, e.Minor = index.CharDevice, st.Major, st.Minor
	case syscall.S_IFBLK:
		e.Type, e.Major, e.Minor = index.BlockDevice, st.Major, st.Minor
	default:
		return info{}, fmt.Errorf("read context: %q is of an unknown type", p)
	}
	in := info{File: File{Entry: e}, id: identity{st.Dev, st.Ino, st.Size, st.MTime, st.CTime}}
	if st.Nlink > 1 && st.Mode&syscall.S_IFMT == syscall.S_IFREG {
		in.Inode = strconv.FormatUint(st.Dev, 16) + ":" + strconv.FormatUint(st.Ino, 16)
	}
	return in, nil
}

func (d *disk) hash(ctx context.Context, in *info) error {
	f, err := d.openRegular(in.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	began := time.Now()
	st, err := sys.FstatOf(f)
	if err != nil {
		return err
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return &ChangedError{Path: in.Path}
	}
	// Nobody has seen the digest yet, so a file that changed since it was listed is simply taken as it is now.
	now, err := newInfo(in.Path, st)
	if err != nil {
		return err
	}
	*in = now
	h := sha256.New()
	n, err := d.copy(h, files.Reader(ctx, &toldReader{io.LimitReader(f, st.Size), d.onHash}))
	if err != nil {
		return fmt.Errorf("hash %q: %w", in.Path, err)
	}
	if n != st.Size {
		return &ChangedError{Path: in.Path}
	}
	in.Digest = digest.NewDigest(digest.SHA256, h)
	capability, err := sys.FileXattr(f, capabilityName)
	if err != nil {
		return err
	}
	in.setCapability(capability)
	after, err := sys.FstatOf(f)
	if err != nil {
		return err
	}
	same := in.id == identity{after.Dev, after.Ino, after.Size, after.MTime, after.CTime}
	if in.settled = same && in.id.lastChange().Before(began.Add(-settleTime)); in.settled {
		d.cache.add(in.id, [32]byte(h.Sum(nil)), capability)
	}
	return nil
}

// copy is io.Copy with a buffer that is used again: most files are small.
func (d *disk) copy(w io.Writer, r io.Reader) (int64, error) {
	buf, ok := d.buffers.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
		*buf = make([]byte, 128<<10)
	}
	defer d.buffers.Put(buf)
	return io.CopyBuffer(w, r, *buf)
}

// openRegular opens a file for reading so that a FIFO or device that took its place neither blocks nor acts.
func (d *disk) openRegular(p string) (*os.File, error) {
	f, err := sys.OpenBeneath(d.root, p, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY)
	return f, replaced(p, err)
}

// replaced recognises the errors of opening a file that was there when its directory was listed, and is no more what it was.
func replaced(p string, err error) error {
	for _, is := range []error{os.ErrNotExist, syscall.ELOOP, syscall.ENOTDIR, syscall.ENXIO} {
		if errors.Is(err, is) {
			return &ChangedError{Path: p}
		}
	}
	return err
}

func (d *disk) open(in info) (io.ReadCloser, error) {
	if in.Size == 0 {
		return io.NopCloser(bytes.NewReader(nil)), nil // an empty file, or the stand-in for a socket
	}
	f, err := d.openRegular(in.Path)
	if err != nil {
		return nil, err
	}
	st, err := sys.FstatOf(f)
	if err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		f.Close()
		return nil, cmpErr(err, &ChangedError{Path: in.Path})
	}
	r := &verifier{f: f, in: in, left: in.Size}
	if same := in.id == (identity{st.Dev, st.Ino, st.Size, st.MTime, st.CTime}); !same || !in.settled {
		r.sum = sha256.New()
	}
	return r, nil
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// verifier reads a file's content and checks it at its end: where the file's identity stands for its content that is the
// identity, elsewhere the digest. A file that only grew still has the content that was promised.
type verifier struct {
	f    *os.File
	in   info
	left int64
	sum  hash.Hash
	done error
}

func (r *verifier) Read(p []byte) (int, error) {
	if r.left == 0 {
		if r.done == nil {
			r.done = r.verdict()
		}
		return 0, r.done
	}
	n, err := r.f.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if r.sum != nil {
		r.sum.Write(p[:n])
	}
	if err == io.EOF && r.left > 0 {
		err = &ChangedError{Path: r.in.Path}
	}
	if err == io.EOF {
		err = nil // the verdict comes with the next call
	}
	return n, err
}

func (r *verifier) verdict() error {
	if r.sum != nil {
		if digest.NewDigest(digest.SHA256, r.sum) != r.in.Digest {
			return &ChangedError{Path: r.in.Path}
		}
		return io.EOF
	}
	st, err := sys.FstatOf(r.f)
	if err != nil {
		return err
	}
	if r.in.id != (identity{st.Dev, st.Ino, st.Size, st.MTime, st.CTime}) {
		return &ChangedError{Path: r.in.Path}
	}
	return io.EOF
}

func (r *verifier) Close() error { return r.f.Close() }

// toldReader tells somebody of what is read.
type toldReader struct {
	r    io.Reader
	tell func(bytes int64) // may be nil
}

func (t *toldReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if t.tell != nil {
		t.tell(int64(n))
	}
	return n, err
}

const capabilityName = "security.capability"

// setCapability gives the entry the file capability in its v2 form: v3 carries the id of the namespace that set it, which
// means nothing in an image.
func (in *info) setCapability(value []byte) {
	if len(value) == 0 {
		return
	}
	const revision3, v3Size = 0x03000000, 24
	if len(value) == v3Size && binary.LittleEndian.Uint32(value)&0xff000000 == revision3 {
		value = slices.Clone(value[:20])
		binary.LittleEndian.PutUint32(value, 0x02000000|binary.LittleEndian.Uint32(value)&0x00ffffff)
	}
	in.Xattrs = map[string]string{capabilityName: string(value)}
}
