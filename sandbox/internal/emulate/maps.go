package emulate

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// writable reports whether the caller itself could write to a range of its memory: /proc/PID/mem lets its user write to
// what is mapped read-only, too.
func (r *request) writable(addr, size uint64) bool {
	fd, err := r.openHeld("maps", unix.O_RDONLY)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	end := addr + size
	if end < addr {
		return false
	}
	for at := addr; at < end; {
		next, errno := writableUntil(fd, at)
		switch {
		case errno == unix.ENOTTY: // before Linux 6.11
			return readWritable(fd, addr, end)
		case errno != 0 || next <= at:
			return false
		}
		at = next
	}
	return true
}

// mapQuery is struct procmap_query of include/uapi/linux/fs.h.
type mapQuery struct {
	size, flags, addr         uint64
	start, end, kind, page    uint64
	offset, inode             uint64
	major, minor, name, build uint32
	nameAt, buildAt           uint64
}

const (
	queryMaps     = 0xc0686611 // PROCMAP_QUERY
	queryWritable = 0x02       // PROCMAP_QUERY_VMA_WRITABLE
)

// writableUntil asks for the writable mapping that at lies in, and returns its end.
func writableUntil(maps int, at uint64) (uint64, unix.Errno) {
	q := mapQuery{flags: queryWritable, addr: at}
	q.size = uint64(unsafe.Sizeof(q))
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(maps), queryMaps, uintptr(unsafe.Pointer(&q)))
	return q.end, errno
}

// readWritable finds the same in the text of /proc/PID/maps.
func readWritable(maps int, addr, end uint64) bool {
	lines := bufio.NewReader(io.NewSectionReader(fdReader(maps), 0, 1<<30))
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return false
		}
		var from, to uint64
		var access string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &access); n != 3 || to <= addr {
			continue
		}
		if from > addr || len(access) < 2 || access[1] != 'w' {
			return false
		}
		if addr = to; addr >= end {
			return true
		}
	}
}

// fdReader reads an open file without owning it.
type fdReader int

func (fd fdReader) ReadAt(p []byte, offset int64) (int, error) {
	n, err := unix.Pread(int(fd), p, offset)
	switch {
	case err != nil:
		return 0, os.NewSyscallError("pread", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
