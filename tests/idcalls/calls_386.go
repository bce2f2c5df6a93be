package main

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of i386 with ids of 16 bits, which nothing but very old programs makes, and its old struct stat.

func cString(s string) uintptr {
	b := append([]byte(s), 0)
	return uintptr(unsafe.Pointer(&b[0]))
}

func narrowFiles() {
	call := func(n uintptr, name string, uid, gid uint16) error {
		_, _, e := unix.RawSyscall(n, cString(name), uintptr(uid), uintptr(gid))
		return e
	}
	// Twice the same as what the other ABIs say at this place.
	if e := call(182, "file", 40, 0xffff); e != unix.Errno(0) || show("file")[:6] != "40:18 " {
		say("chown16", e, show("file"))
	}
	if e := call(16, "dir/below", 0xffff, 41); e != unix.Errno(0) || show("dir/below")[:6] != "15:41 " {
		say("lchown16", e, show("dir/below"))
	}
	must(unix.Chown("file", 65536, 18))
	var st [64]byte
	_, _, e := unix.RawSyscall(106, cString("file"), uintptr(unsafe.Pointer(&st)), 0)
	if uid := binary.LittleEndian.Uint16(st[12:]); e != 0 || uid != 65534 {
		say("an id that does not fit", e, uid)
	}
	must(unix.Chown("file", 17, 18))
	must(unix.Lchown("dir/below", 15, 16))
}

// showMore compares with the old lstat.
func showMore(name string, want *unix.Stat_t) string {
	var st [64]byte
	_, _, e := unix.RawSyscall(107, cString(name), uintptr(unsafe.Pointer(&st)), 0)
	le := binary.LittleEndian
	got := fmt.Sprint(le.Uint16(st[8:]), le.Uint16(st[12:]), le.Uint16(st[14:]), le.Uint32(st[20:]), le.Uint32(st[40:]), e)
	expected := fmt.Sprint(want.Mode, min(want.Uid, 65534), min(want.Gid, 65534), want.Size, want.Mtim.Sec, unix.Errno(0))
	if got != expected {
		return got + " / " + expected
	}
	return ""
}

func narrow() {
	var groups [4]uint16
	n, _, e := unix.RawSyscall(80, 4, uintptr(unsafe.Pointer(&groups)), 0)
	if got := fmt.Sprint(groups[:n]); e != 0 || got != "[7 65534]" {
		say("getgroups16", e, got)
	}
	if uid, _, _ := unix.RawSyscall(24, 0, 0, 0); uid != 0 {
		say("getuid16", uid)
	}
	var r, eff, s uint16
	_, _, e = unix.RawSyscall(171, uintptr(unsafe.Pointer(&r)), uintptr(unsafe.Pointer(&eff)), uintptr(unsafe.Pointer(&s)))
	if got := fmt.Sprint(r, eff, s); e != 0 || got != "20 20 22" && got != "20 20 20" {
		say("getresgid16", e, got)
	}
}
