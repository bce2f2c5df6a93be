package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// account is whom the measured programs run as; the zero value is the caller.
type account struct {
	name, home string
	uid, gid   int
	change     bool
}

func lookupUser(name string) (account, error) {
	if name == "" {
		u, err := user.Current()
		if err != nil {
			return account{}, err
		}
		return account{name: u.Username, home: u.HomeDir, uid: os.Getuid(), gid: os.Getgid()}, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return account{}, err
	}
	uid, uerr := strconv.Atoi(u.Uid)
	gid, gerr := strconv.Atoi(u.Gid)
	return account{name: name, home: u.HomeDir, uid: uid, gid: gid, change: true}, errors.Join(uerr, gerr)
}

// machine runs commands as the account, below one working directory.
type machine struct {
	dir string
	who account
	log *os.File // what the commands print, or nil
}

// path names a file below the working directory.
func (m *machine) path(elem ...string) string {
	return filepath.Join(append([]string{m.dir}, elem...)...)
}

// own gives a directory tree to the account.
func (m *machine) own(dir string) error {
	if !m.who.change {
		return nil
	}
	return filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, m.who.uid, m.who.gid)
	})
}

// sample is what one command took. cpu is user and system time of the command and of all that it waited for; rss the peak of its largest
// process, in bytes.
type sample struct {
	wall, cpu time.Duration
	rss       int64
}

// sh runs a shell script as the account and measures it.
func (m *machine) sh(ctx context.Context, script string, env ...string) (sample, error) {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-ec", script)
	cmd.Dir = m.dir
	cmd.Env = append(append(os.Environ(), "HOME="+m.who.home, "USER="+m.who.name, "XDG_RUNTIME_DIR="+m.path("run"), "TMPDIR="+m.path("tmp")), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if m.who.change {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(m.who.uid), Gid: uint32(m.who.gid)}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if m.log != nil {
		fmt.Fprintf(m.log, "$ %s\n%s", script, out.Bytes())
	}
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w\n%s", script, err, lastLines(out.Bytes()))
	}
	s := sample{wall: wall, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.rss = ru.Maxrss << 10
	}
	return s, nil
}

func lastLines(b []byte) []byte {
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	if len(lines) > 15 {
		lines = lines[len(lines)-15:]
	}
	return bytes.Join(lines, []byte("\n"))
}

// removeTree removes what the account made, also what belongs to its subordinate ids.
func removeTree(dir string) {
	if os.RemoveAll(dir) == nil {
		return
	}
	for _, args := range [][]string{{"buildah", "unshare"}, {"unshare", "-r", "--map-auto"}} {
		if exec.Command(args[0], append(args[1:], "rm", "-rf", dir)...).Run() == nil { //nolint:gosec // a directory of our own
			return
		}
	}
	fmt.Fprintf(os.Stderr, "bench: could not remove %s\n", dir)
}

// has reports whether a program is installed.
func has(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

func copyFile(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(dst)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
