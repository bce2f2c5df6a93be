package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// show gives a file's owner, type and mode as several calls see them; they must agree.
func show(name string) string {
	var st, at unix.Stat_t
	must(unix.Lstat(name, &st))
	must(unix.Fstatat(unix.AT_FDCWD, name, &at, unix.AT_SYMLINK_NOFOLLOW))
	var x unix.Statx_t
	must(unix.Statx(unix.AT_FDCWD, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &x))
	a := fmt.Sprintf("%d:%d %o %d", st.Uid, st.Gid, st.Mode, st.Size)
	b := fmt.Sprintf("%d:%d %o %d", at.Uid, at.Gid, at.Mode, at.Size)
	c := fmt.Sprintf("%d:%d %o %d", x.Uid, x.Gid, x.Mode, x.Size)
	if a != b || a != c || st.Ino != x.Ino || at.Mtim.Nano() != int64(x.Mtime.Sec)*1e9+int64(x.Mtime.Nsec) {
		return fmt.Sprint("calls disagree: ", a, " / ", b, " / ", c)
	}
	if more := showMore(name, &st); more != "" {
		return "calls disagree: " + more
	}
	fd, err := unix.Open(name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	must(err)
	defer unix.Close(fd)
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		var f unix.Stat_t
		must(unix.Fstat(fd, &f))
		if f.Uid != st.Uid || f.Gid != st.Gid || f.Mode != st.Mode {
			return fmt.Sprintf("fstat disagrees: %d:%d", f.Uid, f.Gid)
		}
	}
	return a
}

func files(dir string) {
	must(os.Chdir(dir))
	must(os.WriteFile("file", []byte("hello"), 0o644))
	must(os.Mkdir("dir", 0o755))
	must(os.Symlink("file", "link"))
	must(unix.Mkfifo("fifo", 0o600))
	must(unix.Mknod("socket", unix.S_IFSOCK|0o640, 0))

	say("chown", unix.Chown("file", 1, 2), show("file"))
	say("chown follows", unix.Chown("link", 3, 4), show("file"), show("link"))
	say("lchown", unix.Lchown("link", 5, 6), show("link"), show("file"))
	say("lchown gid only", unix.Lchown("link", -1, 60000), show("link"))
	say("fifo", unix.Chown("fifo", 7, 8), show("fifo"))
	say("socket", unix.Chown("socket", 9, 10), show("socket"))
	say("dir", unix.Chown("dir", 11, 12), show("dir"))
	fd, err := unix.Open("dir", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(err)
	say("fchown", unix.Fchown(fd, 13, -1), show("dir"))
	say("fchownat empty path", unix.Fchownat(fd, "", -1, 14, unix.AT_EMPTY_PATH), show("dir"))
	must(os.WriteFile("dir/below", nil, 0o644))
	say("fchownat", unix.Fchownat(fd, "below", 15, 16, 0), show("dir/below"))
	say("fchownat of nothing", unix.Fchownat(fd, "nothing", 1, 1, 0))
	say("fchownat up", unix.Fchownat(fd, "../file", 17, 18, 0), show("file"))
	say("through /proc", unix.Chown(fmt.Sprintf("/proc/self/fd/%d", fd), 19, 20), show("dir"))
	say("bad descriptor", unix.Fchown(999, 1, 1))
	narrowFiles()

	say("setuid", unix.Chmod("file", 0o6755), show("file"))
	say("chown clears it", unix.Chown("file", 1, -1), show("file"))
	say("setgid without x", unix.Chmod("file", 0o2644), unix.Chown("file", 2, -1), show("file"))
	say("directory keeps it", unix.Chmod("dir", 0o2755), unix.Chown("dir", 2, 3), show("dir"))
	moved()
	created()
	out, err := exec.Command("/proc/self/exe", "who").Output()
	say("still", err, string(out[:len(out)-1]))
}

// moved: a record follows its file.
func moved() {
	must(os.Rename("link", "dir/link2"))
	must(os.Link("dir/link2", "link3"))
	must(os.Rename("fifo", "fifo2"))
	say("renamed", show("dir/link2"), show("link3"), show("fifo2"))
	must(os.Remove("link3"))
	must(os.Symlink("x", "link3"))
	say("made anew", show("link3"))
	say("back to root", unix.Chown("file", 0, 0), unix.Lchown("dir/link2", 0, 0), show("file"), show("dir/link2"))
	names := make([]byte, 1000)
	must(unix.Setxattr("dir", "user.mine", []byte("1"), 0))
	n, err := unix.Listxattr("dir", names)
	say("xattrs", err, slices.Equal(names[:n], []byte("user.mine\x00")))
	n, err = unix.Listxattr("dir", nil)
	say("xattrs size", err, n)
}

// created: what a user makes is the user's, what is made in a setgid directory is the directory's group's.
func created() {
	unix.Umask(0o027)
	must(os.WriteFile("dir/by-root", nil, 0o666))
	must(os.Mkdir("dir/sub", 0o777))
	say("in a setgid directory", show("dir/by-root"), show("dir/sub"))
	must(os.Chmod(".", 0o777))
	must(syscall.Setgroups([]int{5}))
	must(unix.Setresgid(21, 21, 0))
	must(unix.Setresuid(20, 20, 0))
	must(os.WriteFile("a", nil, 0o666))
	say("open", show("a"))
	fd, err := unix.Open("a", unix.O_CREAT|unix.O_EXCL, 0o666)
	say("exclusive", err, fd)
	fd, err = unix.Openat2(unix.AT_FDCWD, "b", &unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY | unix.O_CLOEXEC, Mode: 0o640})
	must(err)
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	say("openat2", show("b"), err, flags)
	must(os.Mkdir("c", 0o777))
	must(os.Symlink("c", "d"))
	must(unix.Mkfifo("e", 0o666))
	say("mkdir, symlink, mkfifo", show("c"), show("d"), show("e"))
	fd, err = unix.Open(".", unix.O_TMPFILE|unix.O_RDWR, 0o666)
	must(err)
	must(unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, "f", unix.AT_SYMLINK_FOLLOW))
	say("O_TMPFILE", show("f"))
	say("a user's chown", unix.Chown("a", 0, -1), unix.Chown("a", -1, 5), unix.Chown("a", -1, 6), show("a"))
	say("a user's mknod", unix.Mknod("g", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(unix.Setresuid(0, 0, 0))
	must(unix.Setresgid(0, 0, 0))
}
