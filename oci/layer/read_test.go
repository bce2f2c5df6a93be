package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
)

// foreign makes a tar of headers in short form: a type letter of tar, a name, and a link target or content.
func foreign(t testing.TB, entries ...[3]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Typeflag: e[0][0], Name: e[1], Mode: 0o755, ModTime: time.Unix(7, 0), Format: tar.FormatPAX}
		switch h.Typeflag {
		case tar.TypeReg:
			h.Size = int64(len(e[2]))
		case tar.TypeLink, tar.TypeSymlink:
			h.Linkname = e[2]
		}
		assert.NilError(t, w.WriteHeader(h))
		if h.Typeflag == tar.TypeReg {
			_, err := io.WriteString(w, e[2])
			assert.NilError(t, err)
		}
	}
	assert.NilError(t, w.Close())
	return buf.Bytes()
}

const (
	file, link, soft, directory = "0", "1", "2", "5"
)

// TestReadForeignTars shows what is made of what others, and attackers, write. The directory must be what the index says.
func TestReadForeignTars(t *testing.T) {
	for name, c := range map[string]struct {
		tar   [][3]string
		want  []string
		loose bool
	}{
		"names in every form": {[][3]string{{directory, "./"}, {directory, "./a/"}, {file, "/a//b/./c/../d", "x"}, {directory, "a/b"}},
			[]string{"d.", "da", "da/b", "-a/b/d"}, false},
		"child before parent":    {[][3]string{{file, "a/b", "x"}, {directory, "a/"}}, []string{"da", "-a/b"}, false},
		"implied parent":         {[][3]string{{file, "a/b/c", "x"}}, []string{"ia", "ia/b", "-a/b/c"}, true},
		"duplicate: last wins":   {[][3]string{{file, "a", "x"}, {file, "a", "yy"}}, []string{"-a"}, false},
		"duplicate directory":    {[][3]string{{directory, "a"}, {file, "a/b", "x"}, {directory, "a"}}, []string{"da", "-a/b"}, false},
		"file over directory":    {[][3]string{{directory, "a"}, {directory, "a/d"}, {file, "a/d/b", "x"}, {file, "a", "y"}}, []string{"-a"}, false},
		"directory over file":    {[][3]string{{file, "a", "y"}, {directory, "a"}, {file, "a/b", "x"}}, []string{"da opaque", "-a/b"}, false},
		"through own link":       {[][3]string{{directory, "usr"}, {soft, "lib", "usr"}, {file, "lib/x", "x"}}, []string{"llib", "dusr", "-usr/x"}, false},
		"through absolute link":  {[][3]string{{directory, "usr"}, {soft, "lib", "/usr"}, {file, "lib/x", "x"}}, []string{"llib", "dusr", "-usr/x"}, false},
		"link out is clipped":    {[][3]string{{soft, "a", "../../../../tmp"}, {directory, "tmp"}, {file, "a/x", "x"}}, []string{"la", "dtmp", "-tmp/x"}, false},
		"28b: directory on link": {[][3]string{{soft, "a", "/tmp"}, {directory, "a"}, {file, "a/x", "x"}}, []string{"da opaque", "-a/x"}, false},
		"link replaces directory": {[][3]string{{directory, "a"}, {file, "a/x", "x"}, {soft, "a", "/"}, {file, "a/y", "y"}},
			[]string{"la", "-y"}, false},
		"link to a link": {[][3]string{{directory, "d"}, {soft, "l1", "d"}, {soft, "l2", "l1"}, {file, "l2/x", ""}}, []string{"dd", "-d/x", "ll1", "ll2"}, false},
		"dangling parent": {[][3]string{{soft, "lib", "usr/lib"}, {file, "lib/x", "x"}},
			[]string{"llib", "iusr", "iusr/lib", "-usr/lib/x"}, true},
		"hard links":            {[][3]string{{file, "b", "x"}, {link, "a", "./b"}, {link, "c", "/a"}}, []string{"-a", "hb->a", "hc->a"}, false},
		"hard link to a link":   {[][3]string{{soft, "b", "x"}, {link, "a", "b"}}, []string{"la", "hb->a"}, false},
		"inode outlives a name": {[][3]string{{file, "a", "x"}, {link, "b", "a"}, {file, "a", "yy"}}, []string{"-a", "-b"}, false},
		"hard link to itself":   {[][3]string{{file, "a", "x"}, {link, "a", "a"}}, []string{"-a"}, false},
		"hard link below":       {[][3]string{{link, "a", "b"}}, []string{"ha->b"}, true},
		"hard link to later":    {[][3]string{{link, "b", "a"}, {file, "a", "x"}}, []string{"-a", "hb->a"}, true},
		"whiteouts": {[][3]string{{file, ".wh.a"}, {directory, "d"}, {file, "d/.wh.b"}, {file, "d/.wh..wh.plnk"}},
			[]string{"wa", "dd", "wd/b"}, false},
		"opaque first":             {[][3]string{{directory, "d"}, {file, "d/.wh..wh..opq"}, {file, "d/x"}}, []string{"dd opaque", "-d/x"}, false},
		"opaque last":              {[][3]string{{directory, "d"}, {file, "d/x"}, {file, "d/.wh..wh..opq"}}, []string{"dd opaque", "-d/x"}, false},
		"opaque before directory":  {[][3]string{{file, "d/.wh..wh..opq"}, {directory, "d"}}, []string{"dd opaque"}, false},
		"opaque without directory": {[][3]string{{file, "d/.wh..wh..opq"}}, []string{"id opaque"}, true},
		"opaque root":              {[][3]string{{file, ".wh..wh..opq"}, {file, "a"}}, []string{"i. opaque", "-a"}, true},
		"whiteout, then again":     {[][3]string{{file, ".wh.d"}, {directory, "d"}, {file, "d/x"}}, []string{"dd opaque", "-d/x"}, false},
		"again, then whiteout":     {[][3]string{{directory, "d"}, {file, "d/x"}, {file, ".wh.d"}}, []string{"dd opaque", "-d/x"}, false},
		"file and whiteout":        {[][3]string{{file, ".wh.a"}, {file, "a", "x"}, {file, "b"}, {file, ".wh.b"}}, []string{"-a", "-b"}, false},
		"whiteout in opaque":       {[][3]string{{directory, "d"}, {file, "d/.wh..wh..opq"}, {file, "d/.wh.x"}, {directory, "d/e"}, {file, "d/e/.wh.y"}}, []string{"dd opaque", "dd/e"}, false},
		"below a whiteout":         {[][3]string{{file, ".wh.d"}, {file, "d/x"}}, []string{"dd opaque", "-d/x"}, false},
		"global header":            {[][3]string{{"g", "x"}, {file, "a"}}, []string{"-a"}, false},
		"nothing":                  {nil, []string{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			data := foreignWithGlobals(t, c.tar)
			dir, table := mkdir(t, "d"), owners.NewTable()
			ix, err := readHashed(t, data, layer.ReadOptions{Dir: dir, Owners: owners.Record, Table: table})
			if c.loose {
				assert.Assert(t, errors.Is(err, layer.ErrLoose), "%v", err)
			} else {
				assert.NilError(t, err)
			}
			got := []string{}
			for e := range ix.Entries() {
				l := e.Type.String() + e.Path
				if e.Type == index.Hardlink {
					l += "->" + e.Link
				}
				if e.Opaque {
					l += " opaque"
				}
				got = append(got, l)
			}
			assert.Assert(t, cmp.Equal(got, c.want), cmp.Diff(c.want, got))
			if c.loose || len(got) > 0 && got[0] == "d." {
				return
			}
			same(t, scanned(t, dir, layer.ScanOptions{Owners: owners.Record, Table: table}), ix, "the directory")
			for e := range ix.Entries() {
				if e.Type == index.Regular {
					r, err := layer.TarSource(bytes.NewReader(data)).Open(t.Context(), e)
					assert.NilError(t, err)
					checkContent(t, e, r)
				}
			}
		})
	}
}

func foreignWithGlobals(t testing.TB, entries [][3]string) []byte {
	if len(entries) == 0 || entries[0][0] != "g" {
		return foreign(t, entries...)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	assert.NilError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "0123"}}))
	assert.NilError(t, w.Flush())
	return append(buf.Bytes(), foreign(t, entries[1:]...)...)
}

func checkContent(t testing.TB, e index.Entry, r io.Reader) {
	t.Helper()
	d, err := e.Digest.Algorithm().FromReader(r)
	assert.NilError(t, err)
	assert.Equal(t, d, e.Digest, e.Path)
}

func TestReadRefuses(t *testing.T) {
	for name, c := range map[string][][3]string{
		"name out":               {{file, "../x", "x"}},
		"name out later":         {{file, "a/../../x", "x"}},
		"hard link out":          {{link, "a", "../../etc/passwd"}},
		"below a file":           {{file, "a", "x"}, {file, "a/b", "x"}},
		"link loop":              {{soft, "a", "b"}, {soft, "b", "a"}, {file, "a/x", "x"}},
		"hard link to directory": {{directory, "a"}, {link, "b", "a"}},
		"root is a file":         {{file, ".", "x"}},
		"bare whiteout":          {{file, ".wh.", ""}},
		"whiteout of dot":        {{file, "a/.wh..", ""}},
		"whiteout of dotdot":     {{file, "a/.wh...", ""}},
		"directory .wh.":         {{directory, ".wh.a"}, {file, ".wh.a/b", ""}},
		"whiteout of whiteout":   {{file, "a/.wh..wh.b/c", ""}},
		"long component":         {{file, strings.Repeat("x", 256), ""}},
		"long path":              {{file, strings.Repeat("x/", 2500) + "y", ""}},
		"unknown type":           {{"Q", "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := mkdir(t, "d")
			_, err := layer.Read(t.Context(), bytes.NewReader(foreign(t, c...)), layer.ReadOptions{Dir: dir, Owners: owners.Record})
			assert.Assert(t, err != nil && !errors.Is(err, layer.ErrLoose), "%v", err)
		})
	}
}

func TestReadDamagedTars(t *testing.T) {
	data := foreign(t, [3]string{directory, "d"}, [3]string{file, "d/f", strings.Repeat("x", 3000)})
	for _, n := range []int{100, 1000, 2000, len(data) - 2048} {
		_, err := layer.Read(t.Context(), bytes.NewReader(data[:n]), layer.ReadOptions{})
		assert.Assert(t, errors.Is(err, io.ErrUnexpectedEOF), "%d: %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := layer.Read(ctx, bytes.NewReader(data), layer.ReadOptions{})
	assert.Assert(t, errors.Is(err, context.Canceled))
}

// TestReadMetadata: what of a header is the image's, in its one normal form.
func TestReadMetadata(t *testing.T) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	v3 := "\x01\x00\x00\x03" + capabilityValue[4:] + "\xe9\x03\x00\x00"
	assert.NilError(t, w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: "f", Mode: 0o106755, Uid: 70000, Gid: 1 << 31, ModTime: time.Unix(9, 999), AccessTime: time.Unix(1, 0),
		Uname: "joe", Format: tar.FormatPAX, PAXRecords: map[string]string{
			"SCHILY.xattr.security.capability": v3, "SCHILY.xattr.user.a": "b", "SCHILY.xattr.user.rootlesscontainers": "\x08\x01",
			"SCHILY.xattr.security.selinux": "system_u", "SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.overlay.opaque": "y",
		}}))
	assert.NilError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "old", ModTime: time.Unix(-5, 500_000_000), Format: tar.FormatPAX}))
	assert.NilError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeChar, Name: "white", Mode: 0o600}))
	assert.NilError(t, w.Close())
	ix, err := layer.Read(t.Context(), &buf, layer.ReadOptions{})
	assert.NilError(t, err)
	assert.Equal(t, ix.At(0).String(), `- 6755 70000:2147483648 0 9 "f" map["security.capability":"`+
		`\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" "user.a":"b" "user.overlay.opaque":"y"]`)
	assert.Equal(t, ix.At(1).String(), `d 0000 0:0 0 -5 "old"`)
	assert.Equal(t, ix.At(2).String(), `c 0600 0:0 0,0 0 "white"`)
}

func TestOwnerWithoutAnID(t *testing.T) {
	inNamespace(t, fullMap, func(t *testing.T, mode owners.Mode) {
		b := index.NewBuilder()
		assert.NilError(t, b.Add(index.Entry{Path: "f", Type: index.Symlink, Link: "x", UID: 1_000_000}))
		ix, err := b.Build()
		assert.NilError(t, err)
		err = layer.Extract(t.Context(), ix, nil, mkdir(t, "d"), layer.ReadOptions{Owners: mode})
		var owner *layer.OwnerError
		assert.Assert(t, errors.As(err, &owner), "%v", err)
		assert.Equal(t, owner.UID, 1_000_000)
	})
}

// canary is a directory with a victim beside the one that is written to; intact says whether it still is what it was.
func canary(t testing.TB) (dir string, intact func()) {
	t.Helper()
	root := t.TempDir()
	dir = filepath.Join(root, "a", "b", "dir")
	assert.NilError(t, os.MkdirAll(dir, 0o755))
	for _, name := range []string{"tmp", "etc", "x"} {
		for _, at := range []string{root, filepath.Join(root, "a"), filepath.Join(root, "a", "b")} {
			assert.NilError(t, os.MkdirAll(filepath.Join(at, name), 0o700))
			assert.NilError(t, os.WriteFile(filepath.Join(at, name, "x"), []byte("canary"), 0o600))
		}
	}
	before := snapshot(t, root, dir)
	return dir, func() {
		t.Helper()
		assert.DeepEqual(t, snapshot(t, root, dir), before)
	}
}

func snapshot(t testing.TB, root, except string) map[string]string {
	t.Helper()
	all := map[string]string{}
	assert.NilError(t, filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if name == except {
			return fs.SkipDir
		}
		info, statErr := os.Lstat(name)
		assert.NilError(t, errors.Join(err, statErr))
		content, _ := os.ReadFile(name)
		all[name] = info.Mode().String() + info.ModTime().String() + string(content)
		if st := info.Sys().(*syscall.Stat_t); d.Type().IsRegular() && st.Nlink != 1 {
			all[name] += "linked"
		}
		return nil
	}))
	return all
}

// FuzzRead reads tars, whole and made of a script, into a directory beside canaries. It must stay in there, and what it made
// must be what the index says.
func FuzzRead(f *testing.F) {
	f.Add([]byte(nil), "2 a ../x\n0 a/x y\n1 b a\n5 a \n0 .wh.a \n0 a/.wh..wh..opq ")
	f.Add([]byte(nil), "5 d \n2 d/l ../..\n0 d/l/tmp/x evil\n1 h d/l/x\n2 h /\n0 h/x y")
	f.Add(foreign(f, [3]string{soft, "a", "/etc"}, [3]string{file, "a/passwd", "x"}), "")
	f.Fuzz(func(t *testing.T, data []byte, script string) {
		if script != "" {
			data = scripted(t, script)
		}
		dir, intact := canary(t)
		table := owners.NewTable()
		ix, err := readHashed(t, data, layer.ReadOptions{Dir: dir, Owners: owners.Record, Table: table})
		intact()
		if err != nil {
			return
		}
		if _, hasRoot := ix.Find("."); hasRoot || os.Getuid() != 0 && closed(ix) {
			return
		}
		same(t, scanned(t, dir, layer.ScanOptions{Owners: owners.Record, Table: table}), ix, "the directory")
		out := mkdir(t, "extracted")
		table = owners.NewTable()
		assert.NilError(t, layer.Extract(t.Context(), ix, bytes.NewReader(data), out, layer.ReadOptions{Owners: owners.Record, Table: table}))
		same(t, scanned(t, out, layer.ScanOptions{Owners: owners.Record, Table: table}), ix, "the extracted directory")
	})
}

// closed reports whether an index has what its own owner cannot read.
func closed(ix *index.Index) bool {
	for e := range ix.Entries() {
		if e.Type == index.Regular && e.Mode&0o400 == 0 || e.Type == index.Directory && e.Mode&0o700 != 0o700 {
			return true
		}
	}
	return false
}

func scripted(t testing.TB, script string) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for l := range strings.Lines(script) {
		kind, rest, _ := strings.Cut(strings.TrimSuffix(l, "\n"), " ")
		name, arg, _ := strings.Cut(rest, " ")
		if kind == "" || buf.Len() > 1<<18 {
			continue
		}
		h := &tar.Header{Typeflag: kind[0], Name: name, Mode: 0o755, ModTime: time.Unix(7, 0), Format: tar.FormatPAX}
		if kind[0] == tar.TypeReg {
			h.Size = int64(len(arg))
		} else {
			h.Linkname = arg
		}
		if w.WriteHeader(h) == nil && h.Size > 0 {
			_, err := io.WriteString(w, arg)
			assert.NilError(t, err)
		}
	}
	assert.NilError(t, w.Close())
	return buf.Bytes()
}
