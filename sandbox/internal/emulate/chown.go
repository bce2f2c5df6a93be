package emulate

import (
	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/owners"
)

// chown does for real what it can, to the one id there is, and records the rest.
func chown(r *request) answer {
	t, ok := r.target()
	if !ok {
		return goOn()
	}
	fd, err := r.openTarget(t, 0)
	if err != nil {
		return goOn()
	}
	defer unix.Close(fd)
	uid, gid := r.argID(r.e.arg), r.argID(r.e.arg+1)
	o := r.w.recordFD(fd)
	c := r.creds()
	if !c.can(unix.CAP_CHOWN) && !c.mayChown(o, uid, gid) {
		return fail(unix.EPERM)
	}
	before := o
	if uid != unchanged {
		o.UID = int(uid)
	}
	if gid != unchanged {
		o.GID = int(gid)
	}
	if !r.waiting() {
		return goOn()
	}
	r.w.beforeCopy(fd)
	// Only an id that is given is set, as the kernel looks at nothing else.
	if err := unix.Fchownat(fd, "", only(uid), only(gid), unix.AT_EMPTY_PATH); err != nil {
		return failed(err)
	}
	if sameOwner(o, before) && o.IsZero() {
		return answer{}
	}
	return fail(r.w.setRecord(fd, o))
}

// largeFile is what takes longer to copy up than a change of threads.
const largeFile = 1 << 20

// beforeCopy comes before an operation that may copy a file up.
func (w *worker) beforeCopy(fd int) {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && st.Size >= largeFile {
		w.yield()
	}
}

// only is the sandbox's one id for an id that is to be changed.
func only(id uint32) int {
	if id == unchanged {
		return -1
	}
	return 0
}

func sameOwner(a, b owners.Owner) bool { return a.UID == b.UID && a.GID == b.GID }

// mayChown: an owner may give a file to one of its own groups.
func (c *creds) mayChown(o owners.Owner, uid, gid uint32) bool {
	if uint32(o.UID) != c.uid.fs {
		return false
	}
	return (uid == unchanged || uid == c.uid.fs) && (gid == unchanged || gid == uint32(o.GID) || c.inGroup(gid))
}

// keep comes before a call that may copy up a symbolic link, FIFO or socket whose owner is in a lower layer's table: it is
// copied up now, while it is known which it is.
func keep(r *request) answer {
	t, ok := r.target()
	if !ok {
		return goOn()
	}
	t.follow = false
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, t.name(), t.statFlags(), inodeMask, &st) != nil || !r.w.s.side.isBelow(inodeOf(&st)) {
		return goOn()
	}
	fd, err := r.openTarget(t, 0)
	if err != nil {
		return goOn()
	}
	defer unix.Close(fd)
	o := r.w.recordFD(fd)
	if !r.waiting() {
		return goOn()
	}
	if unix.Fchownat(fd, "", 0, 0, unix.AT_EMPTY_PATH) == nil {
		r.w.setRecord(fd, o)
	}
	return goOn()
}
