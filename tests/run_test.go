package tests

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// world is one store and one working directory, for tests that are more than a script.
type world struct {
	t    *testing.T
	dir  string
	root string // CAIRN_ROOT
	env  []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp(shared.dir, "world-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if os.Getenv("CAIRN_KEEP") == "" {
			removeAll(dir)
		}
	})
	w := &world{t: t, dir: dir}
	w.useRoot(filepath.Join(dir, "store"))
	return w
}

// useRoot points the world at another store.
func (w *world) useRoot(root string) {
	w.root = root
	w.env = append(slices.DeleteFunc(os.Environ(), func(s string) bool {
		return strings.HasPrefix(s, "CAIRN_") || strings.HasPrefix(s, "SOURCE_DATE_EPOCH=")
	}), "CAIRN_ROOT="+root)
}

// on is the same world as seen from a subtest.
func (w *world) on(t *testing.T) *world {
	c := *w
	c.t = t
	return &c
}

func (w *world) oci() string              { return filepath.Join(w.root, "oci") }
func (w *world) path(name string) string  { return filepath.Join(w.dir, name) }
func (w *world) image(name string) string { return w.oci() + ":" + name }

// write makes files below the world's directory.
func (w *world) write(files map[string]string) {
	w.t.Helper()
	for name, text := range files {
		p := w.path(name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
}

// output is what a program said and how it ended.
type output struct {
	stdout, stderr string
	err            error
}

func (o output) String() string { return fmt.Sprintf("%v\n%s%s", o.err, o.stdout, o.stderr) }

// try runs a program in the world's directory.
func (w *world) try(argv ...string) output {
	cmd := w.command(argv...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	return output{stdout.String(), stderr.String(), err}
}

func (w *world) command(argv ...string) *exec.Cmd {
	if argv[0] == "cairn" {
		argv = append([]string{shared.cairn}, argv[1:]...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = w.dir
	cmd.Env = w.env
	return cmd
}

// must runs a program that has to succeed.
func (w *world) must(argv ...string) output {
	w.t.Helper()
	o := w.try(argv...)
	if o.err != nil {
		w.t.Fatalf("%s: %s", strings.Join(argv, " "), o)
	}
	return o
}

// fails runs a program that has to fail, and to say all of the words (in lower case here, in any case there).
func (w *world) fails(words []string, argv ...string) output {
	w.t.Helper()
	o := w.try(argv...)
	var exit *exec.ExitError
	if !errors.As(o.err, &exit) || exit.ExitCode() <= 0 {
		w.t.Fatalf("%s should have failed in an orderly way: %s", strings.Join(argv, " "), o)
	}
	for _, word := range words {
		if !strings.Contains(strings.ToLower(o.stderr), word) {
			w.t.Fatalf("%s doesn't mention %q: %s", strings.Join(argv, " "), word, o)
		}
	}
	return o
}

// steps checks which steps of a build were cached, by words in their names.
func (w *world) steps(o output, want map[string]bool) {
	w.t.Helper()
	names, cached := readSteps(o.stderr)
	for word, wantCached := range want {
		found := 0
		for n, name := range names {
			if strings.Contains(name, word) {
				found++
				if cached[n] != wantCached {
					w.t.Errorf("%s: cached %v, want %v", name, cached[n], wantCached)
				}
			}
		}
		if found != 1 {
			w.t.Errorf("%d steps have %q in their names", found, word)
		}
	}
	if w.t.Failed() {
		w.t.Fatalf("%s", o.stderr)
	}
}

// runtimeFiles are what container runtimes put into a root file system by themselves.
var runtimeFiles = []string{"dev", "proc", "sys", "lsfs", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", ".dockerenv", "run/.containerenv", "run/secrets"}

func lsfsArgs(root string, flags ...string) []string {
	for _, p := range runtimeFiles {
		flags = append(flags, "-skip", p)
	}
	return append(flags, root)
}

// listInside lists an image's file system from inside a container; argv starts it, up to the image's name.
func (w *world) listInside(image string, argv ...string) string {
	w.t.Helper()
	argv = append(argv, "-v", lsfsProgram(w.t)+":/lsfs:ro", "--entrypoint", "/lsfs", image)
	return w.must(append(argv, lsfsArgs("/")...)...).stdout
}

// listDir lists a directory.
func (w *world) listDir(dir string, flags ...string) string {
	w.t.Helper()
	return w.must(append([]string{lsfsProgram(w.t)}, lsfsArgs(dir, flags...)...)...).stdout
}

// same fails with the first differences of two listings.
func same(t *testing.T, what, want, got string) {
	t.Helper()
	if want == got {
		if strings.Count(want, "\n") < 3 {
			t.Fatalf("%s: nothing was listed", what)
		}
		return
	}
	wantLines, gotLines := strings.Split(want, "\n"), strings.Split(got, "\n")
	var diff []string
	for _, l := range wantLines {
		if _, found := slices.BinarySearch(sorted(gotLines), l); !found {
			diff = append(diff, "- "+l)
		}
	}
	for _, l := range gotLines {
		if _, found := slices.BinarySearch(sorted(wantLines), l); !found {
			diff = append(diff, "+ "+l)
		}
	}
	n := len(diff)
	slices.SortFunc(diff, func(a, b string) int { return strings.Compare(a[2:], b[2:]) })
	t.Fatalf("%s: %d lines differ (- expected, + found):\n%s", what, n, strings.Join(diff[:min(n, 30)], "\n"))
}

func sorted(lines []string) []string { return slices.Sorted(slices.Values(lines)) }

// freePort is a TCP port on the loopback address that nobody listens on at the moment.
func freePort(t *testing.T) int {
	t.Helper()
	port, err := freeTCPPort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func freeTCPPort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// eventually waits until f says that it's so.
func eventually(t *testing.T, what string, within time.Duration, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("%s: not within %s", what, within)
}

// start starts a program that is stopped at the test's end.
func (w *world) start(argv ...string) (*exec.Cmd, *bytes.Buffer) {
	w.t.Helper()
	cmd := w.command(argv...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	return cmd, &out
}

func listening(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}
