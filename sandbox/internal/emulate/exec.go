package emulate

import "golang.org/x/sys/unix"

// execve changes the ids that a setuid or setgid program gives, and copies the effective ones to the saved ones as every
// execve does. The program is started by the kernel afterwards: should that fail although the file is there and can be
// executed, the ids stay changed.
func execve(r *request) answer {
	t, ok := r.target()
	if !ok {
		return goOn()
	}
	var st unix.Stat_t
	if unix.Fstatat(unix.AT_FDCWD, t.name(), &st, t.statFlags()) != nil {
		return goOn()
	}
	const special = unix.S_ISUID | unix.S_ISGID
	before := r.creds()
	if st.Mode&special == 0 && before == before.executed(r.w.s.caps) {
		return goOn()
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return goOn()
	}
	c := before
	if st.Mode&special != 0 && !r.nosuid(t) {
		o, _ := r.w.record(t)
		if st.Mode&unix.S_ISUID != 0 {
			c.uid.effective = uint32(o.UID)
		}
		if st.Mode&(unix.S_ISGID|0o010) == unix.S_ISGID|0o010 {
			c.gid.effective = uint32(o.GID)
		}
	}
	if c = c.executed(r.w.s.caps); c != before && r.waiting() {
		r.w.s.creds.set(r.pid, c, r.waiting)
	}
	return goOn()
}

// nosuid reports whether the bits count for nothing: in this process, for this script, or on this mount. What keeps every
// process of this machine's user from gaining privileges is no reason: none are gained.
func (r *request) nosuid(t target) bool {
	var fs unix.Statfs_t
	if !r.w.s.noNewPrivs && r.status("NoNewPrivs", 10, 0) != 0 || unix.Statfs(t.name(), &fs) == nil && fs.Flags&unix.ST_NOSUID != 0 {
		return true
	}
	fd, err := unix.Open(t.name(), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var magic [2]byte
	n, err := unix.Read(fd, magic[:])
	return err == nil && n == 2 && magic == [2]byte{'#', '!'}
}
