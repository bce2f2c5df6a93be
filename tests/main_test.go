package tests

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairnbuild/cairn/sandbox"
)

// suite is what all cases share; filled by TestMain, read-only afterwards except for the verdicts.
type suite struct {
	cairn    string // the program under test
	dir      string // everything of this run lies below it
	filter   *regexp.Regexp
	strict   bool // CAIRN_REQUIRE
	noSubuid bool // CAIRN_NO_SUBUID

	mu       sync.Mutex
	verdicts map[string]int
	skipped  []string

	once fixtureOnces
}

var shared suite

func TestMain(m *testing.M) {
	sandbox.RunIfChild()
	os.Exit(runSuite(m))
}

func runSuite(m *testing.M) int {
	if err := shared.setUp(); err != nil {
		fmt.Fprintln(os.Stderr, "tests:", err)
		return 1
	}
	defer shared.tearDown()
	start := time.Now()
	code := m.Run()
	for _, s := range shared.skipped {
		fmt.Println("skipped", s)
	}
	fmt.Printf("e2e as %s in %.0fs: ", userName(), time.Since(start).Seconds())
	fmt.Printf("%d passed, %d failed, %d skipped\n", shared.verdicts["ok"], shared.verdicts["FAIL"], shared.verdicts["skip"])
	if code == 0 && shared.verdicts["FAIL"] > 0 || shared.verdicts["ok"] == 0 {
		code = 1 // a run in which nothing was tried is no success
	}
	return code
}

func (s *suite) setUp() error {
	s.verdicts = map[string]int{}
	s.strict = os.Getenv("CAIRN_REQUIRE") == "1"
	s.noSubuid = os.Getenv("CAIRN_NO_SUBUID") == "1"
	if s.noSubuid && missing("subuid") == "" {
		return errors.New("CAIRN_NO_SUBUID=1, but this user has subordinate ids: nothing may be left out")
	}
	pattern := os.Getenv("CAIRN_E2E_RUN")
	if pattern == "" {
		pattern = "."
	}
	var err error
	if s.filter, err = regexp.Compile(pattern); err != nil {
		return fmt.Errorf("CAIRN_E2E_RUN: %w", err)
	}
	base := os.Getenv("TMPDIR")
	if base == "" {
		base = "/var/tmp" // /tmp may be a tmpfs, which an old kernel can't use for overlay
	}
	if s.dir, err = os.MkdirTemp(base, "cairn-e2e-"); err != nil {
		return err
	}
	// Others (nobody, the docker daemon, podman's ids) have to reach what is below, and each store is 0700 by itself.
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return err
	}
	bin := filepath.Join(s.dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	s.cairn = filepath.Join(bin, "cairn")
	if given := os.Getenv("CAIRN_BIN"); given != "" {
		return copyFile(given, s.cairn, 0o755)
	}
	return goBuild(s.cairn, "..")
}

// tearDown removes the run's directory, whoever owns the files in it by now.
func (s *suite) tearDown() {
	s.once.stop()
	if os.Getenv("CAIRN_KEEP") == "" {
		removeAll(s.dir)
	}
}

// removeAll removes a tree that may hold files of subordinate ids and directories of mode 000.
func removeAll(dir string) {
	exec.Command("chmod", "-R", "u+rwx", dir).Run()
	if os.RemoveAll(dir) == nil {
		return
	}
	exec.Command("unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", dir).Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "tests: left behind:", err)
	}
}

// record notes how a case ended. It must be called at the case's start.
func (s *suite) record(t *testing.T, name string) {
	start := time.Now()
	t.Cleanup(func() {
		verdict := "ok"
		switch {
		case t.Failed():
			verdict = "FAIL"
		case t.Skipped():
			verdict = "skip"
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.verdicts[verdict]++
		fmt.Printf("%-4s %s (%.1fs)\n", verdict, name, time.Since(start).Seconds())
	})
}

// startCase begins a case: it is left out if the filter doesn't want it or if it doesn't apply to this user, and skipped (or failed, when skipping
// isn't allowed) for the first need that this machine doesn't meet.
func startCase(t *testing.T, needs ...string) {
	t.Helper()
	if !shared.filter.MatchString(t.Name()) {
		t.SkipNow()
	}
	if shared.noSubuid && slices.Contains(needs, "subuid") {
		fmt.Printf("n/a  %s: for users with subordinate ids\n", t.Name())
		t.SkipNow()
	}
	shared.record(t, t.Name())
	for _, n := range needs {
		if why := missing(n); why != "" {
			skip(t, why)
		}
	}
}

// skip skips the case, or fails it where a skip isn't allowed.
func skip(t *testing.T, why string) {
	t.Helper()
	if shared.strict {
		t.Fatalf("would skip, but CAIRN_REQUIRE=1: %s", why)
	}
	shared.mu.Lock()
	shared.skipped = append(shared.skipped, t.Name()+": "+why)
	shared.mu.Unlock()
	t.Skip(why)
}

// missing says why this machine doesn't meet a need; "" if it does. A need is a condition below or the name of a program.
func missing(need string) string {
	switch need {
	case "userns":
		return tried("user namespaces don't work here", "unshare", "--user", "--map-root-user", "--mount", "true")
	case "binfmt":
		return tried("no binfmt_misc of a user namespace's own (Linux 6.7)", "unshare", "--user", "--map-root-user", "--mount",
			"mount", "-t", "binfmt_misc", "none", "/proc/sys/fs/binfmt_misc")
	case "subuid":
		if os.Getuid() == 0 {
			return ""
		}
		return tried("no subordinate ids through newuidmap (package uidmap, /etc/subuid)", "unshare", "--user", "--map-root-user", "--map-auto", "true")
	case "docker":
		return shared.once.docker.why()
	case "debian":
		return shared.once.debian.why()
	case "busybox":
		return shared.once.busybox.why()
	case "root":
		if os.Getuid() != 0 {
			return "not root"
		}
		return ""
	case "podman":
		if os.Getuid() != 0 {
			if why := missing("subuid"); why != "" {
				return "rootless podman: " + why
			}
		}
	}
	if _, err := exec.LookPath(need); err != nil {
		return need + " isn't installed"
	}
	return ""
}

func tried(why string, argv ...string) string {
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Sprintf("%s: %s: %v %s", why, argv[0], err, bytes.TrimSpace(out))
	}
	return ""
}

func userName() string {
	out, err := exec.Command("id", "-un").Output()
	if err != nil {
		return fmt.Sprint(os.Getuid())
	}
	return strings.TrimSpace(string(out))
}

func goBuild(out, dir string, env ...string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, ".")
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", dir, err, text)
	}
	return nil
}

func copyFile(from, to string, mode os.FileMode) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, mode)
}
