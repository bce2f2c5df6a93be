package emulate

import "golang.org/x/sys/unix"

// nativeAudit is the architecture that this program is for.
const nativeAudit = unix.AUDIT_ARCH_X86_64

func abis() []abi {
	return []abi{{unix.AUDIT_ARCH_X86_64, x8664()}, {unix.AUDIT_ARCH_I386, i386()}}
}

func x8664() []entry {
	return []entry{
		{number: 5, do: stat, obj: byFD(0), arg: 1},
		{number: 262, do: stat, obj: at(0, 1, 3), arg: 2},
		{number: 4, do: stat, obj: byPath(0), arg: 1},
		{number: 6, do: stat, obj: byLink(0), arg: 1},
		{number: 332, do: statx, obj: at(0, 1, 2), arg: 3},

		{number: 257, do: open, obj: at(0, 1, -1), arg: 2, when: flagged(2, creates|createsNone)},
		{number: 2, do: open, obj: byPath(0), arg: 1, when: flagged(1, creates|createsNone)},
		{number: 85, do: creat, obj: byPath(0), arg: 1},
		{number: 437, do: openat2, obj: at(0, 1, -1), arg: 2},
		{number: 83, do: mkdir, obj: byLink(0), arg: 1},
		{number: 258, do: mkdir, obj: linkAt(0, 1), arg: 2},
		{number: 88, do: symlink, obj: byLink(1), arg: 0},
		{number: 266, do: symlink, obj: linkAt(1, 2), arg: 0},
		{number: 133, do: mknod, obj: byLink(0), arg: 1},
		{number: 259, do: mknod, obj: linkAt(0, 1), arg: 2},

		{number: 92, do: chown, obj: byPath(0), arg: 1},
		{number: 93, do: chown, obj: byFD(0), arg: 1},
		{number: 94, do: chown, obj: byLink(0), arg: 1},
		{number: 260, do: chown, obj: at(0, 1, 4), arg: 2},
		{number: 194, do: listxattr, obj: byPath(0), arg: 1},
		{number: 195, do: listxattr, obj: byLink(0), arg: 1},
		{number: 196, do: listxattr, obj: byFD(0), arg: 1},
		{number: 465, do: listxattr, obj: at(0, 1, 2), arg: 3},

		{number: 59, do: execve, obj: byPath(0)},
		{number: 322, do: execve, obj: at(0, 1, 4)},

		{number: 102, do: getuid}, {number: 104, do: getgid}, {number: 107, do: geteuid}, {number: 108, do: getegid},
		{number: 118, do: getresuid}, {number: 120, do: getresgid}, {number: 115, do: getgroups},
		{number: 105, do: setuid}, {number: 106, do: setgid}, {number: 113, do: setreuid}, {number: 114, do: setregid},
		{number: 117, do: setresuid}, {number: 119, do: setresgid}, {number: 122, do: setfsuid}, {number: 123, do: setfsgid},
		{number: 116, do: setgroups},
		{number: 97, do: getrlimit, arg: 1, when: exactly(0, unix.RLIMIT_LOCKS)}, {number: 160, do: setrlimit, when: exactly(0, unix.RLIMIT_LOCKS)},
		{number: 302, do: prlimit, arg: 3, when: exactly(1, unix.RLIMIT_LOCKS)},
		{number: 125, do: capget}, {number: 126, do: capset}, {number: 157, do: keepcaps, when: exactly(0, unix.PR_SET_KEEPCAPS)},
		{number: 55, do: peercred, when: exactly(2, unix.SO_PEERCRED)},

		{number: 161, do: newRoot}, {number: 155, do: newRoot},
		{number: 308, do: newNamespace}, {number: 272, do: newNamespace, when: flagged(0, cloneNewUser|cloneNewNS)},
		{number: 56, do: newNamespace, when: flagged(0, cloneNewUser|cloneNewNS)}, {number: 435, do: clone3},

		{number: 82, do: keep, obj: byLink(0), when: whenTables()},
		{number: 264, do: keep, obj: linkAt(0, 1), when: whenTables()},
		{number: 316, do: keep, obj: linkAt(0, 1), when: whenTables()},
		{number: 86, do: keep, obj: byLink(0), when: whenTables()},
		{number: 265, do: keep, obj: linkAt(0, 1), when: whenTables()},
		{number: 280, do: keep, obj: at(0, 1, 3), when: whenTables()},
	}
}

func i386() []entry {
	return []entry{
		{number: 197, do: stat, obj: byFD(0), arg: 1, layout: statI386Large},
		{number: 300, do: stat, obj: at(0, 1, 3), arg: 2, layout: statI386Large},
		{number: 195, do: stat, obj: byPath(0), arg: 1, layout: statI386Large},
		{number: 196, do: stat, obj: byLink(0), arg: 1, layout: statI386Large},
		{number: 106, do: stat, obj: byPath(0), arg: 1, layout: statI386},
		{number: 107, do: stat, obj: byLink(0), arg: 1, layout: statI386},
		{number: 108, do: stat, obj: byFD(0), arg: 1, layout: statI386},
		{number: 383, do: statx, obj: at(0, 1, 2), arg: 3},

		{number: 295, do: open, obj: at(0, 1, -1), arg: 2, when: flagged(2, creates|createsNone)},
		{number: 5, do: open, obj: byPath(0), arg: 1, when: flagged(1, creates|createsNone)},
		{number: 8, do: creat, obj: byPath(0), arg: 1},
		{number: 437, do: openat2, obj: at(0, 1, -1), arg: 2},
		{number: 39, do: mkdir, obj: byLink(0), arg: 1},
		{number: 296, do: mkdir, obj: linkAt(0, 1), arg: 2},
		{number: 83, do: symlink, obj: byLink(1), arg: 0},
		{number: 304, do: symlink, obj: linkAt(1, 2), arg: 0},
		{number: 14, do: mknod, obj: byLink(0), arg: 1},
		{number: 297, do: mknod, obj: linkAt(0, 1), arg: 2},

		{number: 182, do: chown, obj: byPath(0), arg: 1, narrow: true},
		{number: 95, do: chown, obj: byFD(0), arg: 1, narrow: true},
		{number: 16, do: chown, obj: byLink(0), arg: 1, narrow: true},
		{number: 212, do: chown, obj: byPath(0), arg: 1},
		{number: 207, do: chown, obj: byFD(0), arg: 1},
		{number: 198, do: chown, obj: byLink(0), arg: 1},
		{number: 298, do: chown, obj: at(0, 1, 4), arg: 2},
		{number: 232, do: listxattr, obj: byPath(0), arg: 1},
		{number: 233, do: listxattr, obj: byLink(0), arg: 1},
		{number: 234, do: listxattr, obj: byFD(0), arg: 1},
		{number: 465, do: listxattr, obj: at(0, 1, 2), arg: 3},

		{number: 11, do: execve, obj: byPath(0)},
		{number: 358, do: execve, obj: at(0, 1, 4)},

		{number: 24, do: getuid, narrow: true}, {number: 47, do: getgid, narrow: true},
		{number: 49, do: geteuid, narrow: true}, {number: 50, do: getegid, narrow: true},
		{number: 165, do: getresuid, narrow: true}, {number: 171, do: getresgid, narrow: true},
		{number: 80, do: getgroups, narrow: true}, {number: 81, do: setgroups, narrow: true},
		{number: 23, do: setuid, narrow: true}, {number: 46, do: setgid, narrow: true},
		{number: 70, do: setreuid, narrow: true}, {number: 71, do: setregid, narrow: true},
		{number: 164, do: setresuid, narrow: true}, {number: 170, do: setresgid, narrow: true},
		{number: 138, do: setfsuid, narrow: true}, {number: 139, do: setfsgid, narrow: true},
		{number: 199, do: getuid}, {number: 200, do: getgid}, {number: 201, do: geteuid}, {number: 202, do: getegid},
		{number: 209, do: getresuid}, {number: 211, do: getresgid}, {number: 205, do: getgroups}, {number: 206, do: setgroups},
		{number: 213, do: setuid}, {number: 214, do: setgid}, {number: 203, do: setreuid}, {number: 204, do: setregid},
		{number: 208, do: setresuid}, {number: 210, do: setresgid}, {number: 215, do: setfsuid}, {number: 216, do: setfsgid},
		{number: 184, do: capget}, {number: 185, do: capset}, {number: 172, do: keepcaps, when: exactly(0, unix.PR_SET_KEEPCAPS)},
		{number: 102, do: socketcall, when: exactly(0, 15)}, // SYS_GETSOCKOPT
		{number: 76, do: getrlimit, arg: 1, narrow: true, when: exactly(0, unix.RLIMIT_LOCKS)},
		{number: 191, do: getrlimit, arg: 1, narrow: true, when: exactly(0, unix.RLIMIT_LOCKS)},
		{number: 75, do: setrlimit, when: exactly(0, unix.RLIMIT_LOCKS)}, {number: 340, do: prlimit, arg: 3, when: exactly(1, unix.RLIMIT_LOCKS)},
		{number: 365, do: peercred, when: exactly(2, unix.SO_PEERCRED)},

		{number: 61, do: newRoot}, {number: 217, do: newRoot},
		{number: 346, do: newNamespace}, {number: 310, do: newNamespace, when: flagged(0, cloneNewUser|cloneNewNS)},
		{number: 120, do: newNamespace, when: flagged(0, cloneNewUser|cloneNewNS)}, {number: 435, do: clone3},

		{number: 38, do: keep, obj: byLink(0), when: whenTables()},
		{number: 302, do: keep, obj: linkAt(0, 1), when: whenTables()},
		{number: 353, do: keep, obj: linkAt(0, 1), when: whenTables()},
		{number: 9, do: keep, obj: byLink(0), when: whenTables()},
		{number: 303, do: keep, obj: linkAt(0, 1), when: whenTables()},
		{number: 320, do: keep, obj: at(0, 1, 3), when: whenTables()},
		{number: 412, do: keep, obj: at(0, 1, 3), when: whenTables()},
	}
}
