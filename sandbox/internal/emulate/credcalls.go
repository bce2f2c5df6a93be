package emulate

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// overflow16 is what a 16 bit call says of an id that does not fit.
const overflow16 = 65534

// id gives the form in which this call gives an id out.
func (r *request) id(id uint32) uint32 {
	if r.e.narrow && id > 0xffff {
		return overflow16
	}
	return id
}

// argID reads an id argument.
func (r *request) argID(i int) uint32 {
	id := uint32(r.n.args[i])
	if !r.e.narrow {
		return id
	}
	if id = uint32(uint16(id)); id == 0xffff {
		return unchanged
	}
	return id
}

func (r *request) creds() creds { return r.w.s.creds.of(r.pid) }

func getuid(r *request) answer  { return result(r.id(r.creds().uid.real)) }
func geteuid(r *request) answer { return result(r.id(r.creds().uid.effective)) }
func getgid(r *request) answer  { return result(r.id(r.creds().gid.real)) }
func getegid(r *request) answer { return result(r.id(r.creds().gid.effective)) }

func getresuid(r *request) answer { return r.three(r.creds().uid) }
func getresgid(r *request) answer { return r.three(r.creds().gid) }

func (r *request) three(i ids) answer {
	for k, id := range []uint32{i.real, i.effective, i.saved} {
		if !r.write(r.n.args[k], r.appendID(nil, id)) {
			return fail(unix.EFAULT)
		}
	}
	return answer{}
}

func (r *request) appendID(b []byte, id uint32) []byte {
	if r.e.narrow {
		return binary.NativeEndian.AppendUint16(b, uint16(r.id(id)))
	}
	return binary.NativeEndian.AppendUint32(b, id)
}

func getgroups(r *request) answer {
	c := r.creds()
	n, size := c.groupCount(), int(int32(r.n.args[0]))
	switch {
	case size == 0:
		return result(n)
	case size < n:
		return fail(unix.EINVAL)
	}
	var b []byte
	for i := range n {
		b = r.appendID(b, c.group(i))
	}
	if !r.write(r.n.args[1], b) {
		return fail(unix.EFAULT)
	}
	return result(n)
}

// maxGroups is NGROUPS_MAX.
const maxGroups = 65536

func setgroups(r *request) answer {
	return r.once(r.setgroups)
}

func (r *request) setgroups() answer {
	c := r.creds()
	if !c.can(unix.CAP_SETGID) {
		return fail(unix.EPERM)
	}
	n := int(int32(r.n.args[0]))
	if n < 0 || n > maxGroups {
		return fail(unix.EINVAL)
	}
	size := 4
	if r.e.narrow {
		size = 2
	}
	b := make([]byte, n*size)
	if !r.read(r.n.args[1], b) {
		return fail(unix.EFAULT)
	}
	groups := make([]uint32, n)
	for i := range groups {
		if r.e.narrow {
			groups[i] = uint32(binary.NativeEndian.Uint16(b[2*i:]))
		} else {
			groups[i] = binary.NativeEndian.Uint32(b[4*i:])
		}
	}
	c.groups = packGroups(groups)
	return r.setCreds(c)
}

// setCreds gives them to the caller, if it is still there.
func (r *request) setCreds(c creds) answer {
	if !r.waiting() {
		return goOn()
	}
	return fail(r.w.s.creds.set(r.pid, c, r.waiting))
}

// once makes a change of ids that a process asks for through each of its threads, as a C library does it, only once: here
// threads share their ids.
func (r *request) once(do func() answer) answer {
	process := r.process()
	call := change{process: process, number: r.n.nr, args: [3]uint64(r.n.args[:3])}
	l := r.w.s.creds
	if a, ok := l.repeated(call, r.pid, r.creds()); ok {
		return a
	}
	a := do()
	if a.errno == 0 && !a.goOn {
		l.note(call, r.pid, r.creds(), a)
	}
	return a
}

// kind is one of the two kinds of ids.
type kind struct {
	capability uint // to change them at will
	of         func(creds) ids
	with       func(creds, ids) creds
}

func uids() kind {
	return kind{unix.CAP_SETUID, func(c creds) ids { return c.uid }, creds.withUID}
}

func gids() kind {
	with := func(c creds, i ids) creds {
		c.gid = i
		return c
	}
	return kind{unix.CAP_SETGID, func(c creds) ids { return c.gid }, with}
}

// change applies a call that sets some of a process's user ids or group ids.
func (r *request) change(k kind, set func(i ids, privileged bool) (ids, unix.Errno)) answer {
	return r.once(func() answer {
		c := r.creds()
		i, errno := set(k.of(c), c.can(k.capability))
		if errno != 0 {
			return fail(errno)
		}
		return r.setCreds(k.with(c, i))
	})
}

func setuid(r *request) answer    { return r.setAll(uids()) }
func setgid(r *request) answer    { return r.setAll(gids()) }
func setreuid(r *request) answer  { return r.setTwo(uids()) }
func setregid(r *request) answer  { return r.setTwo(gids()) }
func setresuid(r *request) answer { return r.setThree(uids()) }
func setresgid(r *request) answer { return r.setThree(gids()) }
func setfsuid(r *request) answer  { return r.setFS(uids()) }
func setfsgid(r *request) answer  { return r.setFS(gids()) }

func (r *request) setAll(k kind) answer {
	return r.change(k, func(i ids, privileged bool) (ids, unix.Errno) { return i.setAll(r.argID(0), privileged) })
}

func (r *request) setTwo(k kind) answer {
	return r.change(k, func(i ids, privileged bool) (ids, unix.Errno) {
		return i.setTwo(r.argID(0), r.argID(1), privileged)
	})
}

func (r *request) setThree(k kind) answer {
	return r.change(k, func(i ids, privileged bool) (ids, unix.Errno) {
		return i.setThree([3]uint32{r.argID(0), r.argID(1), r.argID(2)}, privileged)
	})
}

// setFS returns the id before, as these calls do.
func (r *request) setFS(k kind) answer {
	c := r.creds()
	i := k.of(c)
	before := i.fs
	if a := r.setCreds(k.with(c, i.setFS(r.argID(0), c.can(k.capability)))); a.goOn || a.errno != 0 {
		return a
	}
	return result(r.id(before))
}
