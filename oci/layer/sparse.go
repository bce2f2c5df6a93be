package layer

import (
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/sys"
)

// fill writes the content, with holes for its long runs of zeros.
func (d *disk) fill(f sys.FD, size int64, r io.Reader) error {
	var at int64
	for at < size {
		if d.buf == nil {
			d.buf = make([]byte, bufferSize)
		}
		buf := d.buf[:min(int64(len(d.buf)), size-at)]
		if _, err := io.ReadFull(r, buf); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if err := writeSparse(int(f), buf, at); err != nil {
			return err
		}
		at += int64(len(buf))
	}
	if size == 0 {
		return nil
	}
	return os.NewSyscallError("truncate", unix.Ftruncate(int(f), size))
}

// holeSize is the run of zeros, aligned to itself, that is not written.
const holeSize = 32 << 10

func writeSparse(f int, buf []byte, at int64) error {
	for len(buf) > 0 {
		n := 0 // up to the next hole
		for n < len(buf) && (len(buf)-n < holeSize || !allZero(buf[n:n+holeSize])) {
			n += min(holeSize, len(buf)-n)
		}
		for done := 0; done < n; {
			w, err := unix.Pwrite(f, buf[done:n], at+int64(done))
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return os.NewSyscallError("write", err)
			}
			done += w
		}
		for n+holeSize <= len(buf) && allZero(buf[n:n+holeSize]) {
			n += holeSize
		}
		buf, at = buf[n:], at+int64(n)
	}
	return nil
}

func allZero(b []byte) bool {
	var words [64]byte
	for len(b) >= len(words) {
		if [64]byte(b) != words {
			return false
		}
		b = b[len(words):]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
