package layer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
)

// contents is a Source of the contents of a test, by path.
type contents map[string]string

func (c contents) Open(_ context.Context, e index.Entry) (io.ReadCloser, error) {
	s, ok := c[e.Path]
	if !ok {
		return nil, os.ErrNotExist
	}
	return io.NopCloser(strings.NewReader(s)), nil
}

// capability is a v2 cap_net_bind_service=ep, as setcap writes it.
const capabilityValue = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

var longName = strings.Repeat("long-", 40) + "name"

// sample is a layer with everything in it that a layer can have.
func sample(t testing.TB) (*index.Index, contents) {
	t.Helper()
	src := contents{}
	b := index.NewBuilder()
	sec := int64(1_000_000_000)
	add := func(e index.Entry) {
		sec += 1000
		e.MTime = time.Unix(sec, 0).UTC()
		if e.Mode == 0 && e.Path != "closed" {
			e.Mode = 0o644
		}
		assert.NilError(t, b.Add(e))
	}
	file := func(e index.Entry, content string) {
		e.Type, e.Size = index.Regular, int64(len(content))
		src[e.Path] = content
		add(e)
	}
	dir := func(path string, mode uint32, uid, gid int) {
		add(index.Entry{Path: path, Type: index.Directory, Mode: mode, UID: uid, GID: gid})
	}
	dir("etc", 0o755, 0, 0)
	file(index.Entry{Path: "etc/passwd"}, "root:x:0:0:root:/root:/bin/sh\n")
	file(index.Entry{Path: "etc/shadow", GID: 42, Mode: 0o640}, "root:*\n")
	dir("usr", 0o755, 0, 0)
	dir("usr/bin", 0o755, 0, 0)
	file(index.Entry{Path: "usr/bin/sudo", Mode: 0o4755}, "#!setuid")
	file(index.Entry{Path: "usr/bin/wall", Mode: 0o2755, GID: 5}, "#!setgid")
	file(index.Entry{Path: "usr/bin/ping", Mode: 0o755, Xattrs: map[string]string{"security.capability": capabilityValue}}, "#!ping")
	dir("usr/lib", 0o755, 0, 0)
	file(index.Entry{Path: "usr/lib/inode", UID: 1000, GID: 1000, Mode: 0o444}, "shared")
	add(index.Entry{Path: "usr/bin/further", Type: index.Hardlink, Link: "usr/lib/inode"})
	src["usr/bin/further"] = src["usr/lib/inode"] // the first name in index order becomes the file
	add(index.Entry{Path: "zz-last", Type: index.Hardlink, Link: "usr/lib/inode"})
	dir("links", 0o755, 33, 33)
	add(index.Entry{Path: "links/out", Type: index.Symlink, Link: "../../../../etc/passwd", UID: 1000, GID: 1001})
	add(index.Entry{Path: "links/abs", Type: index.Symlink, Link: "/proc/self/root"})
	add(index.Entry{Path: "links/second", Type: index.Hardlink, Link: "links/out"})
	dir("tmp", 0o1777, 0, 0)
	dir("closed", 0o000, 1, 2)
	file(index.Entry{Path: "closed/secret", Mode: 0o200, UID: 65534, GID: 65534}, "x")
	dir("read-only", 0o555, 1000, 0)
	dir("read-only/"+longName, 0o755, 0, 0)
	file(index.Entry{Path: "read-only/" + longName + "/" + longName}, "deep")
	file(index.Entry{Path: "ünïcode \n name", UID: 7}, "")
	file(index.Entry{Path: "xattrs", Mode: 0o400, UID: 9, Xattrs: map[string]string{
		"user.empty": "", "user.binary": "\x00\xff=\n", "user.overlay.opaque": "the image's own"}}, "x")
	dir("replaced", 0o755, 0, 0)
	dir("dev", 0o755, 0, 0)
	add(index.Entry{Path: "dev/null", Type: index.CharDevice, Mode: 0o666, Major: 1, Minor: 3})
	add(index.Entry{Path: "dev/sda", Type: index.BlockDevice, Mode: 0o660, GID: 6, Major: 8, Minor: 300})
	add(index.Entry{Path: "dev/null2", Type: index.Hardlink, Link: "dev/null"})
	add(index.Entry{Path: "fifo", Type: index.FIFO, Mode: 0o620, UID: 3, GID: 4})
	add(index.Entry{Path: "replaced/gone", Type: index.Whiteout})
	add(index.Entry{Path: "whited", Type: index.Whiteout})
	add(index.Entry{Path: "opaque", Type: index.Directory, Mode: 0o750, Opaque: true, Xattrs: map[string]string{"user.d": "1"}})
	file(index.Entry{Path: "opaque/new"}, strings.Repeat("0123456789abcdef", 40_000))
	ix, err := b.Build()
	assert.NilError(t, err)
	return ix, src
}

// list is an index as lines for comparison, without Offset.
func list(ix *index.Index) []string {
	lines := []string{}
	for e := range ix.Entries() {
		line := e.String()
		if e.Data != nil {
			line += fmt.Sprintf(" data %q", e.Data)
		}
		lines = append(lines, line)
	}
	return lines
}

func same(t testing.TB, got, want *index.Index, what string) {
	t.Helper()
	assert.Assert(t, cmp.Equal(list(got), list(want)), "%s\n%s", what, cmp.Diff(list(want), list(got)))
}

func tarOf(t testing.TB, ix *index.Index, src layer.Source) ([]byte, *index.Index) {
	t.Helper()
	var buf bytes.Buffer
	out, err := layer.WriteTar(t.Context(), &buf, ix, src)
	assert.NilError(t, err)
	return buf.Bytes(), out
}

func mkdir(t testing.TB, name ...string) string {
	t.Helper()
	dir := filepath.Join(append([]string{t.TempDir()}, name...)...)
	assert.NilError(t, os.MkdirAll(dir, 0o755))
	return dir
}

// scanned is the index of a directory form, with digests.
func scanned(t testing.TB, dir string, o layer.ScanOptions) *index.Index {
	t.Helper()
	ix, err := layer.Scan(t.Context(), dir, o)
	assert.NilError(t, err)
	ix, err = layer.Hash(t.Context(), ix, layer.DirSource(dir))
	assert.NilError(t, err)
	return ix
}

// formOf extracts a layer and returns its directory and owner table.
func formOf(t testing.TB, ix *index.Index, tar []byte, mode owners.Mode) (string, *owners.Table) {
	t.Helper()
	dir, table := mkdir(t, "form"), owners.NewTable()
	assert.NilError(t, layer.Extract(t.Context(), ix, bytes.NewReader(tar), dir, layer.ReadOptions{Owners: mode, Table: table}))
	return dir, table
}

func asError[T error](err error, target *T) bool { return errors.As(err, target) }

// readHashed is Read of a tar, with the digest of every file.
func readHashed(t *testing.T, data []byte, o layer.ReadOptions) (*index.Index, error) {
	t.Helper()
	ix, err := layer.Read(t.Context(), bytes.NewReader(data), o)
	if err != nil && !errors.Is(err, layer.ErrLoose) {
		return nil, err
	}
	ix, hashErr := layer.Hash(t.Context(), ix, layer.TarSource(bytes.NewReader(data)))
	assert.NilError(t, hashErr)
	return ix, err
}
