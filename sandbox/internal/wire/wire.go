// Package wire is what the processes of a sandbox say to each other.
//
// cairn starts cairn-userns, which has two descriptors before its caller's own:
//
//	cairn                                      cairn-userns
//	  runs newuidmap, newgidmap                first stage (cairn-maps), without capabilities: waits
//	  one byte (fd 3)                 ------>  executes itself again
//	  or writes the id maps itself: then there is no first stage
//	  Go (JSON, fd 3)                 ------>  second stage, root of the namespace: makes mounts private
//	                                  <------  Report{Ready} or Report{Failed} on fd 4, then closes both
//
// cairn-chroot is the same without the first stage and without a namespace.
//
// cairn-userns starts one cairn-step for each command:
//
//	cairn-userns                               cairn-step
//	  Spec (JSON on fd 3, to EOF)     ------>  mounts, pivot_root, terminal, ids, capabilities, filters
//	                                  <------  the terminal's master (fd 6, only when the Spec asks for one)
//	                                  ------>  cairn-ids: the listener of its filter (in a user namespace with one id)
//	                                  <------  Report{Failed} on fd 4, then exit
//	                                  <------  or Report{Ready} and, fd 4 being close-on-exec, EOF: execve succeeded
//	  wait                            <------  the command's own status
//
// EOF without any Report means that the child was killed before it got there. A Failed after Ready is a failed execve.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/mount"
)

// The names by which the program knows what it was started as.
const (
	ArgMaps   = "cairn-maps"   // first stage of cairn-userns, waiting for its id maps
	ArgUserns = "cairn-userns" // second stage
	ArgStep   = "cairn-step"
	ArgIDs    = "cairn-ids"    // beside a cairn-step that has only one id, see package emulate
	ArgChroot = "cairn-chroot" // in place of cairn-userns where there are no namespaces
)

// The descriptors of both children.
const (
	FDIn      = 3 // Go or Spec
	FDReport  = 4
	FDExtra   = 5 // cairn-userns: the caller's first own descriptor
	FDProgram = 5 // cairn-step: the program file it was started from
	FDSocket  = 6 // cairn-step: unix socket for descriptors, when there is one
)

// Go is what cairn-userns is told once it may start.
type Go struct {
	// Extra is how many descriptors of the caller follow FDExtra.
	Extra int `json:"extra"`
	// OwnPIDs says that it is the first process of a new pid namespace.
	OwnPIDs bool `json:"ownPIDs"`
}

// Spec is a step as the child needs it: every name resolved to a number, every default filled in.
type Spec struct {
	Root    mount.Mount   `json:"root"`
	Mounts  []mount.Mount `json:"mounts,omitempty"`
	Process Process       `json:"process"`

	Hostname string  `json:"hostname,omitempty"`
	Network  Network `json:"network"`
	// NetworkPath is a network namespace's file, outside.
	NetworkPath string   `json:"networkPath,omitempty"`
	ShmSize     int64    `json:"shmSize"`
	Rlimits     []Rlimit `json:"rlimits,omitempty"`
	// Confine hides and write-protects Docker's list of paths and keeps /sys read-only.
	Confine      bool `json:"confine,omitempty"`
	ReadonlyRoot bool `json:"readonlyRoot,omitempty"`
	// Capabilities is a bit set: the bounding set, and what a root process starts with.
	Capabilities uint64 `json:"capabilities"`
	// Filter is a seccomp program of 8 byte instructions, empty for none.
	Filter []byte `json:"filter,omitempty"`
	// Supervise has owners and users emulated: Process names ids that the user namespace does not have.
	Supervise *Supervise `json:"supervise,omitempty"`
	// Chroot: there are no namespaces, and so no mounts. Root is a Bind of the directory that becomes the root.
	Chroot bool `json:"chroot,omitempty"`
	// Terminal asks for a pseudo-terminal of this size.
	Terminal *Size `json:"terminal,omitempty"`
}

// Supervise says how a step gets its supervisor.
type Supervise struct {
	// Filter is the seccomp program whose listener the supervisor gets.
	Filter []byte `json:"filter"`
	// Socket is the descriptor to send it over.
	Socket int `json:"socket"`
}

// Process is the command.
type Process struct {
	Args   []string `json:"args"`
	Env    []string `json:"env"`
	Dir    string   `json:"dir"`
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
	// KeepGroups: setgroups is denied in this user namespace.
	KeepGroups bool `json:"keepGroups,omitempty"`
}

// Network is what the child does about the network namespace it was put into.
type Network string

// The kinds of Network.
const (
	NetworkHost     Network = "host"     // the outer one: close its abstract sockets off
	NetworkLoopback Network = "loopback" // a new one: bring lo up
	NetworkJoined   Network = "joined"   // that of Spec.NetworkPath: enter it
)

// Rlimit is one resource limit.
type Rlimit struct {
	Resource int    `json:"resource"` // RLIMIT_*
	Soft     uint64 `json:"soft"`
	Hard     uint64 `json:"hard"`
}

// Size is a terminal's size in characters.
type Size struct {
	Rows    uint16 `json:"rows"`
	Columns uint16 `json:"columns"`
}

// Report is what a child says on FDReport.
type Report struct {
	Ready  bool    `json:"ready,omitempty"`
	Failed *Failed `json:"failed,omitempty"`
}

// Failed says what could not be done. Errno is 0 when no system call failed; Text is then all there is, otherwise what the
// kernel added to the errno.
type Failed struct {
	Stage string        `json:"stage"`
	Op    string        `json:"op,omitempty"`
	Path  string        `json:"path,omitempty"`
	Errno syscall.Errno `json:"errno,omitempty"`
	Text  string        `json:"text,omitempty"`
}

// maxReports bounds what a parent reads: paths in it may be as long as the Spec made them.
const maxReports = 4 << 20

// Outcome is what a parent learns from a child's reports: failed is nil when there was none. It reads to EOF; anything that
// is not a report counts as none.
func Outcome(r io.Reader) (ready bool, failed *Failed) {
	d := json.NewDecoder(io.LimitReader(r, maxReports))
	for {
		var report Report
		if err := d.Decode(&report); err != nil {
			return ready, failed
		}
		ready = ready || report.Ready
		if report.Failed != nil {
			failed = report.Failed
		}
	}
}

// NewFailed describes err, which happened in stage.
func NewFailed(stage string, err error) *Failed {
	f := &Failed{Stage: stage}
	var path *fs.PathError
	var call *os.SyscallError
	switch {
	case errors.As(err, &path):
		f.Op, f.Path, err = path.Op, path.Path, path.Err
	case errors.As(err, &call):
		f.Op, err = call.Syscall, call.Err
	}
	if !errors.As(err, &f.Errno) || err != error(f.Errno) {
		f.Text = err.Error()
	}
	return f
}

// PackFilter gives a seccomp program the form it has in a Spec.
func PackFilter(program []unix.SockFilter) []byte {
	b := make([]byte, 0, 8*len(program))
	for _, in := range program {
		b = binary.NativeEndian.AppendUint16(b, in.Code)
		b = append(b, in.Jt, in.Jf)
		b = binary.NativeEndian.AppendUint32(b, in.K)
	}
	return b
}

// UnpackFilter is the reverse of PackFilter.
func UnpackFilter(b []byte) ([]unix.SockFilter, error) {
	if len(b)%8 != 0 {
		return nil, errors.New("seccomp program of broken length")
	}
	program := make([]unix.SockFilter, 0, len(b)/8)
	for ; len(b) > 0; b = b[8:] {
		program = append(program, unix.SockFilter{
			Code: binary.NativeEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.NativeEndian.Uint32(b[4:]),
		})
	}
	return program, nil
}
