// Package emulate makes file owners, devices and user ids work in a user namespace that has a single id. There the kernel
// refuses chown, mknod, setuid and setgroups, and says of every file and process that it is root's.
//
// A seccomp filter, loaded by cairn-step just before it becomes the command, has the kernel stop the command's processes at the
// calls that have to do with owners and ids and ask a supervisor (seccomp user notification). The supervisor is a process
// of its own, cairn-ids: one per command, child of cairn-userns, because a call that waits for an answer must not queue
// behind a compressor for a turn of its scheduler. It either does the call in the caller's place and gives the result, or lets
// the kernel go on with it: that is what happens to almost all.
//
//   - What a file belongs to, and which device it is, stands in its extended attribute (package owners), where layers keep
//     it in this mode, so a base image's files are right without being looked at beforehand, a rename keeps the record, and
//     a copy-up takes it along. Symbolic links, FIFOs and sockets cannot have one: their records are in memory, by inode
//     number and time of birth, and come from and go to an owners.Table.
//   - Every chown is also made for real, to the one id there is: that copies the file up, checks what the kernel checks, and
//     clears setuid, setgid and capabilities exactly as with a full id map. Capabilities need no help otherwise.
//   - What ids a process has is kept in the kernel, as a number that is inherited through fork, vfork and execve and dies with
//     the process: in how far the soft limit of RLIMIT_LOCKS is below the hard one. Linux has not used that limit since 2.4,
//     and programs are not shown it.
//     The number is an index of a list of credentials here; so nothing has to be known about which process comes from which.
//   - Files made by a process that is not root, or in a setgid directory of a group that is not root's, are made by the
//     supervisor, which hands the open file over.
//
// Callers are hostile. One that is killed while its call is looked at sets its number free for another process, so that numbers
// are for looking only (caller.go); and the supervisor gives up what it has no use for before the first call (confine.go).
//
// None of this guards anything. The kernel still applies the real ids to all that a process does; a process that changes
// its memory while the supervisor reads it, or that reaches a file past the filter, only gets a different owner recorded.
// The supervisor acts on files through the caller's own root directory and descriptors, and with the rights that root in
// the sandbox has anyway.
//
// Not emulated: the permissions of users other than root (they may do what root may), the ids in /proc/PID/status and in the
// auxiliary vector, ids that differ between the threads of a process, ids in POSIX ACLs and in ancillary messages of sockets,
// ambient and inheritable capabilities, the stat calls of i386 from before 1995, calls made through io_uring (which the
// default profile forbids), and a second supervisor inside the sandbox: the kernel allows one listener in a chain of filters
// and answers EBUSY.
package emulate
