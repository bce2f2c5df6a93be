package emulate

import "golang.org/x/sys/unix"

// nativeAudit is the architecture that this program is for.
const nativeAudit = unix.AUDIT_ARCH_AARCH64

func abis() []abi { return []abi{{unix.AUDIT_ARCH_AARCH64, aarch64()}} }

func aarch64() []entry {
	return []entry{
		{number: 80, do: stat, obj: byFD(0), arg: 1},
		{number: 79, do: stat, obj: at(0, 1, 3), arg: 2},
		{number: 291, do: statx, obj: at(0, 1, 2), arg: 3},

		{number: 56, do: open, obj: at(0, 1, -1), arg: 2, when: flagged(2, creates|createsNone)},
		{number: 437, do: openat2, obj: at(0, 1, -1), arg: 2},
		{number: 34, do: mkdir, obj: linkAt(0, 1), arg: 2},
		{number: 36, do: symlink, obj: linkAt(1, 2), arg: 0},
		{number: 33, do: mknod, obj: linkAt(0, 1), arg: 2},

		{number: 55, do: chown, obj: byFD(0), arg: 1},
		{number: 54, do: chown, obj: at(0, 1, 4), arg: 2},
		{number: 11, do: listxattr, obj: byPath(0), arg: 1},
		{number: 12, do: listxattr, obj: byLink(0), arg: 1},
		{number: 13, do: listxattr, obj: byFD(0), arg: 1},
		{number: 465, do: listxattr, obj: at(0, 1, 2), arg: 3},

		{number: 221, do: execve, obj: byPath(0)},
		{number: 281, do: execve, obj: at(0, 1, 4)},

		{number: 174, do: getuid}, {number: 176, do: getgid}, {number: 175, do: geteuid}, {number: 177, do: getegid},
		{number: 148, do: getresuid}, {number: 150, do: getresgid}, {number: 158, do: getgroups},
		{number: 146, do: setuid}, {number: 144, do: setgid}, {number: 145, do: setreuid}, {number: 143, do: setregid},
		{number: 147, do: setresuid}, {number: 149, do: setresgid}, {number: 151, do: setfsuid}, {number: 152, do: setfsgid},
		{number: 159, do: setgroups},
		{number: 163, do: getrlimit, arg: 1, when: exactly(0, unix.RLIMIT_LOCKS)}, {number: 164, do: setrlimit, when: exactly(0, unix.RLIMIT_LOCKS)},
		{number: 261, do: prlimit, arg: 3, when: exactly(1, unix.RLIMIT_LOCKS)},
		{number: 90, do: capget}, {number: 91, do: capset}, {number: 167, do: keepcaps, when: exactly(0, unix.PR_SET_KEEPCAPS)},
		{number: 209, do: peercred, when: exactly(2, unix.SO_PEERCRED)},

		{number: 51, do: newRoot}, {number: 41, do: newRoot},
		{number: 268, do: newNamespace}, {number: 97, do: newNamespace, when: flagged(0, cloneNewUser|cloneNewNS)},
		{number: 220, do: newNamespace, when: flagged(0, cloneNewUser|cloneNewNS)}, {number: 435, do: clone3},

		{number: 38, do: keep, obj: linkAt(0, 1), when: whenTables()},
		{number: 276, do: keep, obj: linkAt(0, 1), when: whenTables()},
		{number: 37, do: keep, obj: linkAt(0, 1), when: whenTables()},
		{number: 88, do: keep, obj: at(0, 1, 3), when: whenTables()},
	}
}
