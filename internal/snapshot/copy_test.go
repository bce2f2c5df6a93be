package snapshot_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/snapshot"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
	"github.com/cairnbuild/cairn/oci/tree"
)

// below is a tree as layer.Below.
type below struct{ t *tree.Tree }

func (b below) ReadDir(path string) []index.Entry {
	var out []index.Entry
	for _, n := range b.t.ReadDir(path) {
		out = append(out, n.Entry)
	}
	return out
}

// sample is a tree whose files have their path as content.
func sample(t *testing.T) (*tree.Tree, snapshot.Content) {
	t.Helper()
	at := time.Unix(1600000000, 0).UTC()
	b := index.NewBuilder()
	add := func(e index.Entry) {
		e.MTime, e.Offset = at, -1
		assert.NilError(t, b.Add(e))
	}
	for _, d := range []string{"dev", "etc", "etc/deep", "proc", "sys", "tmp"} {
		add(index.Entry{Path: d, Type: index.Directory, Mode: 0o755})
	}
	for _, f := range []string{"dev/hidden", "etc/a", "etc/b", "etc/deep/c"} {
		add(index.Entry{Path: f, Type: index.Regular, Mode: 0o644, Size: int64(len(f))})
	}
	add(index.Entry{Path: "etc/a2", Type: index.Hardlink, Link: "etc/a"})
	add(index.Entry{Path: "link", Type: index.Symlink, Mode: 0o777, Link: "etc/a"})
	ix, err := b.Build()
	assert.NilError(t, err)
	return tree.New(ix), func(_ context.Context, n tree.Node) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader([]byte(n.LinkPath))), nil
	}
}

// ownMode is Chown for root and Record for others: as the sandbox has it.
func ownMode() owners.Mode {
	if os.Getuid() == 0 {
		return owners.Chown
	}
	return owners.Record
}

func write(t *testing.T, sub string) (*tree.Tree, *snapshot.Root) {
	t.Helper()
	tr, open := sample(t)
	r, err := snapshot.Write(t.Context(), filepath.Join(t.TempDir(), "root"), tr, snapshot.WriteOptions{Open: open, Owners: ownMode(), Sub: sub})
	assert.NilError(t, err)
	return tr, r
}

func TestWrite(t *testing.T) {
	_, r := write(t, ".")
	data, err := os.ReadFile(filepath.Join(r.Dir, "etc/deep/c"))
	assert.NilError(t, err)
	assert.Equal(t, string(data), "etc/deep/c")
	a, err := os.Stat(filepath.Join(r.Dir, "etc/a"))
	assert.NilError(t, err)
	a2, err := os.Stat(filepath.Join(r.Dir, "etc/a2"))
	assert.NilError(t, err)
	assert.Assert(t, os.SameFile(a, a2))
	_, err = os.Stat(filepath.Join(r.Dir, "dev/hidden"))
	assert.ErrorIs(t, err, os.ErrNotExist) // the kernel's directories are empty

	_, r = write(t, "etc/deep")
	entries, err := os.ReadDir(filepath.Join(r.Dir, "etc"))
	assert.NilError(t, err)
	assert.Equal(t, len(entries), 1)
}

// changed runs do in a copy and returns the layer it makes as "path type".
func changed(t *testing.T, do func(dir string), covered ...string) map[string]index.Type {
	t.Helper()
	tr, r := write(t, ".")
	b := tree.NewBuilder(tr)
	_, err := b.MkdirAll("mnt/point", 0o755, 0, 0, time.Unix(0, 0))
	assert.NilError(t, err)
	points, err := b.Index()
	assert.NilError(t, err)
	assert.NilError(t, r.Add(points, false))
	assert.NilError(t, r.Begin())
	do(r.Dir)
	ix, err := r.Changes(t.Context(), layer.ScanOptions{Below: below{tr}, Owners: ownMode()}, covered)
	assert.NilError(t, err)
	out := map[string]index.Type{}
	for e := range ix.Entries() {
		out[e.Path] = e.Type
	}
	return out
}

func TestChanges(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(dir string) error
		want map[string]index.Type
	}{
		{"nothing", func(string) error { return nil }, map[string]index.Type{}},
		{"a new file", func(d string) error { return os.WriteFile(d+"/tmp/x", nil, 0o644) },
			map[string]index.Type{"tmp": index.Directory, "tmp/x": index.Regular}},
		{"the same size and mtime", func(d string) error {
			at := time.Unix(1600000000, 0)
			if err := os.WriteFile(d+"/etc/b", []byte("ETC/B"), 0o644); err != nil {
				return err
			}
			return os.Chtimes(d+"/etc/b", at, at)
		}, map[string]index.Type{"etc": index.Directory, "etc/b": index.Regular}},
		{"one name of two", func(d string) error { return os.Chmod(d+"/etc/a2", 0o600) },
			map[string]index.Type{"etc": index.Directory, "etc/a": index.Regular, "etc/a2": index.Hardlink}},
		{"removed", func(d string) error { return os.RemoveAll(d + "/etc/deep") },
			map[string]index.Type{"etc": index.Directory, "etc/deep": index.Whiteout}},
		{"made and removed", func(d string) error {
			if err := os.WriteFile(d+"/etc/x", nil, 0o644); err != nil {
				return err
			}
			return os.Remove(d + "/etc/x")
		}, map[string]index.Type{}},
		{"a directory in place of a file", func(d string) error {
			if err := os.Remove(d + "/etc/b"); err != nil {
				return err
			}
			return os.Mkdir(d+"/etc/b", 0o755)
		}, map[string]index.Type{"etc": index.Directory, "etc/b": index.Directory}},
		{"a mode", func(d string) error { return os.Chmod(d+"/tmp", 0o700) }, map[string]index.Type{"tmp": index.Directory}},
		{"the kernel's", func(d string) error { return os.WriteFile(d+"/dev/x", nil, 0o644) }, map[string]index.Type{}},
		{"above a mount point", func(d string) error { return os.WriteFile(d+"/mnt/x", nil, 0o644) },
			map[string]index.Type{"mnt": index.Directory, "mnt/x": index.Regular}},
		{"covered", func(d string) error { return os.Remove(d + "/link") }, map[string]index.Type{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := changed(t, func(dir string) { assert.NilError(t, c.do(dir)) }, "/link", "/mnt/point")
			assert.DeepEqual(t, got, c.want)
		})
	}
}

func TestParseKind(t *testing.T) {
	for _, s := range snapshot.Kinds() {
		_, err := snapshot.ParseKind(s)
		assert.NilError(t, err)
	}
	_, err := snapshot.ParseKind("zfs")
	assert.ErrorContains(t, err, `"zfs"`)
}
