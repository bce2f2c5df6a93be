package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const redisDockerfile = `FROM debian
RUN apt-get update && apt-get install -y --no-install-recommends redis-server
COPY redis.conf /etc/redis/
CMD ["redis-server", "/etc/redis/redis.conf"]
`

// TestRedis builds a real program's image the way its users would, runs it, changes it, and hands it to everybody else.
func TestRedis(t *testing.T) {
	startCase(t, "userns", "debian")
	w := newWorld(t)
	port := freePort(t)
	w.write(map[string]string{
		"ctx/Dockerfile": redisDockerfile,
		"ctx/redis.conf": fmt.Sprintf("bind 127.0.0.1\nport %d\nsave \"\"\ndir /tmp\n", port),
	})
	w.must("cairn", "load", "-i", debianImage(t))
	w.steps(w.must("cairn", "build", "--progress=plain", "-t", "me/redis:1", "ctx"), map[string]bool{"RUN apt-get update": false, "COPY redis.conf": false})
	reference := w.listInside("me/redis:1", "cairn", "run", "--rm")
	for _, want := range []string{`"usr/bin/redis-server" link`, `"etc/redis/redis.conf" file 0644 0:0`, `"var/lib/redis" dir 0750 `} {
		if !strings.Contains(reference, want) {
			t.Fatalf("the image lacks %s", want)
		}
	}

	// Each of these says what failed; they share the store and the image, and the order doesn't matter.
	ping := fmt.Sprintf("redis-server /etc/redis/redis.conf --daemonize yes >/dev/null && for i in 1 2 3 4 5 6 7 8 9; do sleep 0.2; redis-cli -p %d ping && exit; done; exit 1", port)
	for _, c := range []struct {
		name  string
		needs []string
		f     func(t *testing.T, w *world)
	}{
		{"answers", nil, func(t *testing.T, w *world) { redisAnswers(w, port) }},
		{"umoci", []string{"umoci"}, func(t *testing.T, w *world) { survivesUmoci(w, "me/redis:1", reference) }},
		{"skopeo", []string{"skopeo"}, func(t *testing.T, w *world) { survivesSkopeo(w, "me/redis:1") }},
		{"podman", []string{"subuid", "podman"}, func(t *testing.T, w *world) { survivesPodman(w, "me/redis:1", reference, ping) }},
		{"docker", []string{"docker"}, func(t *testing.T, w *world) { survivesDocker(w, "me/redis:1", reference, ping) }},
		{"registry", []string{"docker-registry", "skopeo"}, func(t *testing.T, w *world) { survivesRegistry(w, "me/redis:1", reference) }},
		{"cache", nil, func(t *testing.T, w *world) { redisCache(w) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			startCase(t, c.needs...)
			c.f(t, w.on(t))
		})
	}
}

// redisAnswers runs the image as a server and again as a client, and stops the server as a person would.
func redisAnswers(w *world, port int) {
	w.t.Helper()
	server, log := w.start("cairn", "run", "--rm", "--name", "redis", "me/redis:1")
	var pong output
	eventually(w.t, "redis-cli ping", 20*time.Second, func() bool {
		pong = w.try("cairn", "run", "--rm", "me/redis:1", "redis-cli", "-p", fmt.Sprint(port), "ping")
		return pong.stdout == "PONG\n"
	})
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		w.t.Fatal(err)
	}
	if err := server.Wait(); err != nil {
		w.t.Errorf("redis ended with %v after SIGTERM, not in peace:\n%s", err, log)
	}
}

func redisCache(w *world) {
	before, _, err := readManifest(w.oci(), "me/redis:1")
	if err != nil {
		w.t.Fatal(err)
	}
	second := w.must("cairn", "build", "--progress=plain", "-t", "me/redis:1", "ctx")
	w.steps(second, map[string]bool{"RUN apt-get": true, "COPY redis.conf": true})
	names, cached := readSteps(second.stderr)
	for n, name := range names {
		if !strings.HasPrefix(name, "[internal]") && !strings.Contains(name, "FROM ") && !cached[n] {
			w.t.Errorf("the second build ran %s", name)
		}
	}
	after, _, err := readManifest(w.oci(), "me/redis:1")
	if err != nil {
		w.t.Fatal(err)
	}
	if before.Digest != after.Digest {
		w.t.Errorf("the second build gave another image: %s, then %s", before.Digest, after.Digest)
	}
	w.write(map[string]string{"ctx/Dockerfile": strings.Replace(redisDockerfile, `redis.conf"]`, `redis.conf", "--loglevel", "warning"]`, 1)})
	w.steps(w.must("cairn", "build", "--progress=plain", "-t", "me/redis:2", "ctx"), map[string]bool{"RUN apt-get": true, "COPY redis.conf": true})
	conf, err := os.ReadFile(w.path("ctx/redis.conf"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(map[string]string{"ctx/redis.conf": string(conf) + "# changed\n"})
	w.steps(w.must("cairn", "build", "--progress=plain", "-t", "me/redis:3", "ctx"), map[string]bool{"RUN apt-get": true, "COPY redis.conf": false})
	again := time.Now().Add(time.Hour)
	if err := os.Chtimes(w.path("ctx/redis.conf"), again, again); err != nil {
		w.t.Fatal(err)
	}
	w.steps(w.must("cairn", "build", "--progress=plain", "-t", "me/redis:3", "ctx"), map[string]bool{"RUN apt-get": true, "COPY redis.conf": true})
}

// withoutWhatRootlessCantKeep drops from a listing what umoci can't keep as an ordinary user: owners of links and special files, and file capabilities.
func withoutWhatRootlessCantKeep(listing string) string {
	lines := strings.Split(listing, "\n")
	for i, l := range lines {
		f := strings.Split(l, " ")
		for j := 1; j < len(f); j++ {
			if strings.HasPrefix(f[j], "security.capability=") {
				f = append(f[:j], f[j+1:]...)
				break
			}
		}
		if len(f) > 3 && f[1] != "file" && f[1] != "dir" {
			f[3] = "-"
		}
		lines[i] = strings.Join(f, " ")
	}
	return strings.Join(lines, "\n")
}

func survivesUmoci(w *world, image, reference string) {
	w.t.Helper()
	bundle := w.path("bundle-" + strings.ReplaceAll(image, "/", "-"))
	w.must("umoci", "unpack", "--rootless", "--image", w.image(image), bundle)
	got := w.listDir(filepath.Join(bundle, "rootfs"), "-owners-from-xattr")
	same(w.t, "umoci unpack --rootless", withoutRoot(withoutWhatRootlessCantKeep(reference)), withoutRoot(withoutWhatRootlessCantKeep(got)))
}

// withoutRoot drops the root directory itself from a listing: layers needn't have an entry for it.
func withoutRoot(listing string) string {
	if first, rest, ok := strings.Cut(listing, "\n"); ok && strings.HasPrefix(first, `"."`) {
		return rest
	}
	return listing
}

func survivesSkopeo(w *world, image string) {
	w.t.Helper()
	copied := w.path("skopeo-copy")
	w.must("skopeo", "copy", "oci:"+w.image(image), "oci:"+copied+":copy")
	sameImage(w, w.oci(), image, copied, "copy")
}

// sameImage compares config and layers of two images in layouts by digest.
func sameImage(w *world, layoutA, a, layoutB, b string) {
	w.t.Helper()
	_, want, err := readManifest(layoutA, a)
	if err != nil {
		w.t.Fatal(err)
	}
	_, got, err := readManifest(layoutB, b)
	if err != nil {
		w.t.Fatal(err)
	}
	if want.Config.Digest != got.Config.Digest {
		w.t.Errorf("another config: %s, %s", want.Config.Digest, got.Config.Digest)
	}
	if len(want.Layers) != len(got.Layers) {
		w.t.Fatalf("%d layers, then %d", len(want.Layers), len(got.Layers))
	}
	for i := range want.Layers {
		if want.Layers[i].Digest != got.Layers[i].Digest {
			w.t.Errorf("layer %d differs: %s, %s", i, want.Layers[i].Digest, got.Layers[i].Digest)
		}
	}
}

// podman gives a command line of podman with a storage of its own in the world.
func (w *world) podman() []string {
	base, err := os.MkdirTemp("/tmp", "cairn-p-") // podman takes no longer path than 50 bytes
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { removeAll(base) })
	for _, d := range []string{"root", "run", "xdg", "config", "data"} {
		if err := os.MkdirAll(filepath.Join(base, d), 0o700); err != nil {
			w.t.Fatal(err)
		}
	}
	argv := []string{
		"env", "XDG_RUNTIME_DIR=" + base + "/xdg", "XDG_CONFIG_HOME=" + base + "/config", "XDG_DATA_HOME=" + base + "/data",
		"podman", "--root", base + "/root", "--runroot", base + "/run", "--storage-driver", "overlay",
		"--cgroup-manager", "cgroupfs", "--events-backend", "file", "--log-level", "error",
	}
	if missing("runc") == "" {
		argv = append(argv, "--runtime", "runc") // crun refuses hosts with both versions of cgroups
	}
	w.t.Cleanup(func() { w.try(append(argv, "rmi", "--all", "--force")...) })
	return argv
}

func survivesPodman(w *world, image, reference, ping string) {
	w.t.Helper()
	archive := w.path("podman.tar")
	w.must("cairn", "save", "-o", archive, image)
	podman := w.podman()
	call := func(args ...string) []string { return append(podman[:len(podman):len(podman)], args...) }
	loaded := w.must(call("load", "-i", archive)...)
	if !strings.Contains(loaded.stdout, "docker.io/"+image) {
		w.t.Errorf("podman load gave it another name: %s", loaded.stdout)
	}
	// Limits that any user may set: root without CAP_SYS_RESOURCE cannot raise its own as podman would.
	run := call("run", "--rm", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
	same(w.t, "podman run", withoutRoot(reference), withoutRoot(w.listInside("docker.io/"+image, run...)))
	if ping != "" {
		pong := w.must(append(run, "docker.io/"+image, "sh", "-c", ping)...)
		if pong.stdout != "PONG\n" {
			w.t.Errorf("redis in podman: %s", pong)
		}
	}
}

func survivesDocker(w *world, image, reference, ping string) {
	w.t.Helper()
	docker := []string{"docker", "--host", mustGet(w.t, &shared.once.docker)}
	call := func(args ...string) []string { return append(docker[:len(docker):len(docker)], args...) }
	archive := w.path("docker.tar")
	w.must("cairn", "save", "-o", archive, image)
	loaded := w.must(call("load", "-i", archive)...)
	if !strings.Contains(loaded.stdout, image) {
		w.t.Errorf("docker load gave it another name: %s", loaded.stdout)
	}
	w.t.Cleanup(func() { w.try(call("rmi", "--force", image)...) })
	run := call("run", "--rm", "--network", "none")
	same(w.t, "docker run", withoutRoot(reference), withoutRoot(w.listInside(image, run...)))
	if ping != "" {
		pong := w.must(append(run, image, "sh", "-c", ping)...)
		if pong.stdout != "PONG\n" {
			w.t.Errorf("redis in docker: %s", pong)
		}
	}
}

// startRegistry starts a registry server and gives its address.
func (w *world) startRegistry() string {
	w.t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(w.t))
	w.write(map[string]string{"registry.yml": fmt.Sprintf("version: 0.1\nlog: {level: warn}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", w.path("registry"), addr)})
	w.start("docker-registry", "serve", w.path("registry.yml"))
	eventually(w.t, "the registry answers", 20*time.Second, func() bool { return listening(addr) })
	return addr
}

func survivesRegistry(w *world, image, reference string) {
	w.t.Helper()
	name := w.startRegistry() + "/" + image
	w.must("skopeo", "copy", "--dest-tls-verify=false", "oci:"+w.image(image), "docker://"+name)
	other := newWorld(w.t)
	other.must("cairn", "pull", name)
	sameImage(w, w.oci(), image, other.oci(), name)
	same(w.t, "pulled from the registry", reference, other.listInside(name, "cairn", "run", "--rm"))
}
