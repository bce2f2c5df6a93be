// Command idcalls makes system calls that have to do with owners and ids and prints what they gave. The tests run it, built for
// each ABI of the machine, as root in images built with and without subordinate ids: it must say the same everywhere.
//
//	idcalls files DIR     makes files in an empty directory, changes their owners and looks at them
//	idcalls ids           changes its own ids, in every way there is
//	idcalls orphan FILE   as user 1234 leaves a grandchild that says in FILE who it is when its parents are gone
//	idcalls threads       becomes user 1234 and asks every thread who it is
//	idcalls peer SOCKET   lets user 1234 connect and says who came
//	idcalls who           says who it is
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	commands := map[string]func(arg string){
		"files": files, "ids": ids, "orphan": orphan, "threads": threads, "peer": peer,
		"who":     func(string) { fmt.Println(who()) },
		"late":    late,
		"connect": connect,
	}
	arg := ""
	if len(os.Args) > 2 {
		arg = os.Args[2]
	}
	commands[os.Args[1]](arg)
}

// say prints one line of the result; an error by its name, which no language changes.
func say(what string, values ...any) {
	for i, v := range values {
		if v == nil {
			values[i] = "ok"
		}
		if errno, ok := v.(syscall.Errno); ok {
			values[i] = unix.ErrnoName(errno)
			if errno == 0 {
				values[i] = "ok"
			}
		}
	}
	fmt.Println(what+":", strings.TrimSuffix(fmt.Sprintln(values...), "\n"))
}

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func who() string {
	r, e, s := unix.Getresuid()
	rg, eg, sg := unix.Getresgid()
	groups, _ := unix.Getgroups()
	return fmt.Sprintf("uid %d %d %d gid %d %d %d groups %v", r, e, s, rg, eg, sg, groups)
}

func ids(string) {
	say("start", unix.Getuid(), unix.Geteuid(), unix.Getgid(), unix.Getegid())
	say("setgroups", syscall.Setgroups([]int{7, 65536}))
	say("setresgid", unix.Setresgid(20, 21, 22), who())
	say("setregid", unix.Setregid(-1, 20), who())
	say("setfsgid", syscall.Setfsgid(30))
	old, _ := unix.SetfsgidRetGid(-1)
	say("fsgid", old)
	narrow()
	say("setresuid", unix.Setresuid(10, 11, 0), who())
	say("setuid to a stranger", unix.Setuid(99))
	say("setreuid to the saved", unix.Setreuid(-1, 0), who())
	say("setreuid swaps", unix.Setreuid(0, 10), who())
	say("setuid to the real", unix.Setuid(0), who())
	say("setuid as root", unix.Setuid(1234), who())
	say("setuid back", unix.Setuid(0))
	say("setresuid back", unix.Setresuid(0, -1, -1))
	say("setgid to the saved", unix.Setgid(22), who())
	say("setgid to a stranger", unix.Setgid(5))
	say("setgroups as a user", syscall.Setgroups(nil))
	unlimit()
	old, _ = unix.SetfsuidRetUid(0)
	say("setfsuid", old)
	out, err := exec.Command("/proc/self/exe", "who").Output()
	say("in a child", err, strings.TrimSpace(string(out)))
}

// unlimit does what sudo does with all limits: none of them may have to do with who a process is.
func unlimit() {
	var saved unix.Rlimit
	must(unix.Getrlimit(unix.RLIMIT_LOCKS, &saved))
	must(unix.Setrlimit(unix.RLIMIT_LOCKS, &unix.Rlimit{Cur: saved.Max, Max: saved.Max}))
	say("limits", saved.Cur == saved.Max, who())
	must(unix.Prlimit(0, unix.RLIMIT_LOCKS, &saved, nil))
}

func become(uid, gid int, groups ...int) {
	must(syscall.Setgroups(groups))
	must(unix.Setresgid(gid, gid, gid))
	must(unix.Setresuid(uid, uid, uid))
}

func orphan(file string) {
	become(1234, 1235, 1, 2)
	cmd := exec.Command("/proc/self/exe", "late", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	must(cmd.Start())
}

// late waits until whoever started it is gone, and has a child of its own answer after it is gone itself.
func late(file string) {
	for os.Getppid() != 1 {
		time.Sleep(5 * time.Millisecond)
	}
	if _, err := os.Stat(file + ".first"); err != nil {
		must(os.WriteFile(file+".first", nil, 0o600))
		must(exec.Command("/proc/self/exe", "late", file).Start())
		return
	}
	must(os.WriteFile(file+".new", []byte(who()+"\n"), 0o644))
	must(os.Rename(file+".new", file))
}

func threads(string) {
	var wg, all sync.WaitGroup
	answers := make(chan string, 8)
	start := make(chan struct{})
	for range cap(answers) {
		all.Add(1)
		wg.Go(func() {
			runtime.LockOSThread()
			all.Done()
			<-start
			answers <- who()
		})
	}
	all.Wait()
	become(1234, 1235)
	close(start)
	wg.Wait()
	close(answers)
	var said []string
	for a := range answers {
		said = append(said, a)
	}
	slices.Sort(said)
	say("threads", len(said), slices.Compact(said))
}

func peer(socket string) {
	l, err := net.Listen("unix", socket)
	must(err)
	must(os.Chmod(socket, 0o777))
	cmd := exec.Command("/proc/self/exe", "connect", socket)
	cmd.Stdout = os.Stdout
	must(cmd.Start())
	c, err := l.Accept()
	must(err)
	raw, err := c.(*net.UnixConn).SyscallConn()
	must(err)
	must(raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		must(err)
		say("peer", cred.Uid, cred.Gid, int(cred.Pid) == cmd.Process.Pid)
	}))
	c.Close()
	must(cmd.Wait())
}

func connect(socket string) {
	become(1234, 1235)
	c, err := net.Dial("unix", socket)
	must(err)
	_, _ = c.Read(make([]byte, 1)) // until the server has looked
}
