package emulate

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// target is a file as the supervisor reaches it: the path is absolute, from the caller's root, which is this thread's as
// well; or relative, from this thread's working directory, which is the supervisor's own /proc, and leads through the
// caller's working directory or one of its descriptors. So every path is walked by the kernel as it is for the caller.
type target struct {
	path   []byte // ends in a zero, which is not counted
	follow bool   // a symbolic link in the last component
}

// maxPath is PATH_MAX.
const maxPath = 4096

// target finds the file that the call names. It is false where the kernel should say what is wrong.
func (r *request) target() (target, bool) {
	obj := r.e.obj
	flags := uint64(0)
	if obj.flags >= 0 {
		flags = r.n.args[obj.flags]
	}
	t := target{follow: !obj.nofollow && flags&noFollowFlag == 0}
	var name []byte
	if obj.path >= 0 {
		var ok bool
		// The path is read behind the room for what comes before it.
		if name, ok = r.readString(r.n.args[obj.path], r.w.path[prefixRoom:prefixRoom+maxPath]); !ok {
			return t, false
		}
		if len(name) == 0 && flags&emptyPath == 0 {
			return t, false
		}
	}
	if len(name) > 0 && name[0] == '/' {
		return r.absolute(t, name), true
	}
	if len(name) == 0 {
		// A link of /proc to a descriptor leads to the very object, even to a symbolic link: it must be followed, once.
		t.follow = true
	}
	dir := int32(unix.AT_FDCWD)
	if obj.dir >= 0 {
		dir = int32(r.n.args[obj.dir])
	}
	return r.below(t, dir, name)
}

// prefixRoom is enough for "PID/fd/NUMBER/".
const prefixRoom = 32

// below puts the directory that a path starts from before it.
func (r *request) below(t target, dir int32, name []byte) (target, bool) {
	prefix := strconv.AppendUint(r.w.prefix[:0], uint64(r.pid), 10)
	switch {
	case dir == unix.AT_FDCWD:
		prefix = append(prefix, "/cwd"...)
	case dir >= 0:
		prefix = append(prefix, "/fd/"...)
		prefix = strconv.AppendUint(prefix, uint64(dir), 10)
	default:
		return t, false
	}
	if len(name) > 0 {
		prefix = append(prefix, '/')
	}
	return r.join(t, prefix, len(name)), true
}

// join moves prefix right before the name that was read into the path buffer.
func (r *request) join(t target, prefix []byte, name int) target {
	start := prefixRoom - len(prefix)
	copy(r.w.path[start:], prefix)
	end := prefixRoom + name
	r.w.path[end] = 0
	t.path = r.w.path[start:end]
	return t
}

// absolute replaces the names in which a process finds its own descriptors: in the supervisor they would be its own, or
// nobody's.
func (r *request) absolute(t target, name []byte) target {
	r.w.path[prefixRoom+len(name)] = 0
	t.path = r.w.path[prefixRoom : prefixRoom+len(name)]
	if len(name) > 8 && (name[1] == 'p' || name[1] == 'd') {
		if own, ok := ownName(string(name), t.follow); ok {
			t.path = append(strconv.AppendInt(nil, int64(r.pid), 10), own+"\x00"...)
			t.path = t.path[:len(t.path)-1]
		}
	}
	return t
}

// ownName turns a path to something of the caller itself into one below its directory in /proc.
func ownName(name string, follow bool) (string, bool) {
	for _, own := range []struct{ name, is string }{
		{"/proc/self/", "/"}, {"/proc/thread-self/", "/"}, {"/dev/fd/", "/fd/"},
	} {
		if rest, ok := strings.CutPrefix(name, own.name); ok {
			return own.is + rest, true
		}
	}
	for fd, std := range []string{"/dev/stdin", "/dev/stdout", "/dev/stderr"} {
		if name == std && follow {
			return "/fd/" + strconv.Itoa(fd), true
		}
	}
	return "", false
}

// parent is the directory that the last component is in.
func (t target) parent() target {
	p := bytes.TrimRight(t.path, "/")
	i := bytes.LastIndexByte(p, '/')
	if i <= 0 {
		return target{path: []byte("/\x00")[:1], follow: true}
	}
	dir := append(slices.Clone(p[:i]), 0)
	return target{path: dir[:i], follow: true}
}

// statFlags are the flags for calls that take a path and AT_ flags.
func (t target) statFlags() int {
	if t.follow {
		return 0
	}
	return unix.AT_SYMLINK_NOFOLLOW
}

// name gives the path to functions that take a string.
func (t target) name() string { return string(t.path) }
