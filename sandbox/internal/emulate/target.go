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
//
// A relative path names the caller by its number, and so is for looking only. Whatever changes something goes by
// request.openTarget and openParent, which take the beginning of the path from the directory of the caller that is held.
// Only that beginning may be a link of /proc to an open file: where the sandbox has the outer /proc, others would lead the
// supervisor out.
type target struct {
	path   []byte // ends in a zero, which is not counted
	link   string // the part that is ours, without the caller's number: "cwd", "root", "fd/3"; "" for an absolute path
	base   int    // the length of that part with the number
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
	t.base = len(prefix)
	t.link = string(prefix[bytes.IndexByte(prefix, '/')+1:])
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
		if link, rest, ok := ownName(string(name), t.follow); ok {
			prefix := itoa(r.pid) + link
			t.path = append([]byte(prefix+rest), 0)
			t.path, t.base, t.link = t.path[:len(t.path)-1], len(prefix), link[1:]
			t.follow = t.follow || rest == ""
		}
	}
	return t
}

// ownName turns a path through one of the caller's own links in /proc into that link, below the caller's directory there, and
// the rest.
func ownName(name string, follow bool) (link, rest string, ok bool) {
	for fd, std := range []string{"/dev/stdin", "/dev/stdout", "/dev/stderr"} {
		if name == std && follow {
			return "/fd/" + itoa(fd), "", true
		}
	}
	if fd, ok := strings.CutPrefix(name, "/dev/fd/"); ok {
		name = "/proc/self/fd/" + fd
	}
	for _, self := range []string{"/proc/self/", "/proc/thread-self/"} {
		below, ok := strings.CutPrefix(name, self)
		if !ok {
			continue
		}
		parts := strings.SplitN(below, "/", 3)
		n := 1
		if parts[0] == "fd" {
			n = 2
		} else if parts[0] != "cwd" && parts[0] != "root" {
			continue
		}
		if len(parts) < n || parts[n-1] == "" || len(parts) == n && !follow {
			continue // the link itself, or none
		}
		link = "/" + strings.Join(parts[:n], "/")
		return link, ("/" + below)[len(link):], true
	}
	return "", "", false
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

// rest is the part of the path that is the caller's.
func (t target) rest() string {
	if t.base == 0 {
		return t.name()
	}
	return strings.TrimLeft(string(t.path[t.base:]), "/")
}

// openTarget opens the file itself for nothing but naming it; flags are added. The file is the one that the caller named
// even if the caller ends meanwhile.
func (r *request) openTarget(t target, flags int) (int, error) {
	flags |= unix.O_PATH
	if !t.follow {
		flags |= unix.O_NOFOLLOW
	}
	return r.openBelow(t, t.rest(), flags)
}

// openParent opens the directory that the last component, which it returns, is in.
func (r *request) openParent(t target) (dir int, name string, err error) {
	path := strings.TrimRight(t.rest(), "/")
	i := strings.LastIndexByte(path, '/')
	if name = path[i+1:]; name == "" || name == "." || name == ".." {
		return -1, "", unix.EINVAL
	}
	dir, err = r.openBelow(t, path[:i+1], unix.O_PATH|unix.O_DIRECTORY)
	return dir, name, err
}

// openBelow opens a path below the base of a target. An empty one is the base itself.
func (r *request) openBelow(t target, rest string, flags int) (int, error) {
	flags |= unix.O_CLOEXEC
	dir := unix.AT_FDCWD
	if t.link != "" {
		base, err := r.openHeld(t.link, unix.O_PATH)
		if err != nil || rest == "" {
			return base, err
		}
		defer unix.Close(base)
		dir = base
	}
	how := unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_NO_MAGICLINKS}
	for range 16 { // EINTR
		fd, err := unix.Openat2(dir, rest, &how)
		if err != unix.EINTR {
			return fd, err
		}
	}
	return -1, unix.EINTR
}
