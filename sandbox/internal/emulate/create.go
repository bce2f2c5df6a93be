package emulate

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/owners"
)

// The calls of this file make something. When it is to belong to root, the kernel makes it: also when the supervisor meets
// any error, which the kernel will then meet too and say.

// place is where something is to be made, and whose it will be. All that it says was read before it was known that the
// caller still waited, and so is the caller's.
type place struct {
	dir   int
	name  string
	owner owners.Owner
	mode  uint32 // after the umask
}

// place finds it, if it is to be another's than root's. The caller of place closes dir.
func (r *request) place(mode uint64) (place, bool) {
	t, ok := r.target()
	if !ok {
		return place{}, false
	}
	c := r.creds()
	var st unix.Stat_t
	if c.uid.fs == 0 && c.gid.fs == 0 { // most often: root's, in a directory of no group
		dir := t.parent()
		if unix.Stat(dir.name(), &st) != nil || st.Mode&unix.S_ISGID == 0 {
			return place{}, false
		}
	}
	dir, name, err := r.openParent(t)
	if err != nil {
		return place{}, false
	}
	p := place{dir: dir, name: name, owner: r.w.newOwner(c, dir)}
	if !p.owner.IsZero() {
		p.mode = r.masked(mode)
	}
	if p.owner.IsZero() || !r.waiting() {
		unix.Close(dir)
		return place{}, false
	}
	return p, true
}

// newOwner is who a file belongs to that a process makes in a directory.
func (w *worker) newOwner(c creds, dir int) owners.Owner {
	o := owners.Owner{UID: int(c.uid.fs), GID: int(c.gid.fs)}
	var st unix.Stat_t
	if unix.Fstat(dir, &st) == nil && st.Mode&unix.S_ISGID != 0 {
		o.GID = w.recordFD(dir).GID
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
	if flags&createsNone != 0 {
		return r.openNameless(flags, mode)
	}
	p, ok := r.place(mode)
	if !ok {
		return goOn()
	}
	defer unix.Close(p.dir)
	fd, err := unix.Openat(p.dir, p.name, int(flags)|unix.O_CLOEXEC|unix.O_EXCL|unix.O_NOFOLLOW, p.mode)
	if err != nil {
		return goOn()
	}
	return r.handOver(fd, p.owner, flags)
}

// openNameless makes a file without a name (O_TMPFILE) in a directory.
func (r *request) openNameless(flags, mode uint64) answer {
	t, ok := r.target()
	if !ok {
		return goOn()
	}
	dir, err := r.openTarget(t, unix.O_DIRECTORY)
	if err != nil {
		return goOn()
	}
	defer unix.Close(dir)
	o, masked := r.w.newOwner(r.creds(), dir), r.masked(mode)
	if o.IsZero() || !r.waiting() {
		return goOn()
	}
	fd, err := unix.Openat(dir, ".", int(flags)|unix.O_CLOEXEC, masked)
	if err != nil {
		return goOn()
	}
	return r.handOver(fd, o, flags)
}

// handOver records whose a new file is and gives it to the caller.
func (r *request) handOver(fd int, o owners.Owner, flags uint64) answer {
	defer unix.Close(fd)
	if errno := r.w.setRecord(fd, o); errno != 0 {
		return fail(errno)
	}
	n, sent, errno := r.w.s.listener.give(r.n.id, fd, flags&unix.O_CLOEXEC != 0)
	return answer{val: int64(n), errno: errno, done: sent}
}

func mkdir(r *request) answer {
	return r.make(r.n.args[r.e.arg], func(p place) error { return unix.Mkdirat(p.dir, p.name, p.mode) })
}

func symlink(r *request) answer {
	to, ok := r.readString(r.n.args[r.e.arg], make([]byte, maxPath))
	if !ok {
		return goOn()
	}
	return r.make(0, func(p place) error { return unix.Symlinkat(string(to), p.dir, p.name) })
}

// make makes something that is no open file, with the mode that the caller asks for.
func (r *request) make(mode uint64, do func(p place) error) answer {
	p, ok := r.place(mode)
	if !ok {
		return goOn()
	}
	defer unix.Close(p.dir)
	if do(p) != nil {
		return goOn()
	}
	fd, err := unix.Openat(p.dir, p.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed(err)
	}
	defer unix.Close(fd)
	return fail(r.w.setRecord(fd, p.owner))
}

func mknod(r *request) answer {
	mode, dev := uint32(r.n.args[r.e.arg]), uint32(r.n.args[r.e.arg+1])
	switch mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
		return r.makeDevice(decodeDevice(dev, mode&unix.S_IFMT == unix.S_IFBLK))
	}
	return r.make(uint64(mode), func(p place) error {
		return unix.Mknodat(p.dir, p.name, mode&unix.S_IFMT|p.mode, 0)
	})
}

// makeDevice makes the empty file that stands for a device. Character device 0:0 is left to the kernel: overlayfs takes it
// for a deleted file.
func (r *request) makeDevice(d *owners.Device) answer {
	c := r.creds()
	if !c.can(unix.CAP_MKNOD) {
		return fail(unix.EPERM)
	}
	t, ok := r.target()
	if !ok || !d.Block && d.Major == 0 && d.Minor == 0 {
		return goOn()
	}
	dir, name, err := r.openParent(t)
	if err != nil {
		return goOn()
	}
	defer unix.Close(dir)
	o := r.w.newOwner(c, dir)
	o.Device = d
	mode := r.masked(r.n.args[r.e.arg])
	if !r.waiting() {
		return goOn()
	}
	fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, mode)
	if err != nil {
		return failed(err)
	}
	defer unix.Close(fd)
	return fail(r.w.setRecord(fd, o))
}
