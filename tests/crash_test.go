package tests

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// crashDockerfile has every kind of work in it: stages that run at the same time, RUNs that write and delete, copies between stages, a layer to pack.
const crashDockerfile = `FROM busybox AS one
COPY one.txt /
RUN dd if=/dev/urandom of=/one bs=1M count=4 2>/dev/null; sleep 0.1431 & mkdir -p /d/e; touch /d/e/f; wait # %[1]s
RUN rm -r /d; adduser -D someone 2>/dev/null; chmod 000 /var/www # %[1]s
FROM busybox AS two
COPY two.txt /
RUN dd if=/dev/urandom of=/two bs=1M count=4 2>/dev/null; sleep 0.1431 # %[1]s
FROM busybox
COPY --from=one /one /
COPY --from=two /two /
WORKDIR /srv
RUN cat /one /two > both; sleep 0.1431 # %[1]s
CMD ["cat", "/srv/both"]
`

// TestKill kills builds at random moments and looks at what is left.
func TestKill(t *testing.T) {
	startCase(t, "userns", "busybox", "umoci")
	w := newWorld(t)
	w.must("cairn", "load", "-i", busyboxImage(t))
	token := fmt.Sprintf("token-%d", os.Getpid())
	w.write(map[string]string{"ctx/Dockerfile": fmt.Sprintf(crashDockerfile, token), "ctx/one.txt": "1", "ctx/two.txt": "2"})
	tags := []string{"busybox:latest"}
	start := time.Now()
	w.crashBuild("me/crash:0")
	whole := time.Since(start)
	tags = append(tags, "me/crash:0")

	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	killed := 0
	for i := range 50 {
		what := fmt.Sprintf("kill %d of seed %d", i, seed)
		w.write(map[string]string{"ctx/one.txt": fmt.Sprint("one ", i), "ctx/two.txt": fmt.Sprint("two ", i/2)})
		tag := fmt.Sprintf("me/crash:%d", i%5)
		cmd := w.command("cairn", "build", "--root", w.root, "-q", "-t", tag, "ctx")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.Int64N(int64(whole + whole/10))))
		target := cmd.Process.Pid
		if i%2 == 0 {
			target = -target // the whole group; otherwise only the process that the user sees
		}
		if err := syscall.Kill(target, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			t.Fatal(err)
		}
		if cmd.Wait() != nil {
			killed++
		}
		eventually(t, what+": every process is gone", 2*time.Second, func() bool { return len(processes(w.root, token)) == 0 })
		if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), w.root) {
			t.Fatalf("%s: a mount is left (%v)", what, err)
		}
		w.umociReads(what, tags...)
		w.crashBuild(tag)
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
		w.umociReads(what+", then a build", tags...)
		w.noLeftovers(what)
	}
	if killed < 25 {
		t.Errorf("only %d of 50 builds were still running when they were killed: the test proves little", killed)
	}
	out := w.must("cairn", "run", "--rm", "me/crash:4").stdout
	if len(out) != 8<<20 {
		t.Errorf("the image gives %d bytes", len(out))
	}
}

func (w *world) crashBuild(tag string) {
	w.t.Helper()
	w.must("cairn", "build", "--root", w.root, "-q", "-t", tag, "ctx")
}

// processes finds the processes that have one of the words in their command lines.
func processes(words ...string) []string {
	var found []string
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range lines {
		text, err := os.ReadFile(p)
		if err != nil || p == fmt.Sprintf("/proc/%d/cmdline", os.Getpid()) {
			continue
		}
		for _, word := range words {
			if strings.Contains(string(text), word) {
				found = append(found, strings.ReplaceAll(string(text), "\x00", " "))
				break
			}
		}
	}
	return found
}

// umociReads checks that umoci lists exactly these tags and reads each, and that all their blobs are there and whole.
func (w *world) umociReads(what string, tags ...string) {
	w.t.Helper()
	listed := strings.Fields(w.must("umoci", "ls", "--layout", w.oci()).stdout)
	for _, tag := range tags {
		if !slices.Contains(listed, tag) {
			w.t.Fatalf("%s: umoci ls lacks %s: %v", what, tag, listed)
		}
	}
	for _, tag := range listed {
		w.must("umoci", "stat", "--image", w.image(tag))
		if _, _, err := readManifest(w.oci(), tag); err != nil {
			w.t.Fatalf("%s: %s: %v", what, tag, err)
		}
	}
}

// noLeftovers checks that nothing temporary is in the store while no cairn runs.
func (w *world) noLeftovers(what string) {
	w.t.Helper()
	left, err := filepath.Glob(filepath.Join(w.root, "tmp", "*"))
	if err != nil {
		w.t.Fatal(err)
	}
	more, _ := filepath.Glob(filepath.Join(w.root, "oci", ".*"))
	blobs, _ := filepath.Glob(filepath.Join(w.root, "oci", "blobs", "sha256", "*[^0-9a-f]*"))
	if left = slices.Concat(left, more, blobs); len(left) > 0 {
		w.t.Fatalf("%s: left behind: %v", what, left)
	}
}

// TestFullDisk fills a small file system in several ways; the next build that fits has to succeed.
func TestFullDisk(t *testing.T) {
	startCase(t, "userns", "busybox", "umoci")
	w := newWorld(t)
	w.useRoot(filepath.Join(w.smallDisk(), "store"))
	t.Cleanup(func() { removeAll(w.root) })
	w.must("cairn", "load", "-i", busyboxImage(t))
	w.write(map[string]string{
		"small/Dockerfile":  "FROM busybox\nCOPY f /\nRUN echo small > /s\n",
		"small/f":           "f",
		"run/Dockerfile":    "FROM busybox\nRUN dd if=/dev/urandom of=/big bs=1M count=100\n",
		"pack/Dockerfile":   "FROM busybox\nRUN dd if=/dev/urandom of=/big bs=1M count=34 2>/dev/null\n",
		"copy/Dockerfile":   "FROM busybox\nCOPY big /\n",
		"copied/Dockerfile": "FROM busybox AS a\nCOPY big /\nRUN cat /big /big > /bigger\nFROM busybox\nCOPY --from=a /bigger /\n",
	})
	big := make([]byte, 70<<20)
	rand.NewChaCha8([32]byte{}).Read(big)
	if err := os.WriteFile(w.path("copy/big"), big, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.path("copied/big"), big[:20<<20], 0o644); err != nil {
		t.Fatal(err)
	}
	w.must("cairn", "build", "-q", "-t", "me/small:0", "small")
	tags := []string{"busybox:latest", "me/small:0"}
	for i, way := range []string{"run", "pack", "copy", "copied", "run"} {
		w.fails([]string{"no space left"}, "cairn", "build", "-q", "-t", "me/"+way+":1", way)
		w.umociReads("full by "+way, tags...)
		w.write(map[string]string{"small/f": fmt.Sprint(i)})
		tag := fmt.Sprintf("me/small:%d", i+1)
		w.must("cairn", "build", "-q", "-t", tag, "small")
		tags = append(tags, tag)
		w.umociReads("after full by "+way, tags...)
		w.noLeftovers("after full by " + way)
	}
}

// smallDisk gives an empty directory on a file system of about 60 MB.
func (w *world) smallDisk() string {
	w.t.Helper()
	if given := os.Getenv("CAIRN_TEST_SMALLFS"); given != "" {
		return given
	}
	if os.Getuid() != 0 {
		skip(w.t, "CAIRN_TEST_SMALLFS isn't set, and only root can mount a small tmpfs: mount -t tmpfs -o size=60m,mode=1777 tmpfs DIR")
	}
	p := w.path("small-disk")
	if err := os.Mkdir(p, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", p, "tmpfs", 0, "size=60m"); err != nil {
		skip(w.t, fmt.Sprintf("mount a small tmpfs: %v", err))
	}
	w.t.Cleanup(func() { syscall.Unmount(p, syscall.MNT_DETACH) })
	return p
}
