package tests

import (
	"os"
	"strings"
	"testing"
)

// nestedDockerfile is built inside of something. Its image is compared with the one that is built outside, to the last byte.
const nestedDockerfile = `FROM busybox
RUN mkdir /d && echo a > /d/a && chown 33:44 /d/a && rm /bin/yes && test "$(stat -c %u:%g /d/a)" = 33:44
RUN (while :; do touch /tmp/alive; sleep 0.1; done) >/dev/null 2>&1 & sleep 0.2
RUN rm -f /tmp/alive && sleep 0.3 && test ! -e /tmp/alive
USER 33:44
RUN test "$(id -u)" = 33 && id -u > /tmp/id
`

// nestedScript loads the base image and builds, wherever it is run.
const nestedScript = `export SOURCE_DATE_EPOCH=1700000000 HOME=/tmp CAIRN_ROOT=/tmp/store
cairn load -q -i /nested/busybox.tar >/dev/null && cairn build --progress plain --iidfile /tmp/iid /nested/ctx 2>/tmp/log
status=$?
grep -E '^(note|error|hint):' /tmp/log
[ $status != 0 ] || { echo; cat /tmp/iid; echo; }
exit $status
`

// nest prepares what a nested build needs, and returns the id of the image that it has to give.
func nest(w *world) string {
	w.t.Helper()
	w.write(map[string]string{"nested/ctx/Dockerfile": nestedDockerfile, "nested/build.sh": nestedScript})
	w.must("cairn", "load", "-i", busyboxImage(w.t))
	w.must("cairn", "save", "-o", w.path("nested/busybox.tar"), "busybox")
	if err := copyFile(shared.cairn, w.path("nested/cairn"), 0o755); err != nil {
		w.t.Fatal(err)
	}
	for _, name := range []string{"nested", "nested/ctx", "nested/ctx/Dockerfile", "nested/build.sh", "nested/busybox.tar"} {
		if err := os.Chmod(w.path(name), 0o755); err != nil {
			w.t.Fatal(err)
		}
	}
	return strings.TrimSpace(w.must("env", "SOURCE_DATE_EPOCH=1700000000", shared.cairn, "build", "-q", w.path("nested/ctx")).stdout)
}

// situation is a container in which cairn builds.
type situation struct {
	name string
	args []string // of docker or podman run
	// notes are the rungs that are announced, and no others are; errs are what is said instead when it can't work.
	notes, errs []string
}

// try runs the build in a container that command starts.
func (s situation) try(w *world, want string, command ...string) {
	w.t.Helper()
	argv := append(command[:len(command):len(command)], s.args...)
	argv = append(argv, "-v", w.path("nested")+":/nested:ro", "-v", w.path("nested/cairn")+":/usr/bin/cairn:ro", "busybox", "sh", "/nested/build.sh")
	o := w.try(argv...)
	all := o.stdout + o.stderr
	if (o.err == nil) != (s.errs == nil) {
		w.t.Errorf("%s: %s", s.name, o)
		return
	}
	for _, text := range append(s.notes, s.errs...) {
		if !strings.Contains(all, text) {
			w.t.Errorf("%s: %q isn't said: %s", s.name, text, o)
		}
	}
	if got := strings.Count(all, "note: "); s.errs == nil && got != len(s.notes) {
		w.t.Errorf("%s: %d rungs announced, not %d: %s", s.name, got, len(s.notes), all)
	}
	if s.errs == nil && !strings.Contains(all, want) {
		w.t.Errorf("%s: the image isn't %s: %s", s.name, want, all)
	}
}

// TestLadderDocker builds in docker's containers as they are started by default and with what hints say.
func TestLadderDocker(t *testing.T) {
	startCase(t, "userns", "busybox", "docker")
	w := newWorld(t)
	want := nest(w)
	docker := []string{"docker", "--host", mustGet(t, &shared.once.docker)}
	w.must(append(docker, "load", "-i", w.path("nested/busybox.tar"))...)
	run := append(docker, "run", "--rm", "--network", "none")
	const unconfined, unmasked = "seccomp=unconfined", "systempaths=unconfined"
	const oneID, outerProc, memory = "note: ids: one (", "note: proc: the outer one (", "note: snapshotter: tmpfs ("
	for _, s := range []situation{
		{name: "root", notes: []string{"note: isolation: chroot (", "note: snapshotter: copy ("}},
		{name: "root without new privileges", args: []string{"--security-opt", "no-new-privileges"},
			notes: []string{"note: isolation: chroot (", "note: snapshotter: copy ("}},
		{name: "uid 1001", args: []string{"-u", "1001"},
			errs: []string{"error: ", "create user namespace", "operation not permitted", "hint: start this container with --security-opt seccomp=unconfined"}},
		{name: "root, unconfined", args: []string{"--security-opt", unconfined}, notes: []string{outerProc, memory}},
		{name: "uid 1001, unconfined", args: []string{"-u", "1001", "--security-opt", unconfined}, notes: []string{oneID, outerProc, memory}},
		{name: "uid 1001, unconfined, unmasked", args: []string{"-u", "1001", "--security-opt", unconfined, "--security-opt", unmasked},
			notes: []string{oneID, memory}},
		{name: "uid 1001, unconfined, unmasked, data in memory", notes: []string{oneID},
			args: []string{"-u", "1001", "--security-opt", unconfined, "--security-opt", unmasked, "--tmpfs", "/tmp:exec,mode=1777"}},
		{name: "uid 1001, unconfined, without new privileges", notes: []string{oneID, outerProc, memory},
			args: []string{"-u", "1001", "--security-opt", unconfined, "--security-opt", "no-new-privileges"}},
	} {
		s.try(w, want, run...)
	}
}

// TestLadderPodman builds in rootless podman's containers.
func TestLadderPodman(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("rootless podman is for users")
	}
	startCase(t, "userns", "busybox", "subuid", "podman")
	w := newWorld(t)
	want := nest(w)
	podman := w.podman()
	w.must(append(podman, "load", "-i", w.path("nested/busybox.tar"))...)
	run := append(podman, "run", "--rm", "--network", "none", "--ulimit", "host")
	const oneID, outerProc, memory = "note: ids: one (", "note: proc: the outer one (", "note: snapshotter: tmpfs ("
	for _, s := range []situation{
		{name: "root", notes: []string{outerProc, memory}},
		{name: "root, unconfined", args: []string{"--security-opt", "seccomp=unconfined"}, notes: []string{outerProc, memory}},
		{name: "root, unmasked", args: []string{"--security-opt", "unmask=ALL"}, notes: []string{memory}},
		{name: "uid 1001", args: []string{"--user", "1001"}, notes: []string{oneID, outerProc, memory}},
	} {
		s.try(w, want, run...)
	}
}

// TestLadderNested builds in a RUN of cairn's own.
func TestLadderNested(t *testing.T) {
	startCase(t, "userns", "busybox")
	w := newWorld(t)
	want := nest(w)
	w.write(map[string]string{"nested/Dockerfile": "FROM busybox\nCOPY . /nested/\nRUN ln -s /nested/cairn /bin/cairn && sh /nested/build.sh > /out; cat /out\n"})
	o := w.must("cairn", "build", "--progress", "plain", w.path("nested"))
	for _, text := range []string{want, "note: isolation: chroot (", "note: snapshotter: copy ("} {
		if !strings.Contains(o.stderr, text) {
			t.Errorf("%q isn't said: %s", text, o)
		}
	}
	// With the entitlement to it the inner one has namespaces of its own.
	w.write(map[string]string{"nested/Dockerfile": "FROM busybox\nCOPY . /nested/\nRUN --security=insecure ln -s /nested/cairn /bin/cairn && sh /nested/build.sh > /out; cat /out\n"})
	o = w.must("cairn", "build", "--progress", "plain", "--allow", "security.insecure", w.path("nested"))
	oneID := missing("subuid") != "" // then the outer sandbox emulates owners, and the inner one could not
	if !strings.Contains(o.stderr, want) || strings.Contains(o.stderr, "isolation: chroot") != oneID {
		t.Errorf("insecure: %s", o)
	}
}
