package sandbox

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/sandbox/internal/emulate"
	"github.com/cairnbuild/cairn/sandbox/internal/wire"
)

// Owners are the tables of a root file system in a user namespace with one id, where Run makes owners, devices and the ids of
// users seem what they would be with a full id map. With more ids they are ignored.
type Owners struct {
	// Lower are those of the directories in Root.Lower that have one, and of any others that the command gets to see.
	Lower map[string]*owners.Table
	// Upper is that of Root.Upper, or of a Bind's Source: what it says holds at the start, and Run brings it up to date. Nil
	// drops what is recorded in it.
	Upper *owners.Table
}

// supervision is the process cairn-ids beside a step. A nil *supervision is a step without.
type supervision struct {
	cmd    *exec.Cmd
	filter []byte
	config emulate.Config
	upper  *owners.Table

	configW *os.File // its end says that the step is over
	resultR *os.File
	socket  *os.File // the step's end
	stderr  bytes.Buffer

	ended     chan struct{}
	finishing atomic.Bool
}

// newSupervision prepares what a step needs in this user namespace.
func newSupervision(spec *Spec) *supervision {
	if CurrentIDs().Mode != MapOne || CurrentIsolation() == IsolationChroot {
		return nil
	}
	p := spec.Process
	s := &supervision{upper: spec.Owners.Upper, ended: make(chan struct{})}
	s.config = emulate.Config{UID: p.UID, GID: p.GID, Groups: p.Groups, Capabilities: spec.capabilities()}
	for dir, t := range spec.Owners.Lower {
		if t.Len() > 0 {
			s.config.Lower = append(s.config.Lower, emulate.Directory{Path: dir, Owners: t.Records()})
		}
	}
	s.config.Upper.Path = spec.Root.Upper
	if spec.Root.Type == mount.Bind {
		s.config.Upper.Path = spec.Root.Source
	}
	if s.upper != nil {
		s.config.Upper.Owners = s.upper.Records()
	}
	filter := emulate.Filter(len(s.config.Lower) > 0)
	if filter == nil {
		return nil
	}
	s.filter = wire.PackFilter(filter)
	return s
}

// start starts cairn-ids, in the step's cgroup. socketFD is the descriptor that the step will have for it.
func (s *supervision) start(p *pipes, cgroup *cgroup, socketFD int) (*wire.Supervise, error) {
	configR, configW := p.toChild()
	resultR, resultW := p.fromChild()
	s.configW, s.resultR = configW, resultR
	if p.err != nil {
		return nil, p.err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")
	s.socket = theirs
	p.child = append(p.child, ours, theirs)
	// Keys that end the step must not end it first: so it has a session of its own.
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	cgroup.use(attr)
	s.cmd = &exec.Cmd{
		Path: self, Args: []string{wire.ArgIDs}, Env: []string{}, Stderr: &s.stderr,
		ExtraFiles: []*os.File{configR, resultW, ours}, SysProcAttr: attr,
	}
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return nil, err
	}
	if err := json.NewEncoder(configW).Encode(s.config); err != nil {
		return nil, err
	}
	return &wire.Supervise{Filter: s.filter, Socket: socketFD}, nil
}

// files are the step's descriptors of it.
func (s *supervision) files() []*os.File {
	if s == nil {
		return nil
	}
	return []*os.File{s.socket}
}

// watch has kill called when cairn-ids ends before the step does.
func (s *supervision) watch(kill func()) {
	if s == nil {
		return
	}
	go func() {
		defer close(s.ended)
		_ = s.cmd.Wait() // its result, or the lack of one, tells
		if !s.finishing.Load() {
			kill()
		}
	}()
}

// maxResult bounds what is read of a result.
const maxResult = 1 << 30

// finish ends cairn-ids after the step, and fills the table. It must not be called before watch.
func (s *supervision) finish() error {
	if s == nil {
		return nil
	}
	lost := !s.finishing.CompareAndSwap(false, true)
	s.configW.Close()
	var result emulate.Result
	err := json.NewDecoder(io.LimitReader(s.resultR, maxResult)).Decode(&result)
	s.resultR.Close()
	<-s.ended
	if err != nil || lost {
		text := strings.TrimSpace("cairn-ids: " + s.cmd.ProcessState.String() + " " + s.stderr.String())
		return &SetupError{Stage: wire.StageSupervise, Text: text}
	}
	if result.Error != "" {
		return &SetupError{Stage: wire.StageSupervise, Text: result.Error}
	}
	s.update(result.Upper)
	return nil
}

// update makes the table say what was found.
func (s *supervision) update(found map[string]owners.Owner) {
	if s.upper == nil {
		return
	}
	for path := range s.upper.Records() {
		if _, ok := found[path]; !ok {
			s.upper.Set(path, owners.Owner{})
		}
	}
	for path, o := range found {
		s.upper.Set(path, o)
	}
}

// abandon ends cairn-ids for a step that was never started.
func (s *supervision) abandon() {
	if s == nil {
		return
	}
	for _, f := range []*os.File{s.configW, s.resultR} {
		if f != nil {
			f.Close()
		}
	}
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}

// socketFD is the number that the descriptor behind others gets in a child.
func socketFD(before ...[]*os.File) int { return 3 + len(slices.Concat(before...)) }
