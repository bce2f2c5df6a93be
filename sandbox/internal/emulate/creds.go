package emulate

import (
	"encoding/binary"
	"math"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// ids are the real, effective, saved and file system id of a process: user ids or group ids.
type ids struct{ real, effective, saved, fs uint32 }

func allOf(id uint32) ids { return ids{id, id, id, id} }

// has reports whether a process without privilege may take id.
func (i ids) has(id uint32) bool { return id == i.real || id == i.effective || id == i.saved }

// creds are what a process may do: its ids and capabilities. They can be compared.
type creds struct {
	uid, gid ids
	groups   string // of 4 bytes each

	permitted, effective uint64 // capabilities, as bit sets
	keep                 bool   // the permitted ones when no user id is root's any more: PR_SET_KEEPCAPS
}

// startCreds are those of a fresh process of a user, root having the capabilities caps.
func startCreds(uid, gid uint32, groups []uint32, caps uint64) creds {
	c := creds{uid: allOf(uid), gid: allOf(gid), groups: packGroups(groups)}
	return c.executed(caps)
}

func packGroups(groups []uint32) string {
	b := make([]byte, 0, 4*len(groups))
	for _, g := range groups {
		b = binary.NativeEndian.AppendUint32(b, g)
	}
	return string(b)
}

func (c *creds) group(i int) uint32 { return binary.NativeEndian.Uint32([]byte(c.groups[4*i : 4*i+4])) }

func (c *creds) groupCount() int { return len(c.groups) / 4 }

// inGroup reports whether the process may use a group for its files.
func (c *creds) inGroup(gid uint32) bool {
	if gid == c.gid.fs {
		return true
	}
	for i := range c.groupCount() {
		if c.group(i) == gid {
			return true
		}
	}
	return false
}

func (c *creds) can(capability uint) bool { return c.effective>>capability&1 == 1 }

// withUID gives the credentials other user ids, and takes or gives the capabilities that depend on being root.
func (c creds) withUID(uid ids) creds {
	wasRoot := c.uid.real == 0 || c.uid.effective == 0 || c.uid.saved == 0
	isRoot := uid.real == 0 || uid.effective == 0 || uid.saved == 0
	if wasRoot && !isRoot && !c.keep {
		c.permitted, c.effective = 0, 0
	}
	switch {
	case c.uid.effective == 0 && uid.effective != 0:
		c.effective = 0
	case c.uid.effective != 0 && uid.effective == 0:
		c.effective = c.permitted
	}
	c.uid = uid
	return c
}

// executed are the credentials after an execve that changed the ids to these.
func (c creds) executed(caps uint64) creds {
	c.uid.saved, c.uid.fs = c.uid.effective, c.uid.effective
	c.gid.saved, c.gid.fs = c.gid.effective, c.gid.effective
	c.permitted, c.effective, c.keep = 0, 0, false
	if c.uid.real == 0 || c.uid.effective == 0 {
		c.permitted = caps
	}
	if c.uid.effective == 0 {
		c.effective = caps
	}
	return c
}

// maxCreds and maxGroupBytes bound what a process that changes its ids or groups without end makes the supervisor keep.
const (
	maxCreds      = 1 << 18
	maxGroupBytes = 16 << 20
)

// credList numbers all credentials that a process of the sandbox has had. Number 0 are those of the command at its start.
type credList struct {
	mu     sync.RWMutex
	list   []creds
	number map[creds]uint64
	groups int // the bytes of all lists of groups

	changes []*changed // the last ones
}

func newCredList(initial creds) *credList {
	return &credList{list: []creds{initial}, number: map[creds]uint64{initial: 0}}
}

func (l *credList) add(c creds) (uint64, unix.Errno) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n, ok := l.number[c]; ok {
		return n, 0
	}
	if len(l.list) >= maxCreds || l.groups+len(c.groups) > maxGroupBytes {
		return 0, unix.EAGAIN
	}
	l.groups += len(c.groups)
	n := uint64(len(l.list))
	l.list, l.number[c] = append(l.list, c), n
	return n, 0
}

// of reads the credentials of a process: its number is the distance of two limits that nothing uses. A process that has
// changed them itself counts as fresh.
func (l *credList) of(pid int) creds {
	var limit unix.Rlimit
	n := uint64(0)
	if unix.Prlimit(pid, unix.RLIMIT_LOCKS, nil, &limit) == nil {
		n = limit.Max - limit.Cur
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if n >= uint64(len(l.list)) {
		n = 0
	}
	return l.list[n]
}

// set gives a process credentials, which all its threads share and its children inherit. A limit is set by number, and so
// waiting must report afterwards whether the number was still that process's: if not, whoever has it gets its own back.
func (l *credList) set(pid int, c creds, waiting func() bool) unix.Errno {
	n, errno := l.add(c)
	if errno != 0 {
		return errno
	}
	var limit, before unix.Rlimit
	if unix.Prlimit(pid, unix.RLIMIT_LOCKS, nil, &limit) != nil || !waiting() {
		return unix.EAGAIN
	}
	limit.Cur = limit.Max - min(n, limit.Max)
	if unix.Prlimit(pid, unix.RLIMIT_LOCKS, &limit, &before) != nil {
		return unix.EAGAIN
	}
	if !waiting() {
		_ = unix.Prlimit(pid, unix.RLIMIT_LOCKS, &before, nil) // it may have ended, too
		return unix.EAGAIN
	}
	return 0
}

// change is a call of a process that changed its credentials.
type change struct {
	process int
	number  int32
	args    [3]uint64
}

// changed is a change and what came of it.
type changed struct {
	change
	threads map[int]bool // have made the call
	after   creds
	answer  answer
}

// maxChanges is how many processes at a time may be changing their ids through several threads.
const maxChanges = 64

// repeated looks for the same call by another thread of a process that has not changed since.
func (l *credList) repeated(call change, thread int, now creds) (answer, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.changes {
		if c.change == call && c.after == now && !c.threads[thread] {
			c.threads[thread] = true
			return c.answer, true
		}
	}
	return answer{}, false
}

// note remembers a call that changed credentials, as the last one of its process.
func (l *credList) note(call change, thread int, after creds, a answer) {
	c := &changed{call, map[int]bool{thread: true}, after, a}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, old := range l.changes {
		if old.process == call.process {
			l.changes[i] = c
			return
		}
	}
	if len(l.changes) == maxChanges {
		l.changes = slices.Delete(l.changes, 0, 1)
	}
	l.changes = append(l.changes, c)
}

// unchanged is the id argument that leaves an id as it is.
const unchanged = math.MaxUint32

// setAll is setuid and setgid.
func (i ids) setAll(id uint32, privileged bool) (ids, unix.Errno) {
	switch {
	case id == unchanged:
		return i, unix.EINVAL
	case privileged:
		return allOf(id), 0
	case id == i.real || id == i.saved:
		i.effective, i.fs = id, id
		return i, 0
	}
	return i, unix.EPERM
}

// setTwo is setreuid and setregid.
func (i ids) setTwo(real, effective uint32, privileged bool) (ids, unix.Errno) {
	n := i
	if real != unchanged {
		n.real = real
		if real != i.real && real != i.effective && !privileged {
			return i, unix.EPERM
		}
	}
	if effective != unchanged {
		n.effective = effective
		if !i.has(effective) && !privileged {
			return i, unix.EPERM
		}
	}
	if real != unchanged || effective != unchanged && effective != i.real {
		n.saved = n.effective
	}
	n.fs = n.effective
	return n, 0
}

// setThree is setresuid and setresgid.
func (i ids) setThree(want [3]uint32, privileged bool) (ids, unix.Errno) {
	n := i
	for k, to := range []*uint32{&n.real, &n.effective, &n.saved} {
		if want[k] == unchanged {
			continue
		}
		if !i.has(want[k]) && !privileged {
			return i, unix.EPERM
		}
		*to = want[k]
	}
	n.fs = n.effective
	return n, 0
}

// setFS is setfsuid and setfsgid, which never fail.
func (i ids) setFS(id uint32, privileged bool) ids {
	if id != unchanged && (privileged || i.has(id) || id == i.fs) {
		i.fs = id
	}
	return i
}
