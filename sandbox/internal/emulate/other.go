package emulate

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/owners"
)

func itoa(n int) string { return strconv.Itoa(n) }

// statusLine reads one line of a process's file status in /proc; process is its number, or "self".
func statusLine(process, field string) (string, bool) {
	b, err := os.ReadFile(process + "/status")
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(rest), true
		}
	}
	return "", false
}

// status reads a number of the given base from there.
func (r *request) status(field string, base int, otherwise uint64) uint64 {
	line, ok := statusLine(itoa(r.pid), field)
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseUint(line, base, 32)
	if err != nil {
		return otherwise
	}
	return n
}

// innerPID is a thread's number in its own pid namespace.
func innerPID(pid int) string {
	line, _ := statusLine(itoa(pid), "NSpid")
	return line[strings.LastIndexByte(line, '\t')+1:]
}

// listxattr leaves the owner record out of a list, so that nobody copies it to another file.
func listxattr(r *request) answer {
	fd, _, ok := r.recorded()
	if !ok {
		return goOn()
	}
	defer unix.Close(fd)
	buf := make([]byte, math.MaxUint16+1) // XATTR_LIST_MAX
	n, err := unix.Listxattr(fdPath(fd), buf)
	if err != nil {
		return goOn()
	}
	kept := make([]byte, 0, n)
	for name := range bytes.SplitAfterSeq(buf[:n], []byte{0}) {
		if string(name) != owners.Xattr+"\x00" {
			kept = append(kept, name...)
		}
	}
	size := r.n.args[r.e.arg+1]
	switch {
	case size == 0:
		return result(len(kept))
	case uint64(len(kept)) > size:
		return fail(unix.ERANGE)
	case !r.write(r.n.args[r.e.arg], kept):
		return fail(unix.EFAULT)
	}
	return result(len(kept))
}

// peercred tells who is at the other end of a unix socket: a server that lets users in by their id asks this.
func peercred(r *request) answer {
	if int32(r.n.args[1]) != unix.SOL_SOCKET {
		return goOn()
	}
	peer, ok := r.peer(int(int32(r.n.args[0])))
	if !ok || peer.Pid == 0 {
		return goOn()
	}
	ours, err := os.Readlink(itoa(r.pid) + "/ns/mnt")
	theirs, _ := os.Readlink(itoa(int(peer.Pid)) + "/ns/mnt")
	if err != nil || ours != theirs {
		return goOn() // not of the sandbox
	}
	inner, err := strconv.Atoi(innerPID(int(peer.Pid)))
	if err != nil {
		return goOn()
	}
	c := r.w.s.creds.of(int(peer.Pid))
	b := make([]byte, 0, 12)
	for _, v := range []uint32{uint32(inner), c.uid.effective, c.gid.effective} {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	var size [4]byte
	if !r.read(r.n.args[4], size[:]) {
		return fail(unix.EFAULT)
	}
	b = b[:min(len(b), int(binary.NativeEndian.Uint32(size[:])))]
	binary.NativeEndian.PutUint32(size[:], uint32(len(b)))
	if !r.write(r.n.args[3], b) || !r.write(r.n.args[4], size[:]) {
		return fail(unix.EFAULT)
	}
	return answer{}
}

// socketcall is getsockopt of old i386 programs, with its arguments in memory.
func socketcall(r *request) answer {
	var b [5 * 4]byte
	if !r.read(r.n.args[1], b[:]) {
		return goOn()
	}
	for i := range 5 {
		r.n.args[i] = uint64(binary.NativeEndian.Uint32(b[4*i:]))
	}
	if r.n.args[2] != unix.SO_PEERCRED {
		return goOn()
	}
	return peercred(r)
}

// peer asks the kernel, with a copy of the caller's socket.
func (r *request) peer(fd int) (*unix.Ucred, bool) {
	process, err := unix.PidfdOpen(r.process(), 0)
	if err != nil {
		return nil, false
	}
	defer unix.Close(process)
	if !r.waiting() {
		return nil, false
	}
	socket, err := unix.PidfdGetfd(process, fd, 0)
	if err != nil {
		return nil, false
	}
	defer unix.Close(socket)
	peer, err := unix.GetsockoptUcred(socket, unix.SOL_SOCKET, unix.SO_PEERCRED)
	return peer, err == nil
}

// process is the number of the process that the calling thread belongs to; its own if that is gone.
func (r *request) process() int { return int(r.status("Tgid", 10, uint64(r.pid))) }

// newRoot comes before a process may have another root directory than the rest: from now on each call is looked at from its
// caller's.
func newRoot(r *request) answer {
	r.w.s.roots.Store(true)
	return goOn()
}

// newNamespace comes before there may be processes in another user namespace. Ids mean something else to those, and the
// kernel knows what: they are left alone.
func newNamespace(r *request) answer {
	r.w.s.roots.Store(true)
	r.w.s.namespaces.Store(true)
	return goOn()
}

// clone3 has its flags in memory. Docker's profile answers it with ENOSYS first.
func clone3(r *request) answer {
	var flags [8]byte
	if r.read(r.n.args[0], flags[:]) && binary.NativeEndian.Uint64(flags[:])&(cloneNewUser|cloneNewNS) != 0 {
		return newNamespace(r)
	}
	return goOn()
}
