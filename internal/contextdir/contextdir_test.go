package contextdir

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cairnbuild/cairn/dockerfile/ignore"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/opencontainers/go-digest"
	"gotest.tools/v3/assert"
)

// tree makes files from "path" -> content; a path that ends in "/" is a directory, content "-> x" a link to x.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for p, content := range files {
		full := filepath.Join(dir, p)
		assert.NilError(t, os.MkdirAll(filepath.Dir(full), 0o755))
		switch {
		case strings.HasSuffix(p, "/"):
			assert.NilError(t, os.MkdirAll(full, 0o755))
		case strings.HasPrefix(content, "-> "):
			assert.NilError(t, os.Symlink(content[3:], full))
		default:
			assert.NilError(t, os.WriteFile(full, []byte(content), 0o644))
		}
	}
	return dir
}

func open(t testing.TB, dir string, ig Ignorer, cache string) *Context {
	t.Helper()
	c, err := Open(dir, ig, Options{StatCache: cache})
	assert.NilError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// age sets a file's times back and waits until its ctime too is old: only then is its digest remembered.
func age(t testing.TB, names ...string) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	for _, name := range names {
		assert.NilError(t, os.Chtimes(name, old, old))
	}
	time.Sleep(settleTime + 100*time.Millisecond)
}

func TestRow29And36ContextFilesBelongToRootAndKeepTheirMode(t *testing.T) {
	dir := tree(t, map[string]string{"f": "x"})
	assert.NilError(t, os.Chown(filepath.Join(dir, "f"), os.Getuid(), os.Getgid()))
	assert.NilError(t, os.Chmod(filepath.Join(dir, "f"), 0o751|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky))
	f, err := open(t, dir, nil, "").Lookup("f")
	assert.NilError(t, err)
	assert.Equal(t, f.UID, 0)
	assert.Equal(t, f.GID, 0)
	assert.Equal(t, f.Mode, uint32(0o7751))
}

func TestRow26SocketIsAnEmptyFile(t *testing.T) {
	ctx := t.Context()
	dir := tree(t, nil)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	assert.NilError(t, err)
	defer l.Close()
	c := open(t, dir, nil, "")
	f, err := c.Lookup("s")
	assert.NilError(t, err)
	assert.Equal(t, f.Type, index.Regular)
	assert.Equal(t, f.Size, int64(0))
	assert.Equal(t, f.Digest, digest.FromString(""))
	data, err := c.ReadFile(ctx, "s", 10)
	assert.NilError(t, err)
	assert.Equal(t, string(data), "")
}

func TestResolve(t *testing.T) {
	dir := tree(t, map[string]string{
		"d/e/f": "x", "abs": "-> /d/e", "up": "-> ../../../d", "d/rel": "-> e/f", "dangling": "-> nowhere", "loop": "-> loop",
		"d/e/chain": "-> ../../abs/../rel", "ping": "-> pong", "pong": "-> ping",
	})
	c := open(t, dir, nil, "")
	for _, tc := range []struct{ in, want string }{
		{"", "."}, {"/", "."}, {"..", "."}, {"../../d", "d"}, {"abs/f", "d/e/f"}, {"up/e/f", "d/e/f"}, {"d/rel", "d/e/f"},
		{"/d//e/./f", "d/e/f"}, {"d/e/chain", "d/e/f"},
	} {
		f, err := c.Resolve(t.Context(), tc.in)
		assert.NilError(t, err, tc.in)
		assert.Equal(t, f.Path, tc.want, tc.in)
	}
	for p, want := range map[string]error{
		"dangling": fs.ErrNotExist, "loop": syscall.ELOOP, "ping": syscall.ELOOP, "d/e/f/g": syscall.ENOTDIR, "nope": fs.ErrNotExist,
	} {
		_, err := c.Resolve(t.Context(), p)
		assert.Assert(t, errors.Is(err, want), "%s: %v", p, err)
	}
	f, err := c.Lookup("up/rel")
	assert.NilError(t, err)
	assert.Equal(t, f.Link, "e/f")
}

func TestWalkIsInIndexOrder(t *testing.T) {
	dir := tree(t, map[string]string{"a/b": "1", "a-b": "2", "a/c/d": "3", "a.x": "4", "b": "5"})
	var got []string
	err := open(t, dir, nil, "").Walk(t.Context(), ".", func(f File) error {
		got = append(got, f.Path)
		if f.Path == "a/c" {
			return fs.SkipDir
		}
		return nil
	})
	assert.NilError(t, err)
	assert.DeepEqual(t, got, []string{".", "a", "a/b", "a/c", "a-b", "a.x", "b"})
	for i := 1; i < len(got); i++ {
		assert.Assert(t, index.Compare(got[i-1], got[i]) < 0)
	}
}

func TestHardLinksShareTheirInode(t *testing.T) {
	dir := tree(t, map[string]string{"a": "x", "b": "x"})
	assert.NilError(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "c")))
	c := open(t, dir, nil, "")
	files, err := c.ReadDir(t.Context(), ".")
	assert.NilError(t, err)
	assert.Assert(t, files[0].Inode != "" && files[0].Inode == files[2].Inode)
	assert.Equal(t, files[1].Inode, "")
}

// hide is an Ignorer for tests: a list of hidden names and a list of exceptions.
type hide struct{ names, except []string }

func (h hide) Match(p string, _ bool) bool {
	for _, e := range h.except {
		if p == e {
			return false
		}
	}
	for _, n := range h.names {
		if p == n || strings.HasPrefix(p, n+"/") {
			return true
		}
	}
	return false
}

func (h hide) Reason(p string) (string, bool) { return strings.Split(p, "/")[0], h.Match(p, false) }

func (h hide) MayMatchBelow(dir string) bool {
	for _, e := range h.except {
		if strings.HasPrefix(e, dir+"/") {
			return true
		}
	}
	return false
}

func TestRow28IgnoredFilesAreNotThere(t *testing.T) {
	dir := tree(t, map[string]string{"keep": "1", "no/x": "2", "no/deep/yes": "3", "gone/a/b": "4", "link": "-> no/x"})
	assert.NilError(t, os.Chmod(filepath.Join(dir, "gone"), 0)) // must not even be opened
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "gone"), 0o755) })
	c := open(t, dir, hide{names: []string{"no", "gone"}, except: []string{"no/deep/yes"}}, "")
	var got []string
	assert.NilError(t, c.Walk(t.Context(), ".", func(f File) error { got = append(got, f.Path); return nil }))
	assert.DeepEqual(t, got, []string{".", "keep", "link", "no", "no/deep", "no/deep/yes"})
	_, err := c.Resolve(t.Context(), "link")
	assert.Assert(t, errors.Is(err, fs.ErrNotExist))
	for p, want := range map[string]string{"no/x": "no", "/no/../no/x": "no", "link": "no", "nothing": "", "keep": "", "no/x/..": ""} {
		pattern, hidden := c.Hidden(p)
		assert.Equal(t, pattern, want, p)
		assert.Equal(t, hidden, want != "", p)
	}

	c = open(t, dir, hide{names: []string{"no", "gone"}, except: []string{"no/other"}}, "")
	_, err = c.Lookup("no")
	assert.Assert(t, errors.Is(err, fs.ErrNotExist), "a directory whose exceptions are not there")
}

func TestRow28DockerignoreFile(t *testing.T) {
	dir := tree(t, map[string]string{
		"a.log": "1", "d/b.log": "2", "d/keep.log": "3", "node_modules/x/y": "4", "src/main.go": "5", "Dockerfile": "6",
	})
	ig, err := ignore.Parse(strings.NewReader("**/*.log\n!d/keep.log\nnode_modules\nDockerfile\n.dockerignore\n"))
	assert.NilError(t, err)
	for _, m := range []*ignore.Matcher{ig, nil} {
		c := open(t, dir, m, "")
		var got []string
		assert.NilError(t, c.Walk(t.Context(), ".", func(f File) error {
			if f.Type == index.Regular {
				got = append(got, f.Path)
			}
			return nil
		}))
		if m == nil {
			assert.Equal(t, len(got), 6)
			continue
		}
		assert.DeepEqual(t, got, []string{"d/keep.log", "src/main.go"})
		pattern, _ := c.Hidden("a.log")
		assert.Equal(t, pattern, "**/*.log")
	}
}

func TestReadFileLimit(t *testing.T) {
	c := open(t, tree(t, map[string]string{"f": "12345", "d/": ""}), nil, "")
	_, err := c.ReadFile(t.Context(), "f", 5)
	assert.NilError(t, err)
	_, err = c.ReadFile(t.Context(), "f", 4)
	assert.ErrorContains(t, err, "more than 4 bytes")
	_, err = c.ReadFile(t.Context(), "d", 4)
	assert.ErrorContains(t, err, "not a regular file")
}

func TestFileCapability(t *testing.T) {
	v3 := "\x01\x00\x00\x03\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xe9\x03\x00\x00"
	var in info
	in.setCapability([]byte(v3))
	assert.Equal(t, in.Xattrs[capabilityName], "\x01\x00\x00\x02"+v3[4:20])

	dir := tree(t, map[string]string{"f": "x"})
	v2 := in.Xattrs[capabilityName]
	if err := syscall.Setxattr(filepath.Join(dir, "f"), capabilityName, []byte(v2), 0); err != nil {
		t.Skip("may not set file capabilities here: ", err)
	}
	cache := filepath.Join(t.TempDir(), "cache")
	age(t, filepath.Join(dir, "f"))
	for range 2 { // the second time from the stat cache
		c := open(t, dir, nil, cache)
		files, err := c.ReadDir(t.Context(), ".")
		assert.NilError(t, err)
		assert.NilError(t, c.Fill(t.Context(), files))
		assert.Equal(t, files[0].Xattrs[capabilityName], v2)
		assert.NilError(t, c.Close())
	}
}

var _ io.ReadCloser = (*verifier)(nil)
