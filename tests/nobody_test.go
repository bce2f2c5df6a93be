package tests

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// lockedDown starts a program as nobody, without capabilities and without a way to get any, where no user namespace can be made. As an ordinary
// user it's the same with one's own id under nobody's number.
const lockedDown = `echo 0 > /proc/sys/user/max_user_namespaces &&
exec setpriv --inh-caps=-all --ambient-caps=-all --bounding-set=-all --no-new-privs "$@"`

func (w *world) asNobody(argv ...string) []string {
	var prefix []string
	if os.Getuid() == 0 {
		prefix = []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}
	}
	prefix = append(prefix, "env", "CAIRN_ROOT="+w.root, "HOME=/nonexistent",
		"unshare", "--user", "--map-user=65534", "--map-group=65534", "--keep-caps", "sh", "-c", lockedDown, "sh")
	if argv[0] == "cairn" {
		argv = append([]string{shared.cairn}, argv[1:]...)
	}
	return append(prefix, argv...)
}

// TestNobody builds without RUN where nothing is allowed, and compares with the same build made in the open.
func TestNobody(t *testing.T) {
	startCase(t, "userns", "busybox", "setpriv", "umoci")
	w := newWorld(t)
	archive := w.path("ctx/more.tar")
	w.write(map[string]string{
		"ctx/Dockerfile": `FROM busybox AS source
COPY --chown=www-data:data --chmod=4750 tool /opt/tool
WORKDIR /opt/work/below
FROM busybox
ARG VERSION=1
ENV VERSION=$VERSION
COPY --from=source /opt /opt
COPY dir /srv/dir/
ADD more.tar /more/
COPY <<EOF /etc/motd
version $VERSION
EOF
WORKDIR /srv
USER www-data
LABEL version=$VERSION
CMD ["cat", "/etc/motd"]
`,
		"ctx/tool": "#!/bin/sh\n", "ctx/dir/a": "a", "ctx/dir/sub/b": "b",
	})
	if err := os.Symlink("../a", w.path("ctx/dir/sub/link")); err != nil {
		t.Fatal(err)
	}
	if err := writeTar(archive, []tarEntry{dir("d", 0o700).owned(5, 6), file("d/x", 0o4711, []byte("x")).owned(5, 6), hardlink("y", "d/x"), symlink("z", "/d")}); err != nil {
		t.Fatal(err)
	}
	build := func(w *world, out string) string {
		w.env = append(w.env, "SOURCE_DATE_EPOCH=1700000000")
		argv := []string{"cairn", "build", "--progress=plain", "-t", "me/app", "-o", "type=oci,dest=" + out, "ctx"}
		load := []string{"cairn", "load", "-i", busyboxImage(t)}
		if strings.HasSuffix(out, "nobody.tar") {
			argv, load = w.asNobody(argv...), w.asNobody(load...)
		}
		w.must(load...)
		return w.must(argv...).stdout
	}

	open := build(w, w.path("open.tar"))

	nobody := *w
	home := w.path("nobody")
	if err := os.Mkdir(home, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(home, 0o777); err != nil {
		t.Fatal(err)
	}
	nobody.useRoot(filepath.Join(home, "store"))
	probe := nobody.must(nobody.asNobody("sh", "-c", "id -u; grep -E '^(Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs)' /proc/self/status | tr -d '\\t'; unshare --user true 2>&1 || :")...).stdout
	for _, want := range []string{"65534\n", "CapPrm:0000000000000000", "CapBnd:0000000000000000", "NoNewPrivs:1", "No space left"} {
		if !strings.Contains(probe, want) {
			t.Fatalf("the locked down place isn't locked down: no %q in %s", want, probe)
		}
	}
	locked := build(&nobody, filepath.Join(home, "nobody.tar"))
	if open != locked {
		t.Errorf("another image: %q in the open, %q as nobody", open, locked)
	}
	a, err := os.ReadFile(w.path("open.tar"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(home, "nobody.tar"))
	if err != nil {
		t.Fatal(err)
	}
	if len(a) == 0 || !bytes.Equal(a, b) {
		t.Errorf("the archives differ (%d and %d bytes)", len(a), len(b))
	}
	for _, store := range []string{w.root, nobody.root} {
		if dirs := layerDirs(store); len(dirs) > 0 {
			t.Errorf("a build without RUN made directories: %v", dirs)
		}
	}

	// And what came out is right: owners, modes and links as another program reads them.
	w.must("umoci", "unpack", "--rootless", "--image", w.image("me/app:latest"), w.path("bundle"))
	list := w.listDir(w.path("bundle/rootfs"), "-owners-from-xattr", "-no-mtime")
	for _, want := range []string{
		`"opt/tool" file 4750 33:44 10 `, `"opt/work/below" dir 0755 0:0`, `"srv/dir/sub/link" link - `, `"more/d" dir 0700 5:6`, `"more/d/x" file 4711 5:6 1 `,
		`"more/y" file 4711 5:6 1 `, `"more/z" link - 0:0 -> "/d"`, `"etc/motd" file 0644 0:0 10 `,
	} {
		if !strings.Contains(list, want) {
			t.Errorf("the image lacks %s", want)
		}
	}
	if t.Failed() {
		t.Log(list)
	}
}

// layerDirs lists the directories of layers that a store has made.
func layerDirs(root string) []string {
	dirs, _ := filepath.Glob(filepath.Join(root, "layers", "*", "dir*"))
	var found []string
	for _, d := range dirs {
		if st, err := os.Stat(d); err == nil && st.IsDir() {
			found = append(found, d)
		}
	}
	return found
}

// TestBaseStaysPacked builds a final stage that only receives copies: the stage before it needs directories, the final base doesn't.
func TestBaseStaysPacked(t *testing.T) {
	startCase(t, "userns", "busybox")
	w := newWorld(t)
	base := w.path("base")
	if err := writeLayout(base, "base:1", imageConfig{NoHistory: true}, []tarEntry{dir("etc", 0o755), file("etc/only-in-the-final-base", 0o644, []byte("x"))}); err != nil {
		t.Fatal(err)
	}
	w.must("cairn", "load", "-i", busyboxImage(t))
	w.must("cairn", "load", "-i", base)
	w.write(map[string]string{"ctx/Dockerfile": "FROM busybox AS build\nRUN echo made > /made\nFROM base:1\nCOPY --from=build /made /made\nUSER 5\n"})
	w.must("cairn", "build", "-t", "me/app", "ctx")
	dirs := layerDirs(w.root)
	if len(dirs) == 0 {
		t.Fatal("no layer has a directory, although a RUN ran: does the test look in the right place?")
	}
	for _, d := range dirs {
		if _, err := os.Lstat(filepath.Join(d, "etc/only-in-the-final-base")); err == nil {
			t.Errorf("the final base was extracted to %s", d)
		}
	}
	// What the first stage made is in the image as a copy; its own layer was never packed.
	_, m, err := readManifest(w.oci(), "me/app:latest")
	if err != nil {
		t.Fatal(err)
	}
	blobs, _ := filepath.Glob(filepath.Join(w.oci(), "blobs/sha256/*"))
	known := map[string]bool{}
	for _, name := range []string{"me/app:latest", "base:1", "busybox:latest"} {
		d, m, err := readManifest(w.oci(), name)
		if err != nil {
			t.Fatal(err)
		}
		known[filepath.Base(blobPath(w.oci(), d.Digest))] = true
		for _, p := range append(m.Layers, m.Config) {
			known[filepath.Base(blobPath(w.oci(), p.Digest))] = true
		}
	}
	for _, b := range blobs {
		if !known[filepath.Base(b)] {
			t.Errorf("blob %s belongs to no image: a stage that is only copied from was packed", b)
		}
	}
	if len(m.Layers) != 2 {
		t.Errorf("the image has %d layers, want the base's and one COPY", len(m.Layers))
	}
}
