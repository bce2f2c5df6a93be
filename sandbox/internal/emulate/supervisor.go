package emulate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/owners"
)

// The descriptors of cairn-ids.
const (
	FDConfig = 3 // Config, one line; its end says that all processes of the sandbox are gone
	FDResult = 4 // Result, once that has happened
	FDSocket = 5 // the listener comes over it
)

// Config is what the supervisor of a sandbox is told.
type Config struct {
	// UID, GID and Groups are those of the command at its start.
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
	// Capabilities is what root has, as a bit set.
	Capabilities uint64 `json:"capabilities"`
	// Lower are directories below Upper with records in tables.
	Lower []Directory `json:"lower,omitempty"`
	// Upper is where changes go; its Path is empty if the root is read-only.
	Upper Directory `json:"upper"`
}

// Directory is a directory outside the sandbox and the owners of what in it cannot have a record of its own.
type Directory struct {
	Path   string                  `json:"path"`
	Owners map[string]owners.Owner `json:"owners,omitempty"`
}

// Result is what the supervisor found out.
type Result struct {
	// Upper are the owners of all symbolic links, FIFOs and sockets of Config.Upper that are not root's.
	Upper map[string]owners.Owner `json:"upper,omitempty"`
	Error string                  `json:"error,omitempty"`
	// Calls and Answered count notifications, and those of them that the kernel did not go on with.
	Calls    int64 `json:"calls"`
	Answered int64 `json:"answered"`
}

// supervisor answers for one sandbox.
type supervisor struct {
	listener listener
	calls    map[uint64]*entry // by ABI and number
	creds    *credList
	caps     uint64 // of root
	side     side
	turns    chan struct{} // each lets one worker wait for calls
	root     chan int      // holds the sandbox's root directory once it is known, -1 before
	ready    sync.WaitGroup
	started  chan struct{} // closed when the workers may begin

	roots      atomic.Bool // some process may have another root
	namespaces atomic.Bool // some process may be in another user namespace
	ownUserNS  string
	noNewPrivs bool // this process has it: it comes from outside

	received, answered atomic.Int64
}

// Main is cairn-ids. It does not return.
func Main() {
	runtime.GOMAXPROCS(turns() + 2)
	result := Result{}
	if err := supervise(&result); err != nil {
		result.Error = err.Error()
	}
	if json.NewEncoder(os.NewFile(FDResult, "result")).Encode(result) != nil {
		os.Exit(70)
	}
	os.Exit(0)
}

// turns is how many workers wait at once. The kernel wakes all that wait for each call: more are faster only where there are
// many processors.
func turns() int { return max(1, min(4, runtime.NumCPU()/4)) }

func supervise(result *Result) error {
	in := os.NewFile(FDConfig, "config")
	stream := json.NewDecoder(in)
	var config Config
	if err := stream.Decode(&config); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if err := os.Chdir("/proc"); err != nil { // all paths to processes start here
		return err
	}
	s, err := newSupervisor(config)
	if err != nil {
		return err
	}
	switch fd, err := receive(FDSocket); {
	case err != nil:
		return err
	case fd >= 0:
		s.listener = listener(fd)
		s.listener.wakeHere()
		for range turns() {
			s.turns <- struct{}{}
		}
		workers := turns() + 1 // one more, for when one is at a large file
		s.ready.Add(workers)
		for range workers {
			go s.work()
		}
		s.ready.Wait()
		if err := confine(); err != nil {
			return err
		}
		close(s.started)
	}
	if _, err := io.Copy(io.Discard, io.MultiReader(stream.Buffered(), in)); err != nil {
		return fmt.Errorf("wait for the end: %w", err)
	}
	result.Calls, result.Answered = s.received.Load(), s.answered.Load()
	if config.Upper.Path == "" {
		return nil
	}
	result.Upper, err = s.side.collect(config.Upper.Path)
	return err
}

func newSupervisor(c Config) (*supervisor, error) {
	own, err := os.Readlink("self/ns/user")
	if err != nil {
		return nil, err
	}
	s := &supervisor{
		creds: newCredList(startCreds(c.UID, c.GID, c.Groups, c.Capabilities)), caps: c.Capabilities, calls: map[uint64]*entry{},
		side: side{m: map[inode]owners.Owner{}, below: map[inode]bool{}, upper: -1}, root: make(chan int, 1), turns: make(chan struct{}, turns()), ownUserNS: own, started: make(chan struct{}),
	}
	s.root <- -1
	line, _ := statusLine("self", "NoNewPrivs")
	s.noNewPrivs = line == "1"
	for _, a := range abis() {
		for i := range a.entries {
			s.calls[uint64(a.audit)<<32|uint64(a.entries[i].number)] = &a.entries[i]
		}
	}
	for _, d := range c.Lower {
		s.side.load(d.Path, d.Owners, true)
	}
	if c.Upper.Path == "" {
		return s, nil
	}
	s.side.load(c.Upper.Path, c.Upper.Owners, false)
	s.side.upper, err = unix.Open(c.Upper.Path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: c.Upper.Path, Err: err}
	}
	return s, nil
}

// receive waits for the listener; -1 when the command was never started.
func receive(socket int) (int, error) {
	data, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(socket, data, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return -1, os.NewSyscallError("recvmsg", err)
		case n == 0:
			return -1, nil
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(messages) != 1 {
			return -1, errors.Join(errors.New("no listener received"), err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			return -1, os.NewSyscallError("recvmsg", err)
		}
		return fds[0], nil
	}
}
