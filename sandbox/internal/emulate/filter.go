package emulate

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Filter is the program that stops at the calls to be emulated and allows all others, also those of ABIs without a table.
// With tables it also stops at calls that copy up symbolic links. It is nil on an architecture without tables.
func Filter(tables bool) []unix.SockFilter {
	abis := abis()
	if len(abis) == 0 {
		return nil
	}
	program := []unix.SockFilter{load(4)} // seccomp_data.arch
	for _, a := range abis {
		body := a.filter(tables)
		program = append(program,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: a.audit, Jt: 1},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(body))})
		program = append(program, body...)
	}
	return append(program, ret(unix.SECCOMP_RET_ALLOW))
}

// filter compares with one number after the other: the kernel remembers which numbers are always allowed and does not run
// the program for those at all.
func (a abi) filter(tables bool) []unix.SockFilter {
	program := []unix.SockFilter{load(0)} // seccomp_data.nr
	for _, e := range a.entries {
		if e.when.tables && !tables {
			continue
		}
		body := e.when.filter()
		jump := unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: e.number, Jf: uint8(len(body))}
		program = slices.Concat(program, []unix.SockFilter{jump}, body)
	}
	return append(program, ret(unix.SECCOMP_RET_ALLOW))
}

func (w when) filter() []unix.SockFilter {
	notify := ret(unix.SECCOMP_RET_USER_NOTIF)
	low := load(16 + 8*uint32(w.arg)) // the lower half of seccomp_data.args
	switch {
	case w.bits != 0:
		return []unix.SockFilter{low, {Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: w.bits, Jf: 1}, notify,
			ret(unix.SECCOMP_RET_ALLOW)}
	case w.equal:
		return []unix.SockFilter{low, {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: w.value, Jf: 1}, notify,
			ret(unix.SECCOMP_RET_ALLOW)}
	}
	return []unix.SockFilter{notify}
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func ret(k uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}
}
