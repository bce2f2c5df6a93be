package emulate

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A process that is no longer root keeps its real capabilities, which the supervisor cannot take away. What it is told
// of them, and may set, is what it would have.

// capHeader reads the header of capget and capset. It is false for what the kernel should answer.
func (r *request) capHeader() (sets int, ok bool) {
	var header [8]byte
	if !r.read(r.n.args[0], header[:]) || r.n.args[1] == 0 {
		return 0, false
	}
	if pid := binary.NativeEndian.Uint32(header[4:]); pid != 0 && itoa(int(pid)) != innerPID(r.pid) {
		return 0, false
	}
	switch binary.NativeEndian.Uint32(header[:]) {
	case unix.LINUX_CAPABILITY_VERSION_1:
		return 1, true
	case unix.LINUX_CAPABILITY_VERSION_2, unix.LINUX_CAPABILITY_VERSION_3:
		return 2, true
	}
	return 0, false
}

// capSize is that of one half of the three sets: effective, permitted, inheritable.
const capSize = 12

func capget(r *request) answer {
	halves, ok := r.capHeader()
	if !ok {
		return goOn()
	}
	c := r.creds()
	b := make([]byte, 0, 2*capSize)
	for i := range halves {
		b = binary.NativeEndian.AppendUint32(b, uint32(c.effective>>(32*i)))
		b = binary.NativeEndian.AppendUint32(b, uint32(c.permitted>>(32*i)))
		b = binary.NativeEndian.AppendUint32(b, 0)
	}
	if !r.write(r.n.args[1], b) {
		return fail(unix.EFAULT)
	}
	return answer{}
}

// capset lets the kernel take away what the process gives up.
func capset(r *request) answer {
	halves, ok := r.capHeader()
	if !ok {
		return goOn()
	}
	b := make([]byte, halves*capSize)
	if !r.read(r.n.args[1], b) {
		return fail(unix.EFAULT)
	}
	var effective, permitted uint64
	for i := range halves {
		effective |= uint64(binary.NativeEndian.Uint32(b[capSize*i:])) << (32 * i)
		permitted |= uint64(binary.NativeEndian.Uint32(b[capSize*i+4:])) << (32 * i)
	}
	c := r.creds()
	if permitted&^c.permitted != 0 || effective&^permitted != 0 {
		return fail(unix.EPERM)
	}
	c.permitted, c.effective = permitted, effective
	if a := r.setCreds(c); a.errno != 0 {
		return a
	}
	return goOn()
}

// keepcaps is prctl(PR_SET_KEEPCAPS).
func keepcaps(r *request) answer {
	c := r.creds()
	if keep := r.n.args[1] != 0; keep != c.keep {
		c.keep = keep
		if a := r.setCreds(c); a.errno != 0 {
			return a
		}
	}
	return goOn()
}
