package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
	"gotest.tools/v3/assert"
)

var when = time.Unix(1_000_000_000, 0).UTC()

func build(t *testing.T, entries ...index.Entry) *index.Index {
	t.Helper()
	b := index.NewBuilder()
	for _, e := range entries {
		e.MTime = when
		assert.NilError(t, b.Add(e))
	}
	ix, err := b.Build()
	assert.NilError(t, err)
	return ix
}

func dir(path string, mode uint32) index.Entry {
	return index.Entry{Path: path, Type: index.Directory, Mode: mode}
}

func file(path string, mode uint32, content string) index.Entry {
	return index.Entry{Path: path, Type: index.Regular, Mode: mode, Size: int64(len(content))}
}

// sample is two layers with one of everything, and what its files contain by layer and path.
func sample(t *testing.T) (*tree.Tree, Opener) {
	t.Helper()
	content := map[inode]string{
		{0, "bin/a"}: "first", {0, "etc/gone"}: "x", {0, "etc/old"}: "old", {1, "etc/old"}: "newer", {1, "secret/key"}: "key", {1, "bin/ü"}: "umlaut",
	}
	suid := file("bin/a", 0o4755, "first")
	suid.UID, suid.GID, suid.Xattrs = 1000, 3_000_000, map[string]string{"user.x": "a\x00b", "security.capability": "\x01\x00\x00\x02"}
	device := index.Entry{Path: "null", Type: index.CharDevice, Mode: 0o666, Major: 1, Minor: 3}
	tr := tree.New(
		build(t, dir("bin", 0o755), suid, index.Entry{Path: "bin/b", Type: index.Hardlink, Link: "bin/a"},
			index.Entry{Path: "bin/c", Type: index.Hardlink, Link: "bin/a"}, dir("etc", 0o755), file("etc/gone", 0o600, "x"),
			file("etc/old", 0o644, "old"), device, index.Entry{Path: "pipe", Type: index.FIFO, Mode: 0o600}, dir("tmp", 0o1777)),
		build(t, dir("bin", 0o755), index.Entry{Path: "bin/a", Type: index.Whiteout}, file("bin/ü", 0o644, "umlaut"),
			dir("etc", 0o750), index.Entry{Path: "etc/gone", Type: index.Whiteout},
			file("etc/old", 0o400, "newer"), index.Entry{Path: "etc/link", Type: index.Symlink, Link: "/etc/passwd"},
			dir("secret", 0), file("secret/key", 0, "key"), file("empty", 0o644, "")))
	return tr, func(_ context.Context, n tree.Node) (io.ReadCloser, error) {
		data, ok := content[inodeOf(n)]
		if !ok {
			return nil, fmt.Errorf("no content of %v", inodeOf(n))
		}
		return io.NopCloser(strings.NewReader(data)), nil
	}
}

func TestWriteTar(t *testing.T) {
	tr, open := sample(t)
	var b, again bytes.Buffer
	assert.NilError(t, WriteTar(t.Context(), &b, tr, open))
	assert.NilError(t, WriteTar(t.Context(), &again, tr, open))
	assert.Assert(t, bytes.Equal(b.Bytes(), again.Bytes()), "written twice it differs")

	var got []string
	r := tar.NewReader(&b)
	for {
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		assert.NilError(t, err)
		data, err := io.ReadAll(r)
		assert.NilError(t, err)
		assert.Assert(t, hdr.ModTime.Equal(when) && hdr.Uname == "" && hdr.AccessTime.IsZero(), hdr.Name)
		got = append(got, fmt.Sprintf("%c %s %o %d:%d %q %s", hdr.Typeflag, hdr.Name, hdr.Mode, hdr.Uid, hdr.Gid, hdr.Linkname, data))
		if hdr.Name == "bin/b" {
			assert.DeepEqual(t, hdr.PAXRecords["SCHILY.xattr.user.x"], "a\x00b")
			assert.DeepEqual(t, hdr.PAXRecords["SCHILY.xattr.security.capability"], "\x01\x00\x00\x02")
		}
	}
	// bin/a is gone, so its inode's first name is bin/b (docs/architecture.md rule 5).
	assert.DeepEqual(t, got, []string{
		`5 bin/ 755 0:0 "" `, `0 bin/b 4755 1000:3000000 "" first`, `1 bin/c 4755 1000:3000000 "bin/b" `, `0 bin/ü 644 0:0 "" umlaut`,
		`0 empty 644 0:0 "" `, `5 etc/ 750 0:0 "" `, `2 etc/link 777 0:0 "/etc/passwd" `, `0 etc/old 400 0:0 "" newer`,
		`3 null 666 0:0 "" `, `6 pipe 600 0:0 "" `, `5 secret/ 0 0:0 "" `, `0 secret/key 0 0:0 "" key`, `5 tmp/ 1777 0:0 "" `,
	})
}

func TestSystemTarReadsIt(t *testing.T) {
	tool, err := exec.LookPath("tar")
	if err != nil {
		t.Skip("tar is not installed")
	}
	tr, open := sample(t)
	var b bytes.Buffer
	assert.NilError(t, WriteTar(t.Context(), &b, tr, open))
	cmd := exec.CommandContext(t.Context(), tool, "-tf", "-")
	cmd.Stdin = &b
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err)
	assert.Equal(t, len(strings.Split(strings.TrimSpace(string(out)), "\n")), 13, "%s", out)
}

func TestContentMustHaveItsSize(t *testing.T) {
	tr := tree.New(build(t, file("f", 0o644, "12345")))
	for _, content := range []string{"", "1234", "123456"} {
		open := func(context.Context, tree.Node) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(content)), nil
		}
		assert.ErrorContains(t, WriteTar(t.Context(), io.Discard, tr, open), "write f: content has")
		assert.ErrorContains(t, WriteDir(t.Context(), t.TempDir(), tr, open), "write f: content has")
	}
	boom := errors.New("boom")
	open := func(context.Context, tree.Node) (io.ReadCloser, error) { return nil, boom }
	assert.ErrorIs(t, WriteTar(t.Context(), io.Discard, tr, open), boom)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, WriteTar(ctx, io.Discard, tr, open), context.Canceled)
}

// list describes all below root: mode, path, link target and content.
func list(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	assert.NilError(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		assert.NilError(t, err)
		info, err := e.Info()
		assert.NilError(t, err)
		if path == root {
			return nil
		}
		line := info.Mode().String() + " " + strings.TrimPrefix(path, root+"/")
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			assert.NilError(t, err)
			line += " -> " + target
		case info.Mode().IsRegular() && (os.Getuid() == 0 || info.Mode().Perm() != 0):
			data, err := os.ReadFile(path)
			assert.NilError(t, err)
			line += " " + string(data)
		}
		if info.Mode()&fs.ModeSymlink == 0 && !strings.HasPrefix(info.Name(), "mine") {
			assert.Assert(t, info.ModTime().Equal(when), path)
		}
		out = append(out, line)
		if e.IsDir() && info.Mode().Perm() == 0 && os.Getuid() != 0 {
			return fs.SkipDir
		}
		return nil
	}))
	slices.Sort(out)
	return out
}

func TestWriteDir(t *testing.T) {
	tr, open := sample(t)
	out := filepath.Join(t.TempDir(), "new", "out")
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(out, "secret"), 0o700) })
	for range 2 { // also over itself
		err := WriteDir(t.Context(), out, tr, open)
		var skipped *SkippedError
		assert.Assert(t, errors.As(err, &skipped), "%v", err)
		assert.DeepEqual(t, skipped.Paths, []string{"null", "pipe"})
		want := []string{
			"-rwxr-xr-x bin/b first", "-rwxr-xr-x bin/c first", "-rw-r--r-- bin/ü umlaut", "-rw-r--r-- empty ", "Lrwxrwxrwx etc/link -> /etc/passwd",
			"-r-------- etc/old newer", "drwxr-xr-x bin", "drwxr-x--- etc", "d--------- secret", "dtrwxrwxrwx tmp",
		}
		if os.Getuid() == 0 {
			want = append(want, "---------- secret/key key")
		}
		slices.Sort(want)
		assert.DeepEqual(t, list(t, out), want)
		b, err := os.Stat(filepath.Join(out, "bin/b"))
		assert.NilError(t, err)
		c, err := os.Stat(filepath.Join(out, "bin/c"))
		assert.NilError(t, err)
		assert.Assert(t, os.SameFile(b, c))
	}
}

func TestWriteDirReplacesAndMerges(t *testing.T) {
	tr, open := sample(t)
	out, outside := t.TempDir(), t.TempDir()
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(out, "secret"), 0o700) })
	victim := filepath.Join(outside, "b")
	assert.NilError(t, os.WriteFile(victim, []byte("mine"), 0o644))
	assert.NilError(t, os.Symlink(outside, filepath.Join(out, "bin")))           // where a directory goes
	assert.NilError(t, os.Symlink(victim, filepath.Join(out, "empty")))          // where a file goes
	assert.NilError(t, os.MkdirAll(filepath.Join(out, "etc/link/x"), 0o755))     // where a link goes
	assert.NilError(t, os.WriteFile(filepath.Join(out, "tmp"), nil, 0o644))      // where a directory goes
	assert.NilError(t, os.WriteFile(filepath.Join(out, "etc/mine"), nil, 0o600)) // stays
	assert.NilError(t, os.Mkdir(filepath.Join(out, "secret"), 0o500))
	err := WriteDir(t.Context(), out, tr, open)
	var skipped *SkippedError
	assert.Assert(t, errors.As(err, &skipped), "%v", err)
	got := strings.Join(list(t, out), "\n")
	for _, want := range []string{"drwxr-xr-x bin\n", "-rw-r--r-- empty \n", "etc/link -> /etc/passwd", "dtrwxrwxrwx tmp", "-rw------- etc/mine", "d--------- secret"} {
		assert.Assert(t, strings.Contains(got+"\n", want), "%q in\n%s", want, got)
	}
	data, err := os.ReadFile(victim)
	assert.NilError(t, err)
	assert.Equal(t, string(data), "mine")
	entries, err := os.ReadDir(outside)
	assert.NilError(t, err)
	assert.Equal(t, len(entries), 1)
}

func TestWriteDirKeepsHoles(t *testing.T) {
	const size = 64 << 20
	data := make([]byte, size)
	copy(data[10<<20:], "data")
	big := file("big", 0o644, "")
	big.Size = size
	out := t.TempDir()
	open := func(context.Context, tree.Node) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	assert.NilError(t, WriteDir(t.Context(), out, tree.New(build(t, big)), open))
	var st syscall.Stat_t
	assert.NilError(t, syscall.Stat(filepath.Join(out, "big"), &st))
	assert.Equal(t, st.Size, int64(size))
	assert.Assert(t, st.Blocks*512 < 1<<20, "%d bytes on disk", st.Blocks*512)
	got, err := os.ReadFile(filepath.Join(out, "big"))
	assert.NilError(t, err)
	assert.Assert(t, bytes.Equal(got, data))
}
