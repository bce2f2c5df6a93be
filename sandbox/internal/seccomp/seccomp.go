// Package seccomp compiles Docker's default system call profile to a filter for the kernel.
//
// Every ABI that the machine runs has a table of its own (package profile): on amd64 also i386, so that 32-bit programs
// work.
//
// What the profile does not name is answered with EPERM, and a number that is newer than the tables with ENOSYS: a libc that
// tries a new call then falls back to an old one.
package seccomp

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/sandbox/internal/seccomp/profile"
)

// Default compiles the profile for processes whose bounding set is capabilities, a bit set. It is nil on an architecture
// without tables.
func Default(capabilities uint64) []unix.SockFilter {
	return compile(profile.Docker(), capabilities)
}

// The layout of struct seccomp_data and what a filter can answer; see seccomp(2).
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16

	allow = unix.SECCOMP_RET_ALLOW
	deny  = unix.SECCOMP_RET_ERRNO
	kill  = unix.SECCOMP_RET_KILL_PROCESS
)

// compile gives each ABI its own search tree; a call by any other ABI kills.
func compile(abis []profile.ABI, capabilities uint64) []unix.SockFilter {
	if len(abis) == 0 {
		return nil
	}
	rest := []unix.SockFilter{ret(kill)}
	for _, a := range slices.Backward(abis) {
		body := append([]unix.SockFilter{load(offsetNumber)}, tree(ranges(a, capabilities))...)
		rest = branch(unix.BPF_JEQ, a.Audit, body, rest)
	}
	return append([]unix.SockFilter{load(offsetArch)}, rest...)
}

// span says what happens to the numbers from start up to the next span.
type span struct {
	start uint32
	code  []unix.SockFilter
}

// ranges cuts the numbers into spans of the same answer. x32, which shares amd64's audit value, lies above the last number.
func ranges(a profile.ABI, capabilities uint64) []span {
	answers := make(map[uint32][]profile.Rule)
	starts := []uint32{0, a.Last + 1}
	for _, r := range a.Rules {
		if r.With != 0 && capabilities&(1<<(r.With-1)) == 0 || r.Without != 0 && capabilities&(1<<(r.Without-1)) != 0 {
			continue
		}
		for _, n := range r.Numbers {
			answers[n] = append(answers[n], r)
			starts = append(starts, n, n+1)
		}
	}
	slices.Sort(starts)
	var spans []span
	for _, n := range slices.Compact(starts) {
		unknown := unix.EPERM
		if n > a.Last {
			unknown = unix.ENOSYS
		}
		code := answer(answers[n], unknown)
		if len(spans) == 0 || !slices.Equal(spans[len(spans)-1].code, code) {
			spans = append(spans, span{n, code})
		}
	}
	return spans
}

// answer is the code for one number: its rules in turn, the one that always holds first.
func answer(rules []profile.Rule, unknown unix.Errno) []unix.SockFilter {
	var code []unix.SockFilter
	for _, r := range rules {
		if len(r.Args) == 0 {
			return []unix.SockFilter{result(r)}
		}
		code = append(code, ruleCode(r)...)
	}
	return append(code, ret(deny|uint32(unknown)))
}

func result(r profile.Rule) unix.SockFilter {
	if r.Errno != 0 {
		return ret(deny | r.Errno)
	}
	return ret(allow)
}

// ruleCode answers when all conditions hold; when one does not, what follows this code runs.
func ruleCode(r profile.Rule) []unix.SockFilter {
	code := []unix.SockFilter{result(r)}
	for _, c := range slices.Backward(r.Args) {
		lo, hi := argument(c.Arg)
		mask := c.Mask
		if c.Op != profile.MaskedEqual {
			mask = ^uint64(0)
		}
		// The halves are tested in the reverse of the order they are added in here.
		code = test(c.Op, lo, uint32(mask), uint32(c.Val), code)
		if mask>>32 != 0 {
			code = test(profile.Equal, hi, uint32(mask>>32), uint32(c.Val>>32), code)
		}
	}
	return code
}

// test goes on with then, or skips it.
func test(op profile.Operator, offset, mask, val uint32, then []unix.SockFilter) []unix.SockFilter {
	jump := unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: val, Jf: uint8(len(then))}
	if op == profile.Less {
		jump = unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: val, Jt: uint8(len(then))}
	}
	return slices.Concat([]unix.SockFilter{load(offset), and(mask), jump}, then)
}

// tree is a binary search for the span that holds the number.
func tree(spans []span) []unix.SockFilter {
	if len(spans) == 1 {
		return spans[0].code
	}
	mid := len(spans) / 2
	return branch(unix.BPF_JGE, spans[mid].start, tree(spans[mid:]), tree(spans[:mid]))
}

// branch goes to yes when the accumulator compares so with k. A conditional jump reaches only 255 instructions far.
func branch(op uint16, k uint32, yes, no []unix.SockFilter) []unix.SockFilter {
	jump := unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k}
	if len(no) <= 255 {
		jump.Jt = uint8(len(no))
		return slices.Concat([]unix.SockFilter{jump}, no, yes)
	}
	jump.Jf = 1
	far := unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(no))}
	return slices.Concat([]unix.SockFilter{jump, far}, no, yes)
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func and(mask uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask}
}

func ret(k uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}
}

// argument gives the offsets of an argument's halves. Both supported architectures are little-endian.
func argument(n uint32) (lo, hi uint32) { return offsetArgs + 8*n, offsetArgs + 8*n + 4 }
