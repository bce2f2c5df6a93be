package tests

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attackImage puts the image "attack" into the world's store: busybox with the program of tests/attack, for this machine and for its
// 32-bit entry, and a setuid copy of it.
func (w *world) attackImage() {
	w.t.Helper()
	w.must("cairn", "load", "-i", busyboxImage(w.t))
	for name, f := range map[string]*fixture{"attack": &shared.once.attack, "attack32": &shared.once.attack32} {
		if err := os.MkdirAll(w.path("image"), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := copyFile(mustGet(w.t, f), w.path("image/"+name), 0o755); err != nil {
			w.t.Fatal(err)
		}
	}
	w.write(map[string]string{"image/Dockerfile": "FROM busybox\nCOPY attack attack32 /\nCOPY --chmod=4755 attack /setuid\n", "marker": "of the host"})
	w.must("cairn", "build", "-q", "-t", "attack", "image")
}

// attackArgs are all attacks that one process can try, on a real victim: a process, an abstract socket and a file outside.
func (w *world) attackArgs() []string {
	w.t.Helper()
	victim, _ := w.start("sleep", "600")
	socket := fmt.Sprintf("cairn-victim-%d", os.Getpid())
	l, err := net.Listen("unix", "@"+socket)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	var args []string
	values := map[string]string{
		"chroot": w.path("marker"), "marker": w.path("marker"), "pid": fmt.Sprint(victim.Process.Pid), "abstract": socket,
	}
	for name := range strings.FieldsSeq(w.must(mustGet(w.t, &shared.once.attack), "list").stdout) {
		switch name {
		case "tiocsti", "setuid", "dial": // need more than a process, or depend on the network
			continue
		case "chroot": // changes the root of all that come after it
			continue
		}
		if value := values[name]; value != "" {
			name += "=" + value
		}
		args = append(args, name)
	}
	return append(args, "chroot="+values["chroot"])
}

// verdicts reads the attack program's lines.
func verdicts(out string) map[string]bool {
	harm := map[string]bool{}
	for line := range strings.Lines(out) {
		// In a build's log the lines have a number and a time before them.
		for _, word := range []string{" stopped:", " HARM:"} {
			if before, _, ok := strings.Cut(line, word); ok {
				fields := strings.Fields(before)
				harm[fields[len(fields)-1]] = word == " HARM:"
				break
			}
		}
	}
	return harm
}

// TestAttacks tries every attack from a container and from a RUN, as a 64-bit and as a 32-bit program. That the program is able to do
// harm shows where the defences are taken away.
func TestAttacks(t *testing.T) {
	startCase(t, "userns", "busybox")
	w := newWorld(t)
	w.attackImage()
	args := w.attackArgs()
	stopped := func(t *testing.T, o output) {
		t.Helper()
		got := verdicts(o.stdout + o.stderr)
		if len(got) != len(args) {
			t.Errorf("%d of %d attacks were tried", len(got), len(args))
		}
		for name, harm := range got {
			if harm {
				t.Errorf("%s did harm", name)
			}
		}
		if o.err != nil || t.Failed() {
			t.Fatalf("%s", o)
		}
	}
	programs := []string{"/attack"}
	if runtime.GOARCH == "amd64" {
		programs = append(programs, "/attack32")
	}
	for _, program := range programs {
		t.Run("container"+program, func(t *testing.T) {
			stopped(t, w.on(t).must(append([]string{"cairn", "run", "--rm", "attack", program}, args...)...))
		})
		t.Run("user"+program, func(t *testing.T) {
			stopped(t, w.on(t).must(append([]string{"cairn", "run", "--rm", "--user", "33", "attack", program}, args...)...))
		})
		t.Run("build"+program, func(t *testing.T) {
			w := w.on(t)
			w.write(map[string]string{"ctx/Dockerfile": "FROM attack\nRUN [\"" + strings.Join(append([]string{program}, args...), `", "`) + "\"]\n"})
			stopped(t, w.must("cairn", "build", "--progress=plain", "ctx"))
		})
	}
	t.Run("without defences", func(t *testing.T) {
		o := w.on(t).try(append([]string{"cairn", "run", "--rm", "--privileged", "attack", "/attack"}, args...)...)
		harm := verdicts(o.stdout)
		for _, name := range []string{
			"abstract", "call-add_key", "call-io_uring_setup", "call-fsopen", "call-open_tree", "call-pivot_root", "keys", "masked", "mounts", "userns",
		} {
			if !harm[name] {
				t.Errorf("%s does no harm where nothing keeps it from it: the test can't see the defence", name)
			}
		}
		for _, name := range []string{"fds", "marker", "pid", "processes", "devices", "chroot"} {
			if harm[name] {
				t.Errorf("%s does harm: --privileged leaves the walls", name)
			}
		}
		if t.Failed() {
			t.Log(o)
		}
	})
	t.Run("without walls", func(t *testing.T) { // the same program where nothing is around it
		argv := []string{mustGet(t, &shared.once.attack)}
		for _, arg := range args {
			switch name, _, _ := strings.Cut(arg, "="); name {
			case "marker", "pid", "processes", "abstract":
				argv = append(argv, arg)
			}
		}
		o := w.on(t).try(argv...)
		harm := verdicts(o.stdout)
		for _, name := range []string{"marker", "pid", "processes", "abstract"} {
			if !harm[name] {
				t.Errorf("%s does no harm outside: %s", name, o)
			}
		}
	})
}

// TestSetuidWorks is the other side: no_new_privs is off, so that sudo works in an image. The capabilities stay bounded.
func TestSetuidWorks(t *testing.T) {
	startCase(t, "userns", "busybox")
	w := newWorld(t)
	w.attackImage()
	unprivileged := "RUN grep -q '^CapEff:.0000000000000000' /proc/self/status\n"
	if missing("subuid") != "" {
		unprivileged = "" // with one id users are emulated: the kernel knows no other than root
	}
	w.write(map[string]string{"ctx/Dockerfile": "FROM attack\nUSER 33\n" + unprivileged + "RUN /setuid setuid | grep -q 'user 33 is root'\nRUN /setuid setuid call-fsopen call-add_key mounts userns unmask write-proc-sys | grep -c stopped | grep -qx 6\n"})
	w.must("cairn", "build", "ctx")
}

// TestTypeIntoTerminal (CVE-2017-5226): a command that has the user's terminal as its input types into it what the shell would execute
// after it has ended.
func TestTypeIntoTerminal(t *testing.T) {
	startCase(t, "userns", "busybox")
	if b, err := os.ReadFile("/proc/sys/dev/tty/legacy_tiocsti"); err == nil && strings.TrimSpace(string(b)) == "0" {
		skip(t, "this kernel lets nobody type into a terminal")
	}
	w := newWorld(t)
	w.attackImage()
	for _, tt := range []struct {
		name  string
		argv  []string
		typed bool
	}{
		{"control", []string{mustGet(t, &shared.once.attack), "tiocsti=evil"}, true},
		{"interactive", []string{shared.cairn, "run", "--rm", "-i", "attack", "/attack", "tiocsti=evil"}, false},
		{"terminal", []string{shared.cairn, "run", "--rm", "-i", "-t", "attack", "/attack", "tiocsti=evil"}, false},
		{"privileged", []string{shared.cairn, "run", "--rm", "-i", "--privileged", "attack", "/attack", "tiocsti=evil"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if typed := w.on(t).inTerminal(tt.argv...); strings.Contains(typed, "evil") != tt.typed {
				t.Errorf("waiting to be read from the terminal: %q", typed)
			}
		})
	}
}

// inTerminal runs a program in a session of its own with a new terminal, and returns what was typed into that by the program's end.
func (w *world) inTerminal(argv ...string) string {
	w.t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		w.t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		w.t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer slave.Close()
	go func() { // what the program writes
		buf := make([]byte, 4096)
		for {
			if _, err := master.Read(buf); err != nil {
				return
			}
		}
	}()
	cmd := w.command(argv...)
	cmd.Path, cmd.Stdin, cmd.Stdout, cmd.Stderr = argv[0], slave, slave, slave
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	if err := runFor(cmd, time.Minute); err != nil {
		w.t.Fatalf("%s: %v", strings.Join(argv, " "), err)
	}
	// Raw mode: what waits is readable without an end of line.
	mode, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		w.t.Fatal(err)
	}
	mode.Lflag &^= unix.ICANON
	mode.Cc[unix.VMIN], mode.Cc[unix.VTIME] = 0, 0
	if err := unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, mode); err != nil {
		w.t.Fatal(err)
	}
	waiting, err := unix.IoctlGetInt(int(slave.Fd()), unix.TIOCINQ)
	if err != nil || waiting == 0 {
		return ""
	}
	buf := make([]byte, waiting)
	k, _, _ := unix.Syscall(unix.SYS_READ, slave.Fd(), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	return string(buf[:max(0, int(k))])
}

func runFor(cmd *exec.Cmd, limit time.Duration) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	return cmd.Wait()
}
