package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// fixtureOnces are the things that several cases use and that are made when the first one asks.
type fixtureOnces struct {
	busybox, debian, lsfs, agentls, docker, attack, attack32 fixture
}

// fixture is a path (or an address) that is made once; its error says why there is none.
type fixture struct {
	once sync.Once
	path string
	err  error
	stop func()
}

func (f *fixtureOnces) stop() {
	for _, x := range []*fixture{&f.busybox, &f.debian, &f.lsfs, &f.agentls, &f.docker} {
		if x.stop != nil {
			x.stop()
		}
	}
}

func (f *fixture) get() (string, error) {
	f.once.Do(func() {
		switch f {
		case &shared.once.busybox:
			f.path, f.err = makeBusybox()
		case &shared.once.debian:
			f.path, f.err = makeDebian()
		case &shared.once.lsfs:
			f.path = filepath.Join(shared.dir, "bin", "lsfs")
			f.err = goBuild(f.path, "lsfs")
		case &shared.once.agentls:
			f.path = filepath.Join(shared.dir, "bin", "agentls")
			f.err = goBuild(f.path, "agentls")
		case &shared.once.attack:
			f.path = filepath.Join(shared.dir, "bin", "attack")
			f.err = goBuild(f.path, "attack")
		case &shared.once.attack32:
			f.path = filepath.Join(shared.dir, "bin", "attack32")
			f.err = goBuild(f.path, "attack", "GOARCH=386")
		case &shared.once.docker:
			f.path, f.stop, f.err = findDocker()
		}
	})
	return f.path, f.err
}

func (f *fixture) why() string {
	if _, err := f.get(); err != nil {
		return err.Error()
	}
	return ""
}

// busyboxImage is an OCI layout with the image busybox:latest.
func busyboxImage(t testing.TB) string { return mustGet(t, &shared.once.busybox) }

// debianImage is an OCI layout with the image debian:latest, a minimal Debian with working apt sources.
func debianImage(t testing.TB) string { return mustGet(t, &shared.once.debian) }

// lsfsProgram is the static program that lists a file system.
func lsfsProgram(t testing.TB) string { return mustGet(t, &shared.once.lsfs) }

func mustGet(t testing.TB, f *fixture) string {
	t.Helper()
	p, err := f.get()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// makeBusybox puts the static busybox of this machine into an image of its own, with the files that user lookups need.
func makeBusybox() (string, error) {
	var program []byte
	for _, p := range []string{"/bin/busybox", "/usr/bin/busybox", "/usr/sbin/busybox"} {
		if b, err := os.ReadFile(p); err == nil {
			program = b
			break
		}
	}
	if program == nil {
		return "", errors.New("busybox isn't installed (package busybox-static)")
	}
	applets, err := exec.Command("busybox", "--list").Output()
	if err != nil {
		return "", fmt.Errorf("busybox --list: %w", err)
	}
	probe := filepath.Join(shared.dir, "bin", "busybox-probe")
	if err := os.WriteFile(probe, program, 0o755); err != nil {
		return "", err
	}
	if out, err := exec.Command("ldd", probe).CombinedOutput(); err == nil && strings.Contains(string(out), "=>") {
		return "", errors.New("busybox isn't static (package busybox-static)")
	}
	entries := []tarEntry{
		dir("bin", 0o755), file("bin/busybox", 0o755, program),
		dir("dev", 0o755), dir("etc", 0o755),
		file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n")),
		file("etc/group", 0o644, []byte("root:x:0:\nwheel:x:10:root\nwww-data:x:33:\ndata:x:44:www-data\nnogroup:x:65534:\n")),
		dir("proc", 0o555), dir("root", 0o700), dir("sys", 0o555), dir("tmp", 0o1777),
		dir("usr", 0o755), dir("usr/bin", 0o755), dir("var", 0o755), dir("var/www", 0o755).owned(33, 33),
	}
	for _, name := range strings.Fields(string(applets)) {
		if name != "busybox" {
			entries = append(entries, symlink("bin/"+name, "busybox"))
		}
	}
	layout := filepath.Join(shared.dir, "busybox")
	return layout, writeLayout(layout, "busybox:latest", imageConfig{Cmd: []string{"sh"}}, entries)
}

// makeDebian makes a layout of a Debian root with umoci. The root, which takes the network and 15 seconds, is kept between runs.
func makeDebian() (string, error) {
	for _, program := range []string{"umoci"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%s isn't installed", program)
		}
	}
	rootfs, err := debianRoot()
	if err != nil {
		return "", err
	}
	layout := filepath.Join(shared.dir, "debian")
	for _, argv := range [][]string{
		{"umoci", "init", "--layout", layout},
		{"umoci", "new", "--image", layout + ":debian:latest"},
		{"umoci", "raw", "add-layer", "--image", layout + ":debian:latest", rootfs},
		{"umoci", "config", "--image", layout + ":debian:latest", "--config.cmd", "/bin/bash"},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
		}
	}
	return layout, nil
}

// debianRoot finds or makes the tar file of a Debian root.
func debianRoot() (string, error) {
	const name = "debian-bookworm-minbase.tar"
	own := os.Getenv("CAIRN_TEST_CACHE")
	if own == "" {
		if p := filepath.Join("/var/cache/cairn-tests", name); readable(p) {
			return p, nil
		}
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		own = filepath.Join(cache, "cairn-tests")
	}
	p := filepath.Join(own, name)
	if readable(p) {
		return p, nil
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return "", errors.New("mmdebstrap isn't installed")
	}
	if why := missing("subuid"); why != "" {
		return "", errors.New("no Debian root in " + own + ", and mmdebstrap can't make one: " + why)
	}
	if err := os.MkdirAll(own, 0o755); err != nil {
		return "", err
	}
	partial := fmt.Sprintf("%s.%d", p, os.Getpid())
	defer os.Remove(partial)
	cmd := exec.Command("./debian-root.sh", partial)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make a Debian root: %w\n%s", err, out)
	}
	return p, os.Rename(partial, p)
}

func readable(p string) bool {
	f, err := os.Open(p)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// findDocker gives the address of a docker daemon: $DOCKER_HOST, or as root one that is started here.
func findDocker() (string, func(), error) {
	if _, err := exec.LookPath("docker"); err != nil {
		return "", nil, errors.New("docker isn't installed")
	}
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		if out, err := exec.Command("docker", "version").CombinedOutput(); err != nil {
			return "", nil, fmt.Errorf("the docker daemon at %s doesn't answer: %s", host, out)
		}
		return host, nil, nil
	}
	if os.Getuid() != 0 {
		return "", nil, errors.New("no docker daemon: set DOCKER_HOST (root would start one)")
	}
	if _, err := exec.LookPath("dockerd"); err != nil {
		return "", nil, errors.New("dockerd isn't installed")
	}
	dir := filepath.Join(shared.dir, "dockerd")
	if err := os.Mkdir(dir, 0o711); err != nil {
		return "", nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return "", nil, err
	}
	defer log.Close()
	host := "unix://" + filepath.Join(dir, "sock")
	cmd := exec.Command("dockerd", "--iptables=false", "--bridge=none", "--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"), "--host", host)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop := func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		exec.Command("umount", filepath.Join(dir, "data")).Run() // it binds it to itself and leaves it so
	}
	for range 150 {
		if exec.Command("docker", "--host", host, "version").Run() == nil {
			return host, stop, nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	stop()
	text, _ := os.ReadFile(log.Name())
	return "", nil, fmt.Errorf("dockerd didn't start:\n%s", text)
}
