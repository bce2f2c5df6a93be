package contextdir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

func TestDigestIsMadeOnceAndContentChecked(t *testing.T) {
	ctx := t.Context()
	for _, tc := range []struct {
		name    string
		settled bool
		change  func(t *testing.T, name string)
		ok      bool
	}{
		{"unchanged fresh", false, func(*testing.T, string) {}, true},
		{"unchanged settled", true, func(*testing.T, string) {}, true},
		{"content fresh", false, func(t *testing.T, n string) { write(t, n, "hellO") }, false},
		{"content settled", true, func(t *testing.T, n string) { write(t, n, "hellO") }, false},
		{"shorter", true, func(t *testing.T, n string) { write(t, n, "hell") }, false},
		{"grown", true, func(t *testing.T, n string) { write(t, n, "hello world") }, true},
		{"touched", true, func(t *testing.T, n string) { assert.NilError(t, os.Chtimes(n, time.Now(), time.Now())) }, true},
		{"removed", true, func(t *testing.T, n string) { assert.NilError(t, os.Remove(n)) }, false},
		{"now a link", true, func(t *testing.T, n string) { swap(t, n, func() error { return os.Symlink("/etc/passwd", n) }) }, false},
		{"now a fifo", true, func(t *testing.T, n string) { swap(t, n, func() error { return syscall.Mkfifo(n, 0o644) }) }, false},
		{"now a directory", true, func(t *testing.T, n string) { swap(t, n, func() error { return os.Mkdir(n, 0o755) }) }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, map[string]string{"d/f": "hello"})
			name := filepath.Join(dir, "d/f")
			if tc.settled {
				age(t, name)
			}
			c := open(t, dir, nil, "")
			d, err := c.Digest(ctx, "d/f")
			assert.NilError(t, err)
			assert.Equal(t, d, digest.FromString("hello"))
			tc.change(t, name)
			again, err := c.Digest(ctx, "d/f")
			assert.NilError(t, err)
			assert.Equal(t, again, d)
			data, err := c.ReadFile(ctx, "d/f", 100)
			if tc.ok {
				assert.NilError(t, err)
				assert.Equal(t, string(data), "hello")
				return
			}
			var changed *ChangedError
			assert.Assert(t, errors.As(err, &changed), "%v", err)
			assert.Error(t, err, `file "d/f" changed during the build`)
		})
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	assert.NilError(t, os.WriteFile(name, []byte(content), 0o644))
}

func swap(t *testing.T, name string, f func() error) {
	t.Helper()
	assert.NilError(t, os.Remove(name))
	assert.NilError(t, f())
}

func TestDirectorySwappedForALinkLeadsNowhere(t *testing.T) {
	ctx := t.Context()
	outside := tree(t, map[string]string{"f": "secret"})
	dir := tree(t, map[string]string{"d/f": "public", "e/f": "public"})
	c := open(t, dir, nil, "")
	_, err := c.ReadDir(ctx, "d")
	assert.NilError(t, err)
	_, err = c.Lookup("e")
	assert.NilError(t, err)
	for _, d := range []string{"d", "e"} {
		assert.NilError(t, os.RemoveAll(filepath.Join(dir, d)))
		assert.NilError(t, os.Symlink(outside, filepath.Join(dir, d)))
	}
	var changed *ChangedError
	_, err = c.Digest(ctx, "d/f")
	assert.Assert(t, errors.As(err, &changed), "%v", err)
	_, err = c.ReadDir(ctx, "e")
	assert.Assert(t, errors.As(err, &changed), "%v", err)
}

func TestFileThatChangesBeforeItsHashIsTakenAsItIs(t *testing.T) {
	ctx := t.Context()
	dir := tree(t, map[string]string{"f": "old"})
	c := open(t, dir, nil, "")
	files, err := c.ReadDir(ctx, ".")
	assert.NilError(t, err)
	write(t, filepath.Join(dir, "f"), "newer")
	assert.NilError(t, c.Fill(ctx, files))
	assert.Equal(t, files[0].Digest, digest.FromString("newer"))
	assert.Equal(t, files[0].Size, int64(5))
}

func TestOpenOfAnEntryWithAnotherDigest(t *testing.T) {
	c := open(t, tree(t, map[string]string{"f": "x"}), nil, "")
	f, err := c.Lookup("f")
	assert.NilError(t, err)
	f.Digest = digest.FromString("y")
	_, err = c.Open(t.Context(), f.Entry)
	var changed *ChangedError
	assert.Assert(t, errors.As(err, &changed), "%v", err)
}

func TestFillOfManyFilesAndCancel(t *testing.T) {
	files := map[string]string{}
	for i := range 200 {
		files[fmt.Sprintf("d/%03d", i)] = fmt.Sprint(i)
	}
	c := open(t, tree(t, files), nil, "")
	list, err := c.ReadDir(t.Context(), "d")
	assert.NilError(t, err)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	assert.Assert(t, is.ErrorIs(c.Fill(cancelled, list), context.Canceled))
	assert.NilError(t, c.Fill(t.Context(), list))
	for i, f := range list {
		assert.Equal(t, f.Digest, digest.FromString(fmt.Sprint(i)))
	}
}
