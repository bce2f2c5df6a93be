package emulate

import (
	"bytes"
	"os"

	"golang.org/x/sys/unix"
)

// read fills b from the memory of whoever has the caller's number. Nothing may be done with it before waiting or hold has
// said that this is the caller.
func (r *request) read(addr uint64, b []byte) bool {
	if len(b) == 0 {
		return true
	}
	local := [1]unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	n, err := unix.ProcessVMReadv(r.pid, local[:], []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
	return err == nil && n == len(b)
}

// write puts b into the caller's memory, and into no other process's: /proc/PID/mem stays with the memory that it was
// opened for. It is false, and nothing was written, where the caller itself could not write.
func (r *request) write(addr uint64, b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if int64(addr) < 0 || !r.writable(addr, uint64(len(b))) {
		return false
	}
	fd, err := r.openHeld("mem", unix.O_WRONLY)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if !r.waiting() {
		return false
	}
	n, err := unix.Pwrite(fd, b, int64(addr))
	return err == nil && n == len(b)
}

// readString reads a string that ends with a zero into buf, which limits its length as PATH_MAX does. It reads no further
// than it must: the next page may not be there.
func (r *request) readString(addr uint64, buf []byte) ([]byte, bool) {
	page := uint64(os.Getpagesize())
	for have := 0; have < len(buf); {
		at := addr + uint64(have)
		n := min(int(page-at%page), len(buf)-have, max(256, have))
		if !r.read(at, buf[have:have+n]) {
			return nil, false
		}
		if end := bytes.IndexByte(buf[have:have+n], 0); end >= 0 {
			return buf[:have+end], true
		}
		have += n
	}
	return nil, false
}
