// Package sandbox runs commands for which this machine's user needs no privileges: Enter starts the program again as root of
// a user namespace, and in there Run executes one command in a root file system of its own, isolated as Docker isolates a
// container. Every RUN of a build and every `cairn run` goes through the same Run.
//
// A program that uses it calls RunIfChild first in main, and in the TestMain of its tests.
//
// What is kept from a command, which may be hostile: other processes (pid, ipc namespaces; everything it started dies with
// it), other files (mount namespace, pivot_root), capabilities beyond Docker's default set, system calls that Docker's
// default seccomp profile forbids, the paths Docker hides, open descriptors, the user's terminal session, and, with the
// host's network, abstract unix sockets where Landlock can close them. It shares the kernel, and by default the network.
package sandbox

import (
	"io"
	"os"
	"strconv"

	"github.com/cairnbuild/cairn/internal/mount"
)

// Network says which network a command sees.
type Network string

// The networks.
const (
	NetworkHost    Network = "host"    // the same as the caller; also the zero value
	NetworkNone    Network = "none"    // a loopback interface and nothing else
	NetworkPrivate Network = "private" // a PrivateNetwork
)

// Spec is one command and the sandbox around it. It is a value: Run changes nothing in it.
type Spec struct {
	// Root becomes "/". It must have the directories /proc, /sys and /dev, real ones and not links.
	Root mount.Mount
	// Mounts are made in order, on targets that exist in the root or in a mount before.
	Mounts  []mount.Mount
	Process Process
	// Owners are what Run needs to know, and tells, in a user namespace with one id.
	Owners Owners
	// Hostname is empty for the outer one.
	Hostname string
	Network  Network
	// Private is the network for NetworkPrivate; it may be that of other Specs, too.
	Private *PrivateNetwork
	Limits  Limits
	// Insecure leaves the command every capability, system call and path that root has in the user namespace.
	Insecure bool
	// ReadonlyRoot makes the root file system, not the Mounts, read-only.
	ReadonlyRoot bool
	// Stdin is /dev/null when nil, and else a pipe: the command never gets a file of the caller's. Reading Stdin may go on for
	// one read after Run has returned, and be ahead of what the command reads.
	Stdin io.Reader
	// Stdout and Stderr drop what is written when nil, and else are pipes. When both are the same writer, or files that are one,
	// the command has one pipe for both, which keeps their order. When one fails, the command's writes fail with EPIPE.
	Stdout, Stderr io.Writer
	// Signals are sent to the command as they arrive. Process 1 receives only those that it handles.
	Signals <-chan os.Signal
}

// Process is the command of a Spec.
type Process struct {
	// Args has at least the program. A name without slash is looked up in Env's PATH, inside the root.
	Args []string
	// Env is the whole environment, KEY=VALUE.
	Env []string
	// Dir is the working directory, absolute; "/" when empty. It is made when the root lacks it.
	Dir string
	// UID, GID and Groups are ids inside the user namespace. Groups are the supplementary ones.
	UID, GID uint32
	Groups   []uint32
	// TTY, when set, gives the command a new terminal as stdin, stdout and stderr: what it writes goes to Stdout, what
	// Stdin gives is typed to it. When TTY itself is a terminal it is in raw mode until Run returns, and the new one has
	// its size and follows it.
	TTY *os.File
}

// Limits bound what a command can use.
type Limits struct {
	// ShmSize is the size of /dev/shm in bytes, 64 MiB when 0.
	ShmSize int64
	Rlimits []Rlimit
	// Resources need EnterOptions.Cgroup.
	Resources Resources
}

// Rlimit is one resource limit, see setrlimit(2).
type Rlimit struct {
	// Name is the one that `docker run --ulimit` uses: nofile, nproc, core, ...
	Name string
	// Soft and Hard; RlimitInfinity for none.
	Soft, Hard uint64
}

// String is the limit as `docker run --ulimit` takes it: NAME=SOFT:HARD.
func (r Rlimit) String() string {
	number := func(n uint64) string {
		if n == RlimitInfinity {
			return "-1"
		}
		return strconv.FormatUint(n, 10)
	}
	return r.Name + "=" + number(r.Soft) + ":" + number(r.Hard)
}

// RlimitInfinity is no limit.
const RlimitInfinity = ^uint64(0)
