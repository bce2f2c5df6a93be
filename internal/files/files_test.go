package files

import (
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

	"gotest.tools/v3/assert"
)

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	assert.NilError(t, err)
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	assert.NilError(t, err)
	return string(data)
}

func TestWriteReplaces(t *testing.T) {
	dir, temp := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "f")
	for _, o := range []Options{{}, {Durable: true}, {TempDir: temp}, {Perm: 0o644}} {
		for _, text := range []string{"one", "two"} {
			assert.NilError(t, Write(path, []byte(text), o))
			assert.Equal(t, content(t, path), text)
		}
		info, err := os.Stat(path)
		assert.NilError(t, err)
		assert.Equal(t, info.Mode().Perm(), max(o.Perm, 0o600))
	}
	err := Write(filepath.Join(dir, "none", "f"), nil, Options{TempDir: temp})
	assert.ErrorIs(t, err, fs.ErrNotExist)
	assert.DeepEqual(t, names(t, dir), []string{"f"})
	assert.Equal(t, len(names(t, temp)), 0)
}

func TestPendingLeavesNothing(t *testing.T) {
	for name, create := range map[string]func(string, fs.FileMode) (*Pending, error){"named": Create, "unnamed": CreateUnnamed} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			write := func(text string) *Pending {
				p, err := create(dir, 0o600)
				assert.NilError(t, err)
				t.Cleanup(func() { assert.NilError(t, p.Close()) })
				_, err = p.WriteString(text)
				assert.NilError(t, err)
				return p
			}
			assert.NilError(t, write("dropped").Close())
			assert.Equal(t, len(names(t, dir)), 0)
			assert.NilError(t, write("first").Link(path, true))
			assert.ErrorIs(t, write("second").Link(path, false), fs.ErrExist)
			assert.Equal(t, content(t, path), "first")
			assert.NilError(t, write("third").Replace(path, true))
			assert.Equal(t, content(t, path), "third")
			assert.ErrorContains(t, write("fourth").Replace(filepath.Join(path, "x"), false), "not a directory")
		})
		// The cleanups of the subtest have run: what could not be placed is gone.
	}
}

// Nothing of an output that a kill -9 cuts off has a name, where the file system can have such files.
func TestOutputHasNoNameBeforeItsEnd(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.tar")
	probe, err := CreateUnnamed(dir, 0o600)
	assert.NilError(t, err)
	if probe.temp != "" {
		t.Skip("this file system has no files without a name")
	}
	assert.NilError(t, probe.Close())
	assert.NilError(t, Output(path, func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Repeat("x", 3*outputBuffer))
		assert.Equal(t, len(names(t, dir)), 0)
		return err
	}))
	assert.Equal(t, len(content(t, path)), 3*outputBuffer)
}

func TestOutput(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	text := func(s string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
	}
	assert.NilError(t, Output(path, text("old")))
	boom := errors.New("boom")
	assert.ErrorIs(t, Output(path, func(w io.Writer) error { return errors.Join(text("half")(w), boom) }), boom)
	assert.Equal(t, content(t, path), "old")
	assert.NilError(t, Output(path, text("new")))
	assert.Equal(t, content(t, path), "new")
	assert.ErrorIs(t, Output(dir, text("x")), syscall.EISDIR)
	assert.NilError(t, Output("/dev/null", text("x")))
	assert.DeepEqual(t, names(t, dir), []string{"f"})
}

func TestLockFollowsThePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l")
	exclusive := LockMode{Exclusive: true, Create: true}
	held, err := TryLock(path, exclusive)
	assert.NilError(t, err)
	other, err := TryLock(path, LockMode{})
	assert.NilError(t, err)
	assert.Assert(t, other == nil)

	// The one who waits gets the file that is at the path when the lock is free, not the one that was there before.
	got := make(chan *os.File)
	go func() {
		f, err := Lock(context.WithoutCancel(t.Context()), path, exclusive)
		assert.Check(t, err)
		got <- f
	}()
	time.Sleep(5 * time.Millisecond)
	assert.NilError(t, os.Remove(path))
	assert.NilError(t, held.Close())
	f := <-got
	same, err := Same(f, path)
	assert.NilError(t, err)
	assert.Assert(t, same)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Lock(ctx, path, exclusive)
	assert.ErrorIs(t, err, context.Canceled)
	assert.NilError(t, f.Close())
	_, err = TryLock(path+".none", LockMode{Exclusive: true})
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

func TestRemoveAllGetsThroughClosedDirectories(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	assert.NilError(t, os.Chmod(outside, 0o500))
	tree := filepath.Join(dir, "t")
	assert.NilError(t, os.MkdirAll(filepath.Join(tree, "work", "work", "deep"), 0o700))
	assert.NilError(t, os.WriteFile(filepath.Join(tree, "work", "work", "deep", "f"), nil, 0o600))
	assert.NilError(t, os.Symlink(outside, filepath.Join(tree, "work", "link")))
	for _, closed := range []string{"work/work/deep", "work/work", "work", ""} {
		assert.NilError(t, os.Chmod(filepath.Join(tree, closed), 0))
	}
	assert.NilError(t, RemoveAll(tree))
	assert.Assert(t, Missing(tree))
	assert.NilError(t, RemoveAll(tree))
	info, err := os.Stat(outside)
	assert.NilError(t, err)
	assert.Equal(t, info.Mode().Perm(), fs.FileMode(0o500))
	assert.NilError(t, SyncDir(dir))
}

func TestReaderEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	r := Reader(ctx, strings.NewReader("abc"))
	buf := make([]byte, 1)
	_, err := r.Read(buf)
	assert.NilError(t, err)
	cancel(errors.New("another step failed"))
	_, err = r.Read(buf)
	assert.ErrorIs(t, err, context.Canceled)
}
