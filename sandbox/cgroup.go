package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Resources bound what a command, with all that it starts, uses. 0 is no bound.
type Resources struct {
	// Memory is in bytes; as much swap comes on top. The kernel kills the command that needs more.
	Memory int64
	// CPUs is how many processors' time it gets; 1.5 is one and a half.
	CPUs float64
	// PIDs is how many processes and threads there may be.
	PIDs int64
}

// IsZero reports whether nothing is bounded.
func (r Resources) IsZero() bool { return r == Resources{} }

// LimitsError says why Resources can't be bounded here.
type LimitsError struct{ Err error }

func (e *LimitsError) Error() string {
	return "memory, cpu and process limits need a version 2 cgroup that this user may divide: " + e.Err.Error()
}

// Unwrap gives the error beneath.
func (e *LimitsError) Unwrap() error { return e.Err }

// controllers are what the settings of Resources need, each with its file's name and content.
func (r Resources) controllers() []setting {
	var list []setting
	if r.Memory > 0 {
		bytes := strconv.FormatInt(r.Memory, 10)
		list = append(list, setting{"memory", "memory.max", bytes, false}, setting{"memory", "memory.swap.max", bytes, true},
			setting{"memory", "memory.oom.group", "1", true})
	}
	if r.CPUs > 0 {
		const period = 100_000 // microseconds
		list = append(list, setting{"cpu", "cpu.max", fmt.Sprintf("%d %d", max(1000, int64(r.CPUs*period)), period), false})
	}
	if r.PIDs > 0 {
		list = append(list, setting{"pids", "pids.max", strconv.FormatInt(r.PIDs, 10), false})
	}
	return list
}

// setting is one file of a cgroup; where it may be missing it is a refinement.
type setting struct {
	controller, file, value string
	optional                bool
}

// leafPrefix begins the names of the cgroups that cairn itself is in, stepPrefix those of commands.
const (
	leafPrefix = "cairn-"
	stepPrefix = "cairn-step-"
)

// leaveCgroup moves this process down into a cgroup of its own: the kernel lets nobody divide a cgroup that has processes in it. What
// it starts goes along. undo brings it back as far as that goes.
func leaveCgroup() (undo func(), err error) {
	own, err := ownCgroup()
	if err != nil {
		return nil, &LimitsError{err}
	}
	leaf := filepath.Join(own, leafPrefix+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(leaf, 0o755); err != nil {
		return nil, &LimitsError{err}
	}
	pid := strconv.Itoa(os.Getpid())
	if err := writeCgroup(leaf, "cgroup.procs", pid); err != nil {
		return nil, &LimitsError{errors.Join(err, os.Remove(leaf))}
	}
	return func() {
		_ = disableAll(own) // processes and controllers exclude each other
		_ = writeCgroup(own, "cgroup.procs", pid)
		_ = os.Remove(leaf)
	}, nil
}

// ownCgroup is the directory of the version 2 cgroup that this process is in.
func ownCgroup() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	member, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	return findCgroup(mounts, member)
}

// findCgroup reads the formats of proc_pid_mountinfo(5) and cgroups(7).
func findCgroup(mounts, member []byte) (string, error) {
	var path string
	for line := range strings.Lines(string(member)) {
		if p, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			path = p
		}
	}
	if path == "" {
		return "", errors.New("this machine has only version 1 cgroups")
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		_, after, ok := strings.Cut(line, " - ")
		if !ok || len(fields) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		// The mount may show only a part of the hierarchy.
		if rel, err := filepath.Rel(fields[3], path); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return filepath.Join(fields[4], rel), nil
		}
	}
	return "", errors.New("no version 2 cgroup is mounted")
}

// cgroup is that of one command.
type cgroup struct {
	dir string
	fd  *os.File
}

// cgroups counts the commands of this process.
var cgroups atomic.Int64

// newCgroup makes the cgroup for a command beside the one that this process is in; nil for no bounds.
func newCgroup(r Resources) (*cgroup, error) {
	if r.IsZero() {
		return nil, nil
	}
	own, err := ownCgroup()
	if err != nil {
		return nil, &LimitsError{err}
	}
	if !strings.HasPrefix(filepath.Base(own), leafPrefix) {
		return nil, &LimitsError{errors.New("this process is not in a cgroup of its own")}
	}
	name := strings.TrimPrefix(filepath.Base(own), leafPrefix) + "-" + strconv.FormatInt(cgroups.Add(1), 10)
	g, err := makeCgroup(filepath.Dir(own), stepPrefix+name, r)
	if err != nil {
		return nil, &LimitsError{err}
	}
	return g, nil
}

// makeCgroup makes a cgroup below base with its bounds.
func makeCgroup(base, name string, r Resources) (*cgroup, error) {
	settings := r.controllers()
	if err := enable(base, settings); err != nil {
		return nil, err
	}
	g := &cgroup{dir: filepath.Join(base, name)}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, err
	}
	for _, s := range settings {
		err := writeCgroup(g.dir, s.file, s.value)
		if err != nil && !(s.optional && errors.Is(err, fs.ErrNotExist)) {
			return nil, errors.Join(err, g.remove())
		}
	}
	var err error
	if g.fd, err = os.OpenFile(g.dir, os.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
		return nil, errors.Join(err, g.remove())
	}
	return g, nil
}

// enable passes the controllers on to base's children.
func enable(base string, settings []setting) error {
	have, err := os.ReadFile(filepath.Join(base, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, s := range settings {
		if !bytes.Contains(append(append([]byte(" "), bytes.TrimSpace(have)...), ' '), []byte(" "+s.controller+" ")) {
			return fmt.Errorf("%s has no %s controller", base, s.controller)
		}
		err := writeCgroup(base, "cgroup.subtree_control", "+"+s.controller)
		if errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("other processes are in %s", base)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func disableAll(base string) error {
	have, err := os.ReadFile(filepath.Join(base, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(have)) {
		err = errors.Join(err, writeCgroup(base, "cgroup.subtree_control", "-"+name))
	}
	return err
}

func writeCgroup(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// use has a process started in it.
func (g *cgroup) use(attr *syscall.SysProcAttr) {
	if g != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, int(g.fd.Fd())
	}
}

// outOfMemory reports whether the kernel killed something in it for its memory bound.
func (g *cgroup) outOfMemory() bool {
	if g == nil {
		return false
	}
	events, err := os.ReadFile(filepath.Join(g.dir, "memory.events"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(events)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok && n != "0" {
			return true
		}
	}
	return false
}

// remove takes it away. The kernel may need a moment after the last process has ended.
func (g *cgroup) remove() error {
	if g == nil {
		return nil
	}
	if g.fd != nil {
		g.fd.Close()
	}
	var err error
	for range 50 {
		if err = os.Remove(g.dir); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}
