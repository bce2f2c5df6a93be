package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// netRaw is the file capability cap_net_raw+ep as version 2 of the xattr.
const netRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// TestHostile takes an image made of everything that layers can do to whoever reads them through load, RUN and save.
func TestHostile(t *testing.T) {
	startCase(t, "userns", "busybox", "umoci", "tar")
	w := newWorld(t)
	evil := fmt.Sprintf("cairn-evil-%d", os.Getpid())
	w.makeHostile(evil)

	w.must("umoci", "unpack", "--rootless", "--image", w.path("hostile")+":hostile:latest", w.path("original"))
	original := w.listDir(w.path("original/rootfs"), "-owners-from-xattr")
	for _, want := range []string{
		`"tmp/` + evil + `" file`, `"opq/new" file`, `"turned" file`, `"back/inside" file`,
		`"hl/three" file 0644 7:8 9 `, `"bin/setuid" file 4755`, `"shared" dir 2775 0:44`, `"sparse" file 0644 0:0 1073741824 `,
	} {
		if !strings.Contains(original, want) {
			t.Fatalf("umoci's unpacking, the oracle, lacks %s", want)
		}
	}

	w.must("cairn", "load", "-i", w.path("hostile"))
	w.must("cairn", "save", "--format", "oci-dir", "-o", w.path("saved"), "hostile")
	sameImage(w, w.path("hostile"), "hostile:latest", w.path("saved"), "hostile:latest")
	w.fullIDs("loaded", original, "hostile")

	w.write(map[string]string{"ctx/Dockerfile": strings.ReplaceAll(`FROM hostile
RUN set -e; test ! -e /a/gone; test -e /a/keep; test ! -e /opq/x; test ! -e /opq/sub; test -f /opq/new; test -u /bin/setuid; \
    test "$(cat /hl/three)" = same-file; test "$(readlink /out)" = /etc/passwd; test -f /tmp/EVIL; \
    test "$(stat -c %s /sparse)" = 1073741824; test "$(tail -c 3 /sparse)" = end
RUN set -e; rm -r /opq; mkdir /opq; echo fresh > /opq/fresh; rm /a/keep; ln /a/b/c /hl/four; mv /turned /turned2; \
    echo changed >> /hl/one; truncate -s 200M /sparse2; printf end >> /sparse2; chmod 6711 /bin/setuid
RUN ["/lsfs", "-grant", "/etc/group"]
`, "EVIL", evil)})
	w.must("cairn", "build", "-t", "me/hostile:2", "ctx")
	if _, err := os.Lstat(filepath.Join("/tmp", evil)); err == nil {
		t.Fatalf("/tmp/%s was written outside of the image", evil)
	}
	_, before, err := readManifest(w.path("hostile"), "hostile:latest")
	if err != nil {
		t.Fatal(err)
	}
	_, after, err := readManifest(w.oci(), "me/hostile:2")
	if err != nil {
		t.Fatal(err)
	}
	if len(after.Layers) != len(before.Layers)+3 {
		t.Fatalf("%d layers on top of %d became %d", 3, len(before.Layers), len(after.Layers))
	}
	for i, l := range before.Layers {
		if after.Layers[i].Digest != l.Digest {
			t.Errorf("layer %d was made anew", i)
		}
	}

	w.must("umoci", "unpack", "--rootless", "--image", w.image("me/hostile:2"), w.path("changed"))
	changed := w.listDir(w.path("changed/rootfs"), "-owners-from-xattr")
	for _, want := range []string{
		`"opq/fresh" file`, `"turned2" file`, `"bin/setuid" file 6711`, `"sparse2" file 0644 0:0 209715203 `, `"hl/four" file`,
		`inode="a/b/c"`, `"shared" dir 2775 0:44`,
	} {
		if !strings.Contains(changed, want) {
			t.Errorf("after the build umoci's unpacking lacks %s", want)
		}
	}
	for _, gone := range []string{`"opq/new"`, `"a/keep"`, `"turned"`, `"a/gone"`} {
		if strings.Contains(changed, gone+" ") {
			t.Errorf("after the build umoci's unpacking still has %s", gone)
		}
	}
	w.fullIDs("built", changed, "me/hostile:2")
	r, err := openLayer(w.oci(), "me/hostile:2", -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var list strings.Builder
	if err := listLayer(&list, r); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("security.capability=%x", netRaw); !strings.Contains(list.String(), want) {
		t.Errorf("the last layer lacks %s:\n%s", want, list.String())
	}
}

// fullIDs compares what a container sees with a listing that umoci made.
func (w *world) fullIDs(what, want, image string) {
	w.t.Helper()
	inside := w.listInside(image, "cairn", "run", "--rm")
	if !strings.Contains(inside, fmt.Sprintf("security.capability=%x", netRaw)) {
		w.t.Errorf("%s: the file capability got lost", what)
	}
	same(w.t, what, withoutRoot(withoutCrossLinks(withoutWhatRootlessCantKeep(want))), withoutRoot(withoutCrossLinks(withoutWhatRootlessCantKeep(inside))))
}

var crossLinks = regexp.MustCompile(`(?m)^("(?:hl/one|hl/three|other/two)" .*) inode="[^"]*"`)

// withoutCrossLinks drops from a listing that the files which are linked across layers are one inode: overlayfs can't have it so.
func withoutCrossLinks(listing string) string { return crossLinks.ReplaceAllString(listing, "$1") }

// sparseTar packs a sparse file as GNU tar does; the old GNU format has an entry type of its own for it.
func (w *world) sparseTar(format, name string) string {
	w.t.Helper()
	p := w.path(name + "-" + format + ".tar")
	w.must("tar", "--create", "--sparse", "--format="+format, "--owner=0", "--group=0", "--mode=0644", "--mtime=@1600000000", "--file", p, name)
	return p
}

// TestOldSparse reads a layer in the old GNU format of sparse files, which umoci (the other test's oracle) doesn't know.
func TestOldSparse(t *testing.T) {
	startCase(t, "userns", "busybox", "tar")
	w := newWorld(t)
	w.write(map[string]string{"holes": "start"})
	if err := os.Truncate(w.path("holes"), 3<<20); err != nil {
		t.Fatal(err)
	}
	layer := w.sparseTar("gnu", "holes")
	if text, err := os.ReadFile(layer); err != nil || len(text) > 100<<10 {
		t.Fatalf("tar didn't make it sparse: %d bytes, %v", len(text), err)
	}
	if err := writeLayoutOf(w.path("layout"), "holes:1", imageConfig{}, layer); err != nil {
		t.Fatal(err)
	}
	w.must("cairn", "load", "-i", w.path("layout"))
	w.must("cairn", "load", "-i", busyboxImage(t))
	w.write(map[string]string{"ctx/Dockerfile": "FROM busybox\nCOPY --from=holes:1 /holes /holes\nRUN test \"$(stat -c %s /holes)\" = 3145728 && test \"$(head -c 5 /holes)\" = start && test \"$(tr -d '\\000' < /holes)\" = start\n"})
	w.must("cairn", "build", "ctx")
}

// makeHostile makes the image hostile:latest in the world's directory "hostile".
func (w *world) makeHostile(evil string) {
	w.t.Helper()
	long := strings.Repeat("n", 250)
	deep := strings.Join([]string{"deep", long, long, long}, "/")
	busybox, err := os.ReadFile(filepath.Join(shared.dir, "bin", "busybox-probe"))
	if err != nil {
		w.t.Fatal(err)
	}
	lsfs, err := os.ReadFile(lsfsProgram(w.t))
	if err != nil {
		w.t.Fatal(err)
	}
	first := []tarEntry{
		dir("bin", 0o755), file("bin/busybox", 0o755, busybox), file("lsfs", 0o755, lsfs),
		dir("etc", 0o755), file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\n")), file("etc/group", 0o644, []byte("root:x:0:\n")),
		dir("dev", 0o755), dir("proc", 0o555), dir("sys", 0o555), dir("tmp", 0o1777),
		file("bin/setuid", 0o4755, []byte("#!/bin/sh\n")),
		dir("shared", 0o2775).owned(0, 44),
		file("ping", 0o755, []byte("ping")).xattr("security.capability", netRaw),
		file("labelled", 0o600, []byte("x")).owned(33, 33).xattr("user.note", "bytes \x01\xff"),
		dir("a", 0o755), file("a/keep", 0o644, []byte("keep")), file("a/gone", 0o644, []byte("gone")), dir("a/b", 0o700).owned(1000, 1000),
		file("a/b/c", 0o640, []byte("c")).owned(1000, 1000),
		dir("opq", 0o755), file("opq/x", 0o644, []byte("x")), dir("opq/sub", 0o755), file("opq/sub/z", 0o644, []byte("z")),
		dir("hl", 0o755), file("hl/one", 0o644, []byte("same-file")).owned(7, 8), dir("other", 0o755), hardlink("other/two", "hl/one"),
		symlink("out", "/etc/passwd"), symlink("up", "../../../../../../tmp"), symlink("loop", "loop"), symlink("everything", "/"),
		dir("turned", 0o755), file("turned/was", 0o644, []byte("a directory")), file("back", 0o644, []byte("a file")),
		fifo("queue"),
		dir("deep", 0o755), dir("deep/"+long, 0o755), dir("deep/"+long+"/"+long, 0o755), file(deep, 0o644, []byte("deep")), symlink("deep/link", deep),
	}
	for _, name := range strings.Fields("sh cat test rm mkdir echo ln mv truncate printf chmod readlink stat tail [") {
		first = append(first, symlink("bin/"+name, "busybox"))
	}
	second := []tarEntry{
		dir("a", 0o755), file("a/.wh.gone", 0, nil),
		dir("opq", 0o755), file("opq/new", 0o644, []byte("new")), file("opq/.wh..wh..opq", 0, nil),
		hardlink("hl/three", "other/two"),
		file("up/"+evil, 0o644, []byte("evil")),
		file("turned", 0o644, []byte("a file")), dir("back", 0o755), file("back/inside", 0o644, []byte("in")),
		file(".wh.loop", 0, nil),
	}
	var tars []string
	for i, entries := range [][]tarEntry{first, second} {
		p := w.path(fmt.Sprintf("layer%d.tar", i))
		if err := writeTar(p, entries); err != nil {
			w.t.Fatal(err)
		}
		tars = append(tars, p)
	}
	sparse := w.path("sparse")
	f, err := os.Create(sparse)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	const size = 1 << 30
	for offset, text := range map[int64]string{0: "start", size / 2: "middle", size - 3: "end"} {
		if _, err := f.WriteAt([]byte(text), offset); err != nil {
			w.t.Fatal(err)
		}
	}
	tars = append(tars, w.sparseTar("posix", "sparse"))
	if err := writeLayoutOf(w.path("hostile"), "hostile:latest", imageConfig{Cmd: []string{"sh"}}, tars...); err != nil {
		w.t.Fatal(err)
	}
}
