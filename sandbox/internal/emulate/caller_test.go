package emulate

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/sys"
)

// The environment variable that makes this program another one: the namespace that a test needs, a process that makes a call
// and waits for the answer, or the process that gets its number when it is killed.
const testRole = "CAIRN_TEST_EMULATE"

// cell has the same address in the caller and in the victim, which are the same program.
var cell [3]uint32

func TestMain(m *testing.M) {
	switch os.Getenv(testRole) {
	case "caller":
		playCaller()
	case "victim":
		playVictim()
	}
	os.Exit(m.Run())
}

func playCaller() {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	listener, err := sys.LoadListener(Filter(false))
	if err == nil {
		err = unix.Sendmsg(3, []byte{'l'}, unix.UnixRights(int(listener)), nil, 0)
	}
	if err != nil {
		panic(err)
	}
	p := uintptr(unsafe.Pointer(&cell))
	unix.RawSyscall(unix.SYS_GETRESUID, p, p+4, p+8)
	os.Exit(0)
}

func playVictim() {
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(cell[0])
	}
	os.Exit(0)
}

// inNamespace runs the calling test once more as root of a user and pid namespace with a /proc of its own, and reports whether
// that is where it is now.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(testRole) == "inside" {
		assert.NilError(t, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		assert.NilError(t, unix.Mount("proc", "/proc", "proc", 0, ""))
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), testRole+"=inside")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err, string(out))
	assert.Assert(t, strings.Contains(string(out), "--- PASS: "+t.Name()), string(out))
	return false
}

// play starts this program in a role.
func play(t *testing.T, role string, files ...*os.File) (*exec.Cmd, io.WriteCloser, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env, cmd.Stderr, cmd.ExtraFiles = []string{testRole + "=" + role}, os.Stderr, files
	in, err := cmd.StdinPipe()
	assert.NilError(t, err)
	out, err := cmd.StdoutPipe()
	assert.NilError(t, err)
	assert.NilError(t, cmd.Start())
	return cmd, in, bufio.NewReader(out)
}

// callerOf starts a caller and gives the request that waits for an answer.
func callerOf(t *testing.T) (*request, *exec.Cmd) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	assert.NilError(t, err)
	theirs := os.NewFile(uintptr(fds[1]), "socket")
	cmd, _, _ := play(t, "caller", theirs)
	theirs.Close()
	fd, err := receive(fds[0])
	assert.NilError(t, err)
	unix.Close(fds[0])
	s := &supervisor{listener: listener(fd), creds: newCredList(creds{})}
	t.Cleanup(func() { unix.Close(fd) })
	w := &worker{s: s}
	assert.Equal(t, s.listener.receive(&w.buf), unix.Errno(0))
	r := &request{w: w, n: &w.buf.notification, e: &entry{}, pid: int(w.buf.pid), dir: -1}
	t.Cleanup(r.release)
	return r, cmd
}

// replace kills the caller and gives its number to a victim.
func replace(t *testing.T, caller *exec.Cmd) (io.Writer, *bufio.Reader) {
	t.Helper()
	pid := caller.Process.Pid
	assert.NilError(t, caller.Process.Kill())
	_ = caller.Wait()
	for range 200 { // threads take numbers, too
		assert.NilError(t, os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0))
		victim, in, out := play(t, "victim")
		t.Cleanup(func() {
			_ = victim.Process.Kill()
			_ = victim.Wait()
		})
		if victim.Process.Pid == pid {
			line, err := out.ReadString('\n')
			assert.NilError(t, err)
			assert.Equal(t, line, "ready\n")
			return in, out
		}
	}
	t.Fatalf("nobody gets number %d", pid)
	return nil, nil
}

func askVictim(t *testing.T, in io.Writer, out *bufio.Reader) string {
	t.Helper()
	_, err := fmt.Fprintln(in)
	assert.NilError(t, err)
	line, err := out.ReadString('\n')
	assert.NilError(t, err)
	return strings.TrimSpace(line)
}

// TestCallerReplaced: nothing happens to a process that got the number of a caller that was killed. In a sandbox that may be
// one outside of it, as whoever starts processes without end brings the numbers round.
func TestCallerReplaced(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	assert.NilError(t, os.Chdir("/proc"))
	evil := []byte{7, 0, 0, 0}
	for name, before := range map[string]func(r *request){
		"before it was held": func(*request) {},
		"held":               func(r *request) { assert.Assert(t, r.hold()) },
	} {
		t.Run(name, func(t *testing.T) {
			r, caller := callerOf(t)
			addr := uint64(uintptr(unsafe.Pointer(&cell)))
			before(r)
			var limit, after unix.Rlimit
			in, out := replace(t, caller)
			assert.NilError(t, unix.Prlimit(r.pid, unix.RLIMIT_LOCKS, nil, &limit))

			assert.Assert(t, !r.write(addr, evil), "its memory")
			assert.Equal(t, askVictim(t, in, out), "0")
			assert.Equal(t, getresuid(r).errno, unix.EFAULT)
			assert.Equal(t, askVictim(t, in, out), "0")
			for _, t2 := range []target{{link: "cwd", follow: true}, {link: "fd/0", follow: true}, {link: "root", follow: true}} {
				_, err := r.openTarget(t2, 0)
				assert.Assert(t, err != nil, "its %s", t2.link)
			}
			assert.Equal(t, r.w.s.creds.set(r.pid, creds{uid: allOf(5)}, r.waiting), unix.EAGAIN)
			assert.NilError(t, unix.Prlimit(r.pid, unix.RLIMIT_LOCKS, nil, &after))
			assert.Equal(t, after, limit)

			// That it could be reached by its number shows that there was something to keep from it.
			local := [1]unix.Iovec{{Base: &evil[0], Len: 4}}
			_, err := unix.ProcessVMWritev(r.pid, local[:], []unix.RemoteIovec{{Base: uintptr(addr), Len: 4}}, 0)
			assert.NilError(t, err)
			assert.Equal(t, askVictim(t, in, out), "7")
		})
	}
}

// TestWriteMemory: the supervisor writes where the caller itself could, and nowhere else.
func TestWriteMemory(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	assert.NilError(t, os.Chdir("/proc"))
	r, caller := callerOf(t)
	defer func() {
		_ = caller.Process.Kill()
		_ = caller.Wait()
	}()
	addr := uint64(uintptr(unsafe.Pointer(&cell)))
	assert.Assert(t, r.write(addr, []byte{1, 2, 3, 4}))
	var b [4]byte
	assert.Assert(t, r.read(addr, b[:]))
	assert.Equal(t, b, [4]byte{1, 2, 3, 4})
	maps, err := os.ReadFile(itoa(r.pid) + "/maps")
	assert.NilError(t, err)
	readOnly, writable := 0, 0
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var access string
		_, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &access)
		assert.NilError(t, err)
		fd, err := r.openHeld("maps", unix.O_RDONLY)
		assert.NilError(t, err)
		can := access[1] == 'w'
		assert.Equal(t, r.writable(from, 1), can, line)
		assert.Equal(t, readWritable(fd, from, from+1), can, "by reading: %s", line)
		assert.Equal(t, readWritable(fd, from, 1<<63), false, line)
		unix.Close(fd)
		if !can {
			readOnly++
			assert.Assert(t, !r.write(from, []byte{1}), line)
		} else {
			writable++
		}
	}
	assert.Assert(t, readOnly > 0 && writable > 0)
	for _, wrong := range []uint64{0, 8, 1 << 62, 1 << 63, 1<<64 - 2} {
		assert.Assert(t, !r.write(wrong, []byte{1, 2, 3, 4}), "%#x", wrong)
	}
}
