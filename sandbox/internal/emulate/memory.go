package emulate

import (
	"bytes"
	"os"

	"golang.org/x/sys/unix"
)

// read fills b from the caller's memory.
func (r *request) read(addr uint64, b []byte) bool {
	if len(b) == 0 {
		return true
	}
	n, err := r.transfer(unix.ProcessVMReadv, addr, b)
	return err == nil && n == len(b)
}

// write puts b into the caller's memory.
func (r *request) write(addr uint64, b []byte) bool {
	if len(b) == 0 {
		return true
	}
	n, err := r.transfer(unix.ProcessVMWritev, addr, b)
	return err == nil && n == len(b)
}

func (r *request) transfer(call func(int, []unix.Iovec, []unix.RemoteIovec, uint) (int, error), addr uint64, b []byte) (int, error) {
	local := [1]unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	return call(r.pid, local[:], []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
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
