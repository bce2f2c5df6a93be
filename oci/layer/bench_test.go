package layer_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
)

// bigTree is a layer like a distribution's: 18,000 files in 2,000 directories, about 200 MB.
func bigTree(b *testing.B) (ix *index.Index, tar []byte) {
	b.Helper()
	r := rand.New(rand.NewSource(1))
	ib := index.NewBuilder()
	src := contents{}
	noise := make([]byte, 4<<20)
	_, _ = r.Read(noise[:2<<20]) // half of it compresses well
	mtime := time.Unix(1e9, 0)
	add := func(e index.Entry) {
		e.MTime = mtime
		assert.NilError(b, ib.Add(e))
	}
	for d := range 2000 {
		dir := fmt.Sprintf("top%02d", d%20)
		if d >= 20 {
			dir = fmt.Sprintf("%s/dir%04d", dir, d)
		}
		add(index.Entry{Path: dir, Type: index.Directory, Mode: 0o755})
		for f := range 9 {
			size := r.Intn(12 << 10)
			if f == 0 && d%40 == 0 {
				size = r.Intn(4 << 20)
			}
			e := index.Entry{Path: fmt.Sprintf("%s/file%d", dir, f), Type: index.Regular, Mode: 0o644, Size: int64(size)}
			at := r.Intn(len(noise) - size)
			src[e.Path] = string(noise[at : at+size])
			add(e)
		}
	}
	ix, err := ib.Build()
	assert.NilError(b, err)
	data, full := tarOf(b, ix, src)
	return full, data
}

// onTmpfs makes a directory in memory where there is one.
func onTmpfs(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "cairn-bench-")
	if err != nil {
		dir = b.TempDir()
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// BenchmarkUnpack compares Read and Extract with GNU tar.
func BenchmarkUnpack(b *testing.B) {
	ix, data := bigTree(b)
	root := onTmpfs(b)
	unpack := func(b *testing.B, f func(dir string) error) {
		b.SetBytes(int64(len(data)))
		n := 0
		for b.Loop() {
			dir := filepath.Join(root, fmt.Sprint(n))
			n++
			assert.NilError(b, os.Mkdir(dir, 0o755))
			assert.NilError(b, f(dir))
			b.StopTimer()
			assert.NilError(b, os.RemoveAll(dir))
			b.StartTimer()
		}
	}
	b.Run("index", func(b *testing.B) {
		unpack(b, func(string) error {
			_, err := layer.Read(b.Context(), bytes.NewReader(data), layer.ReadOptions{})
			return err
		})
	})
	b.Run("Read", func(b *testing.B) {
		unpack(b, func(dir string) error {
			_, err := layer.Read(b.Context(), bytes.NewReader(data), layer.ReadOptions{Dir: dir, Owners: owners.Record})
			return err
		})
	})
	b.Run("Extract", func(b *testing.B) {
		unpack(b, func(dir string) error {
			return layer.Extract(b.Context(), ix, bytes.NewReader(data), dir, layer.ReadOptions{Owners: owners.Record})
		})
	})
	b.Run("tar", func(b *testing.B) {
		unpack(b, func(dir string) error {
			cmd := exec.Command("tar", "-C", dir, "-xf", "-")
			cmd.Stdin = bytes.NewReader(data)
			return cmd.Run()
		})
	})
}

// BenchmarkPack compares Scan and Pack with GNU tar.
func BenchmarkPack(b *testing.B) {
	ix, data := bigTree(b)
	dir := filepath.Join(onTmpfs(b), "d")
	assert.NilError(b, os.Mkdir(dir, 0o755))
	assert.NilError(b, layer.Extract(b.Context(), ix, bytes.NewReader(data), dir, layer.ReadOptions{Owners: owners.Record}))
	b.Run("Scan", func(b *testing.B) {
		for b.Loop() {
			_, err := layer.Scan(b.Context(), dir, layer.ScanOptions{Owners: owners.Record})
			assert.NilError(b, err)
		}
	})
	for _, alg := range []compress.Algorithm{compress.None, compress.Gzip, compress.Zstd} {
		b.Run(string(alg), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				_, err := layer.Pack(b.Context(), io.Discard, ix, layer.DirSource(dir), compress.Options{Algorithm: alg})
				assert.NilError(b, err)
			}
		})
	}
	b.Run("Hash", func(b *testing.B) {
		bare, err := layer.Scan(b.Context(), dir, layer.ScanOptions{Owners: owners.Record})
		assert.NilError(b, err)
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			_, err := layer.Hash(b.Context(), bare, layer.DirSource(dir))
			assert.NilError(b, err)
		}
	})
	b.Run("tar", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			cmd := exec.Command("sh", "-c", `tar -C "$0" -cf - . | cat >/dev/null`, dir)
			assert.NilError(b, cmd.Run())
		}
	})
}
