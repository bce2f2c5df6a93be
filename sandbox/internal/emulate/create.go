package emulate

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/owners"
)

// The calls of this file make something. When it is to belong to root, the kernel makes it: also when the supervisor meets
// any error, which the kernel will then meet too and say.

// newOwner is who a file belongs to that the caller makes at t.
func (r *request) newOwner(t target) owners.Owner {
	c := r.creds()
	o := owners.Owner{UID: int(c.uid.fs), GID: int(c.gid.fs)}
	dir := t.parent()
	var st unix.Stat_t
	if unix.Stat(dir.name(), &st) == nil && st.Mode&unix.S_ISGID != 0 {
		above, _ := r.w.record(dir)
		o.GID = above.GID
	}
	return o
}

// masked applies the caller's umask.
func (r *request) masked(mode uint64) uint32 {
	return uint32(mode) & 0o7777 &^ uint32(r.status("Umask", 8, 0o022))
}

func open(r *request) answer { return r.open(r.n.args[r.e.arg], r.n.args[r.e.arg+1]) }

func creat(r *request) answer {
	return r.open(unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, r.n.args[r.e.arg])
}

// openat2 has its flags in memory, and rules for the path that the kernel has to keep: those that are used to stay in a
// directory are for files that exist.
func openat2(r *request) answer {
	how := make([]byte, 24)
	if !r.read(r.n.args[r.e.arg], how) {
		return goOn()
	}
	flags, mode := binary.NativeEndian.Uint64(how), binary.NativeEndian.Uint64(how[8:])
	if flags&(creates|createsNone) == 0 || binary.NativeEndian.Uint64(how[16:]) != 0 {
		return goOn()
	}
	return r.open(flags, mode)
}

// open makes the file if it is not there, and hands it over.
func (r *request) open(flags, mode uint64) answer {
	t, ok := r.target()
	if !ok {
		return goOn()
	}
	nameless := flags&createsNone != 0
	if nameless {
		t.path = append(t.path[:len(t.path):len(t.path)], "/x\x00"...)[:len(t.path)+2] // its directory is the one named
	}
	o := r.newOwner(t)
	if o.IsZero() || !r.waiting() {
		return goOn()
	}
	how := int(flags) | unix.O_CLOEXEC
	if nameless {
		t = t.parent()
	} else {
		how |= unix.O_EXCL
	}
	fd, err := unix.Open(t.name(), how, r.masked(mode))
	if err != nil {
		return goOn()
	}
	defer unix.Close(fd)
	if errno := r.w.setRecord(fd, o); errno != 0 {
		return fail(errno)
	}
	n, sent, errno := r.w.s.listener.give(r.n.id, fd, flags&unix.O_CLOEXEC != 0)
	return answer{val: int64(n), errno: errno, done: sent}
}

func mkdir(r *request) answer {
	return r.make(func(t target) error { return unix.Mkdir(t.name(), r.masked(r.n.args[r.e.arg])) })
}

func symlink(r *request) answer {
	return r.make(func(t target) error {
		to, ok := r.readString(r.n.args[r.e.arg], make([]byte, maxPath))
		if !ok {
			return unix.EFAULT
		}
		return unix.Symlink(string(to), t.name())
	})
}

// make makes something that is no open file.
func (r *request) make(do func(t target) error) answer {
	t, ok := r.target()
	if !ok {
		return goOn()
	}
	o := r.newOwner(t)
	if o.IsZero() || !r.waiting() || do(t) != nil {
		return goOn()
	}
	return r.recordNew(t, o)
}

func (r *request) recordNew(t target, o owners.Owner) answer {
	fd, err := t.open()
	if err != nil {
		return failed(err)
	}
	defer unix.Close(fd)
	return fail(r.w.setRecord(fd, o))
}

func mknod(r *request) answer {
	mode, dev := uint32(r.n.args[r.e.arg]), uint32(r.n.args[r.e.arg+1])
	switch mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
		return r.makeDevice(decodeDevice(dev, mode&unix.S_IFMT == unix.S_IFBLK))
	}
	return r.make(func(t target) error {
		return unix.Mknod(t.name(), mode&unix.S_IFMT|r.masked(uint64(mode)), 0)
	})
}

// makeDevice makes the empty file that stands for a device. Character device 0:0 is left to the kernel: overlayfs takes it
// for a deleted file.
func (r *request) makeDevice(d *owners.Device) answer {
	if c := r.creds(); !c.can(unix.CAP_MKNOD) {
		return fail(unix.EPERM)
	}
	t, ok := r.target()
	if !ok || !d.Block && d.Major == 0 && d.Minor == 0 {
		return goOn()
	}
	o := r.newOwner(t)
	o.Device = d
	if !r.waiting() {
		return goOn()
	}
	mode := r.masked(r.n.args[r.e.arg])
	fd, err := unix.Open(t.name(), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, mode)
	if err != nil {
		return failed(err)
	}
	defer unix.Close(fd)
	return fail(r.w.setRecord(fd, o))
}
