package contextdir

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/internal/resolve"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/opencontainers/go-digest"
)

// Spool holds the contents of an archive's files: a temporary file that has no name, so that nothing is left of it however
// the process ends. One goroutine may write while others read what was written.
type Spool struct {
	f   *os.File
	end int64
}

// NewSpool makes a Spool in the directory dir.
func NewSpool(dir string) (*Spool, error) {
	f, err := os.CreateTemp(dir, "spool-*")
	if err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("make spool: %w", err)
	}
	return &Spool{f: f}, nil
}

// Open returns size bytes from offset on.
func (s *Spool) Open(offset, size int64) io.ReadCloser {
	return io.NopCloser(io.NewSectionReader(s.f, offset, size))
}

// Close gives the space back.
func (s *Spool) Close() error { return s.f.Close() }

// put appends r's content and returns where it starts, with its digest and size. Blocks of zeros become holes.
func (s *Spool) put(r io.Reader) (offset, size int64, d digest.Digest, err error) {
	h := sha256.New()
	offset = s.end
	buf := make([]byte, 64<<10)
	for {
		n, err := fill(r, buf)
		h.Write(buf[:n])
		if !isZero(buf[:n]) {
			if _, werr := s.f.WriteAt(buf[:n], s.end); werr != nil {
				return 0, 0, "", werr
			}
		}
		s.end += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, 0, "", err
		}
	}
	if err := s.f.Truncate(s.end); err != nil { // the hole at the end
		return 0, 0, "", err
	}
	return offset, s.end - offset, digest.NewDigest(digest.SHA256, h), nil
}

// fill reads until buf is full. Unlike io.ReadFull it tells the end from a reader's own io.ErrUnexpectedEOF.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// IsTar says whether r starts like a tar, plain or compressed, by content alone: its first header is sound. It reads no more
// than that needs, and never fails: what can't be read is no tar.
func IsTar(r io.Reader) bool {
	d, _, err := compress.NewReader(r)
	if err != nil {
		return false
	}
	defer d.Close()
	_, err = tar.NewReader(d).Next()
	return err == nil
}

// ReadTar reads a tar, plain or compressed as its content says, and calls fn for each of its entries in the tar's order.
//
// An entry's Path is its name cleaned, relative to wherever the tar is unpacked, "." for that itself; it may lead through
// symbolic links, occur several times or be no legal path of a layer (see index.CheckPath). A Hardlink's Link is the target's
// name, cleaned in the same way; a name or such a target that leads above is an error. Owners, modes, devices and times are
// the tar's, of extended attributes only security.capability. The content of a Regular is in spool at Offset, with Size and
// Digest set. What can't be part of a layer, such as an entry of an unknown type, is an error that names it.
func ReadTar(ctx context.Context, r io.Reader, spool *Spool, fn func(index.Entry) error) error {
	d, _, err := compress.NewReader(files.Reader(ctx, r))
	if err != nil {
		return err
	}
	defer d.Close()
	tr := tar.NewReader(d)
	for {
		hdr, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if hdr.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		e, err := tarEntry(hdr)
		if err != nil {
			return err
		}
		if e.Type == index.Regular {
			if e.Offset, e.Size, e.Digest, err = spool.put(files.Reader(ctx, tr)); err != nil {
				return fmt.Errorf("unpack %q: %w", e.Path, err)
			}
		}
		if err := fn(e); err != nil {
			return err
		}
	}
}

func tarEntry(hdr *tar.Header) (index.Entry, error) {
	p, err := tarName(hdr.Name)
	if err != nil {
		return index.Entry{}, fmt.Errorf("unpack %q: %w", resolve.Shorten(hdr.Name), err)
	}
	e := index.Entry{
		Path: p, Mode: uint32(hdr.Mode) & 0o7777, UID: hdr.Uid, GID: hdr.Gid,
		MTime: hdr.ModTime.UTC().Truncate(time.Second), Offset: -1,
	}
	if e.MTime.Unix() < 0 {
		e.MTime = time.Unix(0, 0).UTC()
	}
	if !legalID(hdr.Uid) || !legalID(hdr.Gid) {
		return e, fmt.Errorf("unpack %q: owner %d:%d is out of range", p, hdr.Uid, hdr.Gid)
	}
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		e.Type = index.Regular
	case tar.TypeDir:
		e.Type = index.Directory
	case tar.TypeSymlink:
		if len(hdr.Linkname) >= resolve.MaxPath {
			return e, fmt.Errorf("unpack %q: symbolic link with a target of %d bytes, where %d are possible", e.Path, len(hdr.Linkname), resolve.MaxPath-1)
		}
		e.Type, e.Mode, e.Link = index.Symlink, 0o777, hdr.Linkname
	case tar.TypeLink:
		e.Type = index.Hardlink
		if e.Link, err = tarName(hdr.Linkname); err != nil {
			return e, fmt.Errorf("unpack %q: hard link to %q: %w", resolve.Shorten(hdr.Name), resolve.Shorten(hdr.Linkname), err)
		}
	case tar.TypeChar:
		e.Type = index.CharDevice
	case tar.TypeBlock:
		e.Type = index.BlockDevice
	case tar.TypeFifo:
		e.Type = index.FIFO
	default:
		return e, fmt.Errorf("unpack %q: entry of unknown type %q", p, hdr.Typeflag)
	}
	if e.Type == index.CharDevice || e.Type == index.BlockDevice {
		e.Major, e.Minor = uint32(hdr.Devmajor), uint32(hdr.Devminor)
	}
	if e.Type == index.Regular {
		in := info{File: File{Entry: e}}
		in.setCapability([]byte(hdr.PAXRecords["SCHILY.xattr."+capabilityName]))
		e = in.Entry
	}
	return e, nil
}

// legalID leaves out the id that chown takes for "don't change".
func legalID(id int) bool { return id >= 0 && int64(id) < math.MaxUint32 }

var errBreakout = errors.New("leads out of the directory it is unpacked in")

func tarName(name string) (string, error) {
	clean := path.Clean(name)
	if len(clean) >= resolve.MaxPath {
		return "", syscall.ENAMETOOLONG
	}
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", errBreakout
	}
	if clean = strings.TrimLeft(clean, "/"); clean == "" {
		return ".", nil
	}
	return clean, nil
}
