package emulate

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
)

// run is the kernel's interpreter for the instructions that Filter emits.
func run(t *testing.T, program []unix.SockFilter, arch, number uint32, args ...uint64) uint32 {
	t.Helper()
	var data [64]byte
	binary.LittleEndian.PutUint32(data[0:], number)
	binary.LittleEndian.PutUint32(data[4:], arch)
	for i, a := range args {
		binary.LittleEndian.PutUint64(data[16+8*i:], a)
	}
	var acc uint32
	for pc := 0; pc < len(program); pc++ {
		in := program[pc]
		jump := func(yes bool) {
			if yes {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		}
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[in.K:])
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(acc == in.K)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			jump(acc&in.K != 0)
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			t.Fatalf("instruction %d: unknown code %#x", pc, in.Code)
		}
	}
	t.Fatal("the program has no end")
	return 0
}

// Every call of the tables is stopped at, in its ABI and with the arguments that it is about; no other is.
func TestFilter(t *testing.T) {
	for _, tables := range []bool{false, true} {
		program := Filter(tables)
		assert.Assert(t, len(program) < 4096)
		for _, a := range abis() {
			stopped := map[uint32]entry{}
			for _, e := range a.entries {
				_, twice := stopped[e.number]
				assert.Assert(t, !twice, "call %d of %#x is there twice", e.number, a.audit)
				if tables || !e.when.tables {
					stopped[e.number] = e
				}
			}
			for number := range uint32(600) {
				args := make([]uint64, 6)
				want := uint32(unix.SECCOMP_RET_ALLOW)
				if e, ok := stopped[number]; ok {
					conditional := e.when.bits != 0 || e.when.equal
					args[e.when.arg] = uint64(e.when.bits&-e.when.bits | e.when.value) // the lowest bit will do
					want = unix.SECCOMP_RET_USER_NOTIF
					assert.Equal(t, run(t, program, a.audit, number, args...), want, "call %d", number)
					if conditional {
						args[e.when.arg] = 1 << 40
						want = unix.SECCOMP_RET_ALLOW
					}
				}
				assert.Equal(t, run(t, program, a.audit, number, args...), want, "call %d of %#x", number, a.audit)
			}
		}
		assert.Equal(t, run(t, program, unix.AUDIT_ARCH_RISCV64, 59), uint32(unix.SECCOMP_RET_ALLOW))
	}
}

const (
	rootCaps = 1<<unix.CAP_CHOWN | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
	same     = unchanged
)

func TestSetIDs(t *testing.T) {
	for _, tt := range []struct {
		name       string
		do         func(i ids, privileged bool) (ids, unix.Errno)
		from       ids
		privileged bool
		want       ids
		errno      unix.Errno
	}{
		{"setuid as root", all(5), ids{0, 0, 0, 0}, true, ids{5, 5, 5, 5}, 0},
		{"setuid to the saved", all(7), ids{5, 6, 7, 6}, false, ids{5, 7, 7, 7}, 0},
		{"setuid to the effective", all(6), ids{5, 6, 7, 6}, false, ids{5, 6, 7, 6}, unix.EPERM},
		{"setuid -1", all(same), ids{}, true, ids{}, unix.EINVAL},
		{"setreuid of nothing", two(same, same), ids{1, 2, 3, 4}, false, ids{1, 2, 3, 2}, 0},
		{"setreuid swaps", two(2, 1), ids{1, 2, 3, 2}, false, ids{2, 1, 1, 1}, 0},
		{"setreuid real to the saved", two(3, same), ids{1, 2, 3, 2}, false, ids{1, 2, 3, 2}, unix.EPERM},
		{"setreuid effective to the saved", two(same, 3), ids{1, 2, 3, 2}, false, ids{1, 3, 3, 3}, 0},
		{"setreuid effective to the real keeps the saved", two(same, 1), ids{1, 2, 3, 2}, false, ids{1, 1, 3, 1}, 0},
		{"setresuid", three(3, 1, 2), ids{1, 2, 3, 9}, false, ids{3, 1, 2, 1}, 0},
		{"setresuid to a stranger", three(3, 1, 9), ids{1, 2, 3, 9}, false, ids{1, 2, 3, 9}, unix.EPERM},
		{"setresuid of nothing", three(same, same, same), ids{1, 2, 3, 9}, false, ids{1, 2, 3, 2}, 0},
		{"setfsuid", fsID(3), ids{1, 2, 3, 2}, false, ids{1, 2, 3, 3}, 0},
		{"setfsuid to a stranger", fsID(9), ids{1, 2, 3, 2}, false, ids{1, 2, 3, 2}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, errno := tt.do(tt.from, tt.privileged)
			assert.Equal(t, errno, tt.errno)
			assert.Equal(t, got, tt.want)
		})
	}
}

func all(id uint32) func(ids, bool) (ids, unix.Errno) {
	return func(i ids, p bool) (ids, unix.Errno) { return i.setAll(id, p) }
}

func two(r, e uint32) func(ids, bool) (ids, unix.Errno) {
	return func(i ids, p bool) (ids, unix.Errno) { return i.setTwo(r, e, p) }
}

func three(r, e, s uint32) func(ids, bool) (ids, unix.Errno) {
	return func(i ids, p bool) (ids, unix.Errno) { return i.setThree([3]uint32{r, e, s}, p) }
}

func fsID(id uint32) func(ids, bool) (ids, unix.Errno) {
	return func(i ids, p bool) (ids, unix.Errno) { return i.setFS(id, p), 0 }
}

func TestCapabilities(t *testing.T) {
	root := startCreds(0, 0, nil, rootCaps)
	user := startCreds(5, 6, []uint32{7}, rootCaps)
	assert.Assert(t, root.can(unix.CAP_SETUID) && !user.can(unix.CAP_SETUID))
	assert.Assert(t, user.inGroup(6) && user.inGroup(7) && !user.inGroup(0))

	for _, tt := range []struct {
		name                 string
		creds                creds
		permitted, effective uint64
	}{
		{"root becomes a user", root.withUID(allOf(5)), 0, 0},
		{"only its effective id does", root.withUID(ids{0, 5, 0, 5}), rootCaps, 0},
		{"and back", root.withUID(ids{0, 5, 0, 5}).withUID(allOf(0)), rootCaps, rootCaps},
		{"a user that keeps them", kept(root).withUID(allOf(5)), rootCaps, 0},
		{"loses them with the next program", kept(root).withUID(allOf(5)).executed(rootCaps), 0, 0},
		{"a setuid program", setuid0(user).executed(rootCaps), rootCaps, rootCaps},
		{"root runs a setuid program of a user", root.withUID(ids{0, 5, 5, 5}).executed(rootCaps), rootCaps, 0},
	} {
		assert.Equal(t, tt.creds.permitted, tt.permitted, tt.name)
		assert.Equal(t, tt.creds.effective, tt.effective, tt.name)
	}
	got := setuid0(user).executed(rootCaps)
	assert.Equal(t, got.uid, ids{5, 0, 0, 0})
}

func kept(c creds) creds {
	c.keep = true
	return c
}

func setuid0(c creds) creds {
	c.uid.effective = 0
	return c
}

// A process that makes a call in each thread changes once; the same call by the same thread is another one.
func TestRepeatedChange(t *testing.T) {
	l := newCredList(creds{})
	call := change{process: 10, number: 1}
	after := creds{uid: allOf(1)}
	_, ok := l.repeated(call, 10, creds{})
	assert.Assert(t, !ok)
	l.note(call, 10, after, answer{val: 3})
	a, ok := l.repeated(call, 11, after)
	assert.Assert(t, ok && a.val == 3)
	for name, again := range map[string]struct {
		call   change
		thread int
		now    creds
	}{
		"the first thread":  {call, 10, after},
		"the second again":  {call, 11, after},
		"changed meanwhile": {call, 12, creds{}},
		"other arguments":   {change{process: 10, number: 1, args: [3]uint64{1}}, 12, after},
		"another process":   {change{process: 12, number: 1}, 12, after},
	} {
		_, ok := l.repeated(again.call, again.thread, again.now)
		assert.Assert(t, !ok, name)
	}
	for p := range 1000 {
		l.note(change{process: p}, p, after, answer{})
	}
	assert.Equal(t, len(l.changes), maxChanges)
}

// A process that sets other groups again and again, each time as many as there can be, fills the list soon.
func TestGroupListsAreBounded(t *testing.T) {
	l := newCredList(creds{})
	groups := make([]uint32, maxGroups)
	kept := 0
	for i := range uint32(1000) {
		groups[0] = i
		if _, errno := l.add(creds{groups: packGroups(groups)}); errno == unix.EAGAIN {
			break
		}
		kept++
	}
	assert.Equal(t, kept, maxGroupBytes/(4*maxGroups))
	_, errno := l.add(creds{uid: allOf(1)})
	assert.Equal(t, errno, unix.Errno(0), "without groups there is room")
}

func TestCredListIsBounded(t *testing.T) {
	l := newCredList(creds{})
	for i := range uint32(maxCreds - 1) {
		_, errno := l.add(creds{uid: allOf(i + 1)})
		assert.Equal(t, errno, unix.Errno(0))
	}
	_, errno := l.add(creds{gid: allOf(1)})
	assert.Equal(t, errno, unix.EAGAIN)
	n, errno := l.add(creds{uid: allOf(7)})
	assert.Equal(t, n, uint64(7))
	assert.Equal(t, errno, unix.Errno(0))
}

func TestPaths(t *testing.T) {
	for path, want := range map[string][2]string{
		"/proc/self/fd/3": {"/fd/3", ""}, "/proc/thread-self/cwd/x": {"/cwd", "/x"}, "/dev/fd/10": {"/fd/10", ""}, "/dev/stdin": {"/fd/0", ""},
		"/dev/stderr": {"/fd/2", ""}, "/proc/self/fd/3/a/b": {"/fd/3", "/a/b"}, "/proc/self/root/": {"/root", "/"},
		"/proc/self/fd/": {}, "/proc/self/fd": {}, "/proc/self/status": {}, "/proc/selfish": {}, "/dev/stdinx": {}, "/proc/self": {},
	} {
		link, rest, ok := ownName(path, true)
		assert.Equal(t, [2]string{link, rest}, want, path)
		assert.Equal(t, ok, want[0] != "", path)
	}
	_, _, ok := ownName("/proc/self/fd/3", false)
	assert.Assert(t, !ok, "the link itself")
	for path, want := range map[string]string{
		"/a": "/", "/a/b": "/a", "/a/b//": "/a", "12/cwd/x": "12/cwd", "12/cwd/x/y/": "12/cwd/x", "/": "/",
	} {
		dir := target{path: append([]byte(path), 0)[:len(path)]}.parent()
		assert.Equal(t, dir.name(), want, path)
		assert.Equal(t, dir.path[:len(want)+1][len(want)], byte(0), path)
	}
}

func TestDeviceNumbers(t *testing.T) {
	for _, dev := range []uint64{unix.Mkdev(1, 3), unix.Mkdev(8, 17), unix.Mkdev(0xfff, 0xfffff)} {
		d := decodeDevice(uint32(dev), false)
		assert.Equal(t, d.Major, unix.Major(dev))
		assert.Equal(t, d.Minor, unix.Minor(dev))
		assert.Equal(t, encodeDevice(d), dev)
	}
	assert.Equal(t, deviceMode(unix.S_IFREG|0o640, decodeDevice(0, true)), uint32(unix.S_IFBLK|0o640))
}

// The sizes are those of the kernel's headers; what stands where, idcalls in tests/ finds out.
func TestStatLayouts(t *testing.T) {
	st := unix.Stat_t{Uid: 70000, Gid: 5}
	assert.Equal(t, len(statI386.bytes(&st)), 64)
	assert.Equal(t, len(statI386Large.bytes(&st)), 96)
	assert.Equal(t, binary.LittleEndian.Uint16(statI386.bytes(&st)[12:]), uint16(65534))
	assert.Equal(t, binary.LittleEndian.Uint32(statI386Large.bytes(&st)[24:]), uint32(70000))
}
