package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
)

// headersOf dumps a tar for comparison.
func headersOf(t testing.TB, data []byte) []string {
	t.Helper()
	lines := []string{}
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return lines
		}
		assert.NilError(t, err)
		name, xattrs := h.Name, []string{}
		if len(name) > 40 {
			name = name[:40] + "..."
		}
		for k := range h.PAXRecords {
			xattrs = append(xattrs, k)
		}
		slices.Sort(xattrs)
		format := h.Format.String()
		if format == "PAX" && len(xattrs) == 0 {
			format = "PAX for name or time"
		}
		assert.Equal(t, h.Uname+h.Gname, "")
		assert.Assert(t, h.AccessTime.IsZero() && h.ChangeTime.IsZero())
		lines = append(lines, fmt.Sprintf("%c %s %04o %d:%d %d %d %s %d,%d %s %v",
			h.Typeflag, name, h.Mode, h.Uid, h.Gid, h.Size, h.ModTime.Unix(), h.Linkname, h.Devmajor, h.Devminor, format, xattrs))
	}
}

// TestWriteTarGolden shows the tar of everything. A change of it changes the digest of every image: the diffID below says so.
func TestWriteTarGolden(t *testing.T) {
	ix, src := sample(t)
	data, full := tarOf(t, ix, src)
	golden := filepath.Join("testdata", "sample.tar.txt")
	got := strings.Join(headersOf(t, data), "\n") + "\n" + digest.FromBytes(data).String() + "\n"
	if os.Getenv("UPDATE") != "" {
		assert.NilError(t, os.MkdirAll("testdata", 0o755))
		assert.NilError(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	assert.NilError(t, err)
	assert.Equal(t, got, string(want))
	for e := range full.Entries() {
		if e.Type == index.Regular {
			assert.Equal(t, string(data[e.Offset:e.Offset+e.Size]), src[e.Path])
			assert.Equal(t, e.Digest, digest.FromString(src[e.Path]))
		}
	}
	again, _ := tarOf(t, full, layer.TarSource(bytes.NewReader(data)))
	assert.Assert(t, bytes.Equal(again, data), "made again from its own bytes")
}

// TestSystemTarReads has GNU tar list what we wrote.
func TestSystemTarReads(t *testing.T) {
	ix, src := sample(t)
	data, _ := tarOf(t, ix, src)
	cmd := exec.Command("tar", "-tf", "-")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err, "%s", out)
	assert.Equal(t, strings.Count(string(out), "\n"), len(headersOf(t, data)))
}

func TestEmptyLayerIsATar(t *testing.T) {
	ix, err := index.NewBuilder().Build()
	assert.NilError(t, err)
	data, _ := tarOf(t, ix, contents{})
	assert.Equal(t, len(data), 1024)
}

func oneFile(t testing.TB, size int64, d digest.Digest) *index.Index {
	b := index.NewBuilder()
	assert.NilError(t, b.Add(index.Entry{Path: "f", Type: index.Regular, Size: size, Digest: d}))
	ix, err := b.Build()
	assert.NilError(t, err)
	return ix
}

func TestChangedContentIsAnError(t *testing.T) {
	src := contents{"f": "content"}
	for name, ix := range map[string]*index.Index{
		"shrunk": oneFile(t, 8, ""), "grown": oneFile(t, 6, ""), "other": oneFile(t, 7, digest.FromString("Content")),
	} {
		var changed *layer.ChangedError
		_, err := layer.WriteTar(t.Context(), io.Discard, ix, src)
		assert.Assert(t, errors.As(err, &changed), "%s: %v", name, err)
		assert.Equal(t, changed.Path, "f")
		_, err = layer.Pack(t.Context(), io.Discard, ix, src, compress.Options{})
		assert.Assert(t, errors.As(err, &changed), "%s: %v", name, err)
		if name != "other" {
			_, err = layer.Hash(t.Context(), ix, src)
			assert.Assert(t, errors.As(err, &changed), "%s: %v", name, err)
		}
	}
	_, err := layer.Hash(t.Context(), oneFile(t, 7, ""), contents{})
	assert.Assert(t, errors.Is(err, os.ErrNotExist))
}

func TestDirSourceFollowsNothing(t *testing.T) {
	dir := mkdir(t, "d")
	assert.NilError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "f")))
	assert.NilError(t, os.Symlink("/etc", filepath.Join(dir, "etc")))
	for _, path := range []string{"f", "etc/passwd", "../d/f", "."} {
		_, err := layer.DirSource(dir).Open(t.Context(), index.Entry{Path: path, Type: index.Regular})
		assert.Assert(t, err != nil, path)
	}
	src := layer.DirSource(filepath.Join(dir, "no"))
	_, err := src.Open(t.Context(), index.Entry{Path: "x", Type: index.Regular})
	assert.Assert(t, errors.Is(err, os.ErrNotExist))
}

func TestPack(t *testing.T) {
	ix, src := sample(t)
	data, full := tarOf(t, ix, src)
	for _, alg := range []compress.Algorithm{compress.None, compress.Gzip, compress.Zstd} {
		var blob, tee bytes.Buffer
		p, err := layer.Pack(t.Context(), &blob, ix, src, compress.Options{Algorithm: alg}, &tee)
		assert.NilError(t, err)
		assert.Equal(t, p.DiffID, digest.FromBytes(data), string(alg))
		assert.Equal(t, p.Digest, digest.FromBytes(blob.Bytes()))
		assert.Equal(t, p.Size, int64(blob.Len()))
		assert.Equal(t, p.TarSize, int64(len(data)))
		assert.Assert(t, bytes.Equal(tee.Bytes(), data))
		same(t, p.Index, full, string(alg))
		r, got, err := compress.NewReader(&blob)
		assert.NilError(t, err)
		assert.Equal(t, got, alg)
		unpacked, err := io.ReadAll(r)
		assert.NilError(t, err)
		assert.Assert(t, bytes.Equal(unpacked, data))
	}
}

// fullDisk fails after n bytes.
type fullDisk struct{ n int }

func (w *fullDisk) Write(p []byte) (int, error) {
	if w.n -= len(p); w.n < 0 {
		return 0, os.ErrPermission
	}
	return len(p), nil
}

func TestPackReportsTheWritersError(t *testing.T) {
	src := contents{"f": strings.Repeat("0123456789", 500_000)}
	ix := oneFile(t, 5_000_000, "")
	for _, n := range []int{0, 100_000, 4_999_999} {
		_, err := layer.Pack(t.Context(), &fullDisk{n}, ix, src, compress.Options{Algorithm: compress.None})
		assert.Assert(t, errors.Is(err, os.ErrPermission), "%v", err)
		_, err = layer.Pack(t.Context(), io.Discard, ix, src, compress.Options{}, &fullDisk{n})
		assert.Assert(t, errors.Is(err, os.ErrPermission), "%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := layer.Pack(ctx, io.Discard, ix, src, compress.Options{})
	assert.Assert(t, errors.Is(err, context.Canceled))
}

func TestServeAll(t *testing.T) {
	ix, src := sample(t)
	data, full := tarOf(t, ix, src)
	var wanted []index.Entry
	for e := range full.Entries() {
		if e.Type == index.Regular && e.Path != "usr/bin/sudo" || e.Path == "zz-last" {
			wanted = append(wanted, e)
		}
	}
	slices.Reverse(wanted)
	got := map[string]string{}
	assert.NilError(t, layer.ServeAll(t.Context(), full, wanted, bytes.NewReader(data), func(e index.Entry, r io.Reader) error {
		if e.Path == "etc/shadow" {
			got[e.Path] = src[e.Path] // fn need not read
			return nil
		}
		b, err := io.ReadAll(r)
		got[e.Path] = string(b)
		return err
	}))
	want := map[string]string{}
	for path, content := range src {
		want[path] = content
	}
	delete(want, "usr/bin/sudo")
	delete(want, "usr/lib/inode")   // a name, not the inode
	delete(want, "usr/bin/further") // served as zz-last, the first wanted name
	want["zz-last"] = "shared"
	assert.DeepEqual(t, got, want)
	err := layer.ServeAll(t.Context(), full, wanted, bytes.NewReader(data[:2000]), func(_ index.Entry, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	})
	assert.Assert(t, errors.Is(err, io.ErrUnexpectedEOF), "%v", err)
	d, _ := full.Find("dev/null")
	assert.Assert(t, layer.ServeAll(t.Context(), full, []index.Entry{full.At(d)}, nil, nil) != nil)
}

// TestForeignSparseFiles reads what GNU tar -S writes, in each of its formats, by every way there is.
func TestForeignSparseFiles(t *testing.T) {
	from := mkdir(t, "from")
	big, err := os.Create(filepath.Join(from, "b-sparse"))
	assert.NilError(t, err)
	for _, at := range []int64{100_000, 3_000_000, 9_999_996} {
		_, err := big.WriteAt([]byte("data"), at)
		assert.NilError(t, err)
	}
	assert.NilError(t, big.Truncate(20_000_000))
	assert.NilError(t, big.Close())
	assert.NilError(t, os.WriteFile(filepath.Join(from, "a-before"), []byte("before"), 0o644))
	assert.NilError(t, os.WriteFile(filepath.Join(from, "c-after"), []byte("after"), 0o644))
	want, err := layer.Scan(t.Context(), from, layer.ScanOptions{Owners: owners.Record})
	assert.NilError(t, err)
	want, err = layer.Hash(t.Context(), want, layer.DirSource(from))
	assert.NilError(t, err)
	for _, format := range [][]string{{"--format=gnu"}, {"--format=pax", "--sparse-version=0.0"}, {"--format=pax", "--sparse-version=0.1"}, {"--format=pax", "--sparse-version=1.0"}} {
		args := append([]string{"-C", from, "-S", "--owner=0", "--group=0", "-cf", "-", "a-before", "b-sparse", "c-after"}, format...)
		data, err := exec.Command("tar", args...).Output()
		assert.NilError(t, err)
		assert.Assert(t, len(data) < 1_000_000)
		for _, o := range []layer.ReadOptions{{}, {Dir: mkdir(t, "d")}} {
			o.Owners = owners.Record
			ix, err := layer.Read(t.Context(), bytes.NewReader(data), o)
			assert.NilError(t, err)
			ix, err = layer.Hash(t.Context(), ix, layer.TarSource(bytes.NewReader(data)))
			assert.NilError(t, err)
			same(t, ix, want, fmt.Sprint(format, o.Dir))
			if o.Dir != "" {
				same(t, scanned(t, o.Dir, layer.ScanOptions{Owners: owners.Record}), want, "the directory")
				dir, _ := formOf(t, ix, data, owners.Record)
				same(t, scanned(t, dir, layer.ScanOptions{Owners: owners.Record}), want, "extracted")
			}
		}
	}
}
