package copier

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cairnbuild/cairn/internal/contextdir"
	"github.com/cairnbuild/cairn/oci/index"
	"gotest.tools/v3/assert"
)

// th is a tar header; a file's content stands in Linkname until tarOf takes it out.
func th(typ byte, name string, mode int64, link string) tar.Header {
	return tar.Header{Typeflag: typ, Name: name, Mode: mode, Linkname: link, Uid: 10, Gid: 20, ModTime: time.Unix(1000, 0)}
}

func tarOf(t testing.TB, headers ...tar.Header) string {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		var data string
		if h.Typeflag == tar.TypeReg {
			data, h.Linkname = h.Linkname, ""
			h.Size = int64(len(data))
		}
		assert.NilError(t, w.WriteHeader(&h))
		_, err := w.Write([]byte(data))
		assert.NilError(t, err)
	}
	assert.NilError(t, w.Close())
	return buf.String()
}

func reg(name, content string) tar.Header { return th(tar.TypeReg, name, 0o640, content) }

// add is an ADD of one local file.
func add(src Source, name, dest string) Request {
	return Request{Sources: []Item{{Pattern: name, Unpack: true}}, From: src, Dest: dest}
}

func TestRow20LocalArchives(t *testing.T) {
	plain := tarOf(t, th(tar.TypeDir, "d/", 0o711, ""), reg("d/f", "1"), th(tar.TypeSymlink, "l", 0o777, "d/f"), reg("implied/x", "2"))
	dir := dirOf(t, map[string]string{"plain.bin": plain, "link": "-> plain.bin", "text.tar": "no tar at all", "empty.tar": ""})
	for _, tool := range []string{"gzip", "bzip2", "xz", "zstd"} {
		cmd := exec.Command(tool, "-c", filepath.Join(dir, "plain.bin"))
		out, err := cmd.Output()
		assert.NilError(t, err, tool)
		assert.NilError(t, os.WriteFile(filepath.Join(dir, tool), out, 0o644))
	}
	out, err := exec.Command("gzip", "-c", filepath.Join(dir, "text.tar")).Output()
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "text.gz"), out, 0o644))
	src, err := contextdir.Open(dir, nil, contextdir.Options{})
	assert.NilError(t, err)
	defer src.Close()
	want := []string{
		d("x"), "x/d directory 711 10:20", "x/d/f file 640 10:20 1", "x/implied directory 755 0:0", "x/implied/x file 640 10:20 2",
		"x/l symlink 10:20 -> d/f",
	}
	for _, name := range []string{"plain.bin", "link", "gzip", "bzip2", "xz", "zstd", "z*"} {
		for _, dest := range []string{"/x", "/x/"} {
			got, _ := apply(t, nil, add(src, name, dest))
			assert.DeepEqual(t, got, want)
		}
	}
	got, _ := apply(t, nil, add(src, "text.tar", "/x"))
	assert.DeepEqual(t, got, []string{f("x", "no tar at all")})
	got, _ = apply(t, nil, add(src, "empty.tar", "/x/"))
	assert.DeepEqual(t, got, []string{d("x"), f("x/empty.tar", "")})
	got, _ = apply(t, nil, add(src, "text.gz", "/x/"))
	assert.Equal(t, len(got), 2)
	got, _ = apply(t, nil, Request{Sources: items("plain.bin"), From: src, Dest: "/x/"}) // COPY
	assert.DeepEqual(t, got, []string{d("x"), f("x/plain.bin", plain)})

	r := add(src, "gzip", "/x")
	dir = t.TempDir()
	r.Chown, r.Chmod, r.TempDir = "3:4", "777", func() (string, error) { return dir, nil }
	got, _ = apply(t, nil, r)
	assert.DeepEqual(t, got, []string{
		"x directory 755 3:4", "x/d directory 711 3:4", "x/d/f file 640 3:4 1", "x/implied directory 755 0:0", "x/implied/x file 640 3:4 2",
		"x/l symlink 3:4 -> d/f",
	})
	left, err := os.ReadDir(dir)
	assert.NilError(t, err)
	assert.Equal(t, len(left), 0, "what is unpacked has no name")
	r.Sources[0].Pattern, r.TempDir = "text.tar", func() (string, error) { return "", errors.New("no directory is needed") }
	got, _ = apply(t, nil, r)
	assert.DeepEqual(t, got, []string{"x file 777 3:4 no tar at all"})
}

func archive(t testing.TB, headers ...tar.Header) Source {
	t.Helper()
	return contextOf(t, map[string]string{"a.tar": tarOf(t, headers...)})
}

const usrmerge = "usr d\nusr/lib d 711 1:1\nusr/lib/old f 644 0:0 o\nlib l 777 0:0 usr/lib"

func TestRow28bDirectoryOfATarReplacesALink(t *testing.T) {
	src := archive(t, th(tar.TypeDir, "lib/", 0o700, ""), reg("lib/x", "1"))
	got, _ := apply(t, buildTree(t, usrmerge), add(src, "a.tar", "/"))
	assert.DeepEqual(t, got, []string{"lib directory 700 10:20", "lib/x file 640 10:20 1"})
}

func TestRow28cNameBelowALinkFollowsIt(t *testing.T) {
	src := archive(t, reg("lib/x", "1"))
	got, _ := apply(t, buildTree(t, usrmerge), add(src, "a.tar", "/"))
	assert.DeepEqual(t, got, []string{d("usr"), "usr/lib directory 711 1:1", "usr/lib/x file 640 10:20 1"})
}

func TestRow28dOwnersOfATarAreKept(t *testing.T) {
	h := reg("f", "1")
	h.Uid, h.Gid, h.Mode = 1234, 5678, 0o6751
	got, _ := apply(t, nil, add(archive(t, h), "a.tar", "/x/"))
	assert.DeepEqual(t, got, []string{d("x"), "x/f file 6751 1234:5678 1"})
}

func TestArchiveMerge(t *testing.T) {
	for _, tc := range []struct {
		name    string
		below   string
		dest    string
		headers []tar.Header
		want    []string
	}{
		{"links are clipped at the destination", "x d\nx/l l 777 0:0 /etc\netc d", "/x/", []tar.Header{reg("l/f", "1")},
			[]string{d("x"), d("x/etc"), "x/etc/f file 640 10:20 1"}},
		{"and climb no higher", "x d\nx/l l 777 0:0 ../../../etc\netc d", "/x/", []tar.Header{reg("l/f", "1")},
			[]string{d("x"), d("x/etc"), "x/etc/f file 640 10:20 1"}},
		{"destination is a link", "x d 700 5:5\ny l 777 0:0 x", "/y", []tar.Header{reg("f", "1")},
			[]string{"x directory 700 5:5", "x/f file 640 10:20 1"}},
		{"directory merges into a directory", "d d 755 1:1\nd/old f 644 0:0 o", "/", []tar.Header{th(tar.TypeDir, "d", 0o700, ""), reg("d/new", "1")},
			[]string{"d directory 700 10:20", "d/new file 640 10:20 1"}},
		{"the root entry changes nothing", "d d", "/", []tar.Header{th(tar.TypeDir, "./", 0o700, ""), reg("./f", "1")},
			[]string{"f file 640 10:20 1"}},
		{"file replaces a directory", "d d\nd/old f 644 0:0 o", "/", []tar.Header{reg("d", "1")}, []string{"d file 640 10:20 1"}},
		{"file replaces a link, not its target", "f f 644 0:0 o\nl l 777 0:0 f", "/", []tar.Header{reg("l", "1")}, []string{"l file 640 10:20 1"}},
		{"the last of the same name wins", "", "/", []tar.Header{reg("f", "1"), reg("f", "2")}, []string{"f file 640 10:20 2"}},
		{"hard links", "", "/", []tar.Header{reg("b", "1"), th(tar.TypeLink, "a", 0o640, "b"), th(tar.TypeLink, "d/c", 0o640, "./b")},
			[]string{"a file 640 10:20 1", "b => a", d("d"), "d/c => a"}},
		{"hard link whose target is replaced", "", "/", []tar.Header{reg("b", "1"), th(tar.TypeLink, "a", 0o640, "b"), reg("b", "2")},
			[]string{"a file 640 10:20 1", "b file 640 10:20 2"}},
		{"hard link to a symbolic link", "", "/", []tar.Header{th(tar.TypeSymlink, "l", 0o777, "x"), th(tar.TypeLink, "m", 0o777, "l")},
			[]string{"l symlink 10:20 -> x", "m => l"}},
		{"link of the archive itself", "", "/", []tar.Header{th(tar.TypeSymlink, "l", 0o777, "/d"), reg("l/f", "1")},
			[]string{d("d"), "d/f file 640 10:20 1", "l symlink 10:20 -> /d"}},
		{"directory becomes a link", "", "/", []tar.Header{reg("d/f", "1"), th(tar.TypeSymlink, "d", 0o777, "e"), reg("d/g", "2")},
			[]string{"d symlink 10:20 -> e", d("e"), "e/g file 640 10:20 2"}},
		{"devices", "", "/", []tar.Header{th(tar.TypeChar, "c", 0o600, ""), th(tar.TypeFifo, "p", 0o600, "")},
			[]string{"c char 600 10:20", "p fifo 600 10:20"}},
		{"absolute names", "", "/x/", []tar.Header{reg("/f", "1"), reg("/../g", "2")}, []string{d("x"), "x/f file 640 10:20 1", "x/g file 640 10:20 2"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, _ := apply(t, buildTree(t, tc.below), add(archive(t, tc.headers...), "a.tar", tc.dest))
			assert.DeepEqual(t, got, tc.want)
		})
	}
}

func TestArchiveThatMakesADirectoryAnew(t *testing.T) {
	below := buildTree(t, "d d\nd/old f 644 0:0 o")
	src := archive(t, reg("d", "file"), th(tar.TypeDir, "d", 0o700, ""), reg("d/new", "1"))
	_, res := apply(t, below, add(src, "a.tar", "/"))
	var names []string
	for _, n := range below.Push(res.Index).ReadDir("d") {
		names = append(names, n.Path)
	}
	assert.DeepEqual(t, names, []string{"d/new"})
}

func TestArchiveRefuses(t *testing.T) {
	below := buildTree(t, "f f 644 0:0 x\nl l 777 0:0 l\nold f 644 0:0 y")
	for want, headers := range map[string][]tar.Header{
		"leads out":                  {reg("../f", "")},
		"hard link to \"../f\"":      {th(tar.TypeLink, "x", 0o644, "../f")},
		"file does not exist":        {th(tar.TypeLink, "x", 0o644, "nope")},
		"hard link to the directory": {th(tar.TypeDir, "d", 0o755, ""), th(tar.TypeLink, "x", 0o644, "d")},
		"in the image below":         {th(tar.TypeLink, "x", 0o644, "old")},
		"on the way is no directory": {reg("f/x", "")},
		"\"/l/x\"":                   {reg("l/x", "")},
		".wh.x":                      {reg("d/.wh.x", "")},
		".wh..wh..opq":               {reg("d/.wh..wh..opq", "")},
		".wh.d":                      {reg(".wh.d/x", "")},
		"unknown type":               {reg("a", ""), th('V', "v", 0o644, "")},
	} {
		t.Run(want, func(t *testing.T) {
			err := fails(t, below, add(archive(t, headers...), "a.tar", "/"), want)
			assert.ErrorContains(t, err, "a.tar")
		})
	}
	cut := tarOf(t, reg("a", "content that is long enough"), reg("b", "x"))[:530]
	src := contextOf(t, map[string]string{"a.tar": cut})
	fails(t, below, add(src, "a.tar", "/"), "unpack archive")
	fails(t, below, add(archive(t, reg("a", "x")), "a.tar", "/f"), "")
}

func TestArchiveWithACapability(t *testing.T) {
	h := reg("f", "1")
	h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02", "SCHILY.xattr.user.x": "y"}
	_, res := apply(t, nil, add(archive(t, h), "a.tar", "/"))
	assert.DeepEqual(t, res.Index.At(0).Xattrs, map[string]string{"security.capability": "\x01\x00\x00\x02"})
}

func TestArchiveOfTheSystemsTar(t *testing.T) {
	dir := dirOf(t, map[string]string{"in/a/f": "1", "in/a/g": "=> in/a/f", "in/l": "-> a/f"})
	sparse := filepath.Join(dir, "in/sparse")
	assert.NilError(t, os.WriteFile(sparse, []byte("start"), 0o644))
	assert.NilError(t, os.Truncate(sparse, 1<<20))
	for _, format := range []string{"gnu", "pax", "ustar"} {
		args := []string{"--sort=name", "--format=" + format, "--owner=7", "--group=8", "-C", filepath.Join(dir, "in")}
		if format != "ustar" {
			args = append(args, "--sparse")
		}
		out, err := exec.Command("tar", append(args, "-cf", filepath.Join(dir, format), ".")...).CombinedOutput()
		assert.NilError(t, err, "%s", out)
		src, err := contextdir.Open(dir, nil, contextdir.Options{})
		assert.NilError(t, err)
		_, res := apply(t, nil, add(src, format, "/"))
		var got []string
		for e := range res.Index.Entries() {
			got = append(got, e.Path+" "+e.Type.String())
			if e.Type != index.Hardlink {
				assert.Equal(t, e.UID, 7)
			}
		}
		assert.DeepEqual(t, got, []string{"a d", "a/f -", "a/g h", "l l", "sparse -"})
		i, _ := res.Index.Find("sparse")
		assert.Equal(t, res.Index.At(i).Size, int64(1<<20))
		assert.NilError(t, src.Close())
	}
}

func TestArchiveIsOneFileOfTheManifest(t *testing.T) {
	r := add(archive(t, reg("a", "1")), "a.tar", "/")
	g, err := Gather(t.Context(), r)
	assert.NilError(t, err)
	m := slices.Collect(g.Inputs())
	assert.Equal(t, len(m), 1)
	assert.Equal(t, m[0].Name, "a.tar")
}

func FuzzArchiveMerge(f *testing.F) {
	f.Add([]byte(tarOf(f, th(tar.TypeDir, "lib/", 0o700, ""), reg("lib/x", "1"), th(tar.TypeLink, "h", 0o644, "lib/x"))), "/")
	f.Add([]byte(tarOf(f, reg("lib/x", "1"), th(tar.TypeSymlink, "lib", 0o777, "../.."), reg("lib/y", "2"), reg("usr", "3"))), "/x/y")
	below := buildTree(f, usrmerge, "usr/lib w\nusr d 1777")
	f.Fuzz(func(t *testing.T, data []byte, dest string) {
		src := NewInline("a.tar", data, now)
		r := Request{Sources: []Item{{Pattern: "a.tar", From: src, Unpack: true}}, Dest: dest}
		res, err := layerOf(t, below, r)
		if err != nil {
			return
		}
		defer res.Close()
		if res.Index.Loose() || !res.Index.Complete() {
			t.Fatal("the layer is not strict and complete")
		}
		show(t, res)
		merged := below.Push(res.Index)
		for e := range res.Index.Entries() {
			if _, ok := merged.Lookup(e.Path); !ok && e.Type != index.Whiteout {
				t.Fatalf("%q is not in the tree", e.Path)
			}
		}
	})
}
