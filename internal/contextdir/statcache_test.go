package contextdir

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"gotest.tools/v3/assert"
)

func TestStatCacheRemembersOnlyWhatHasSettled(t *testing.T) {
	ctx := t.Context()
	dir := tree(t, map[string]string{"old": "1", "fresh": "2"})
	cache := filepath.Join(t.TempDir(), "cache")
	age(t, filepath.Join(dir, "old"))
	write(t, filepath.Join(dir, "fresh"), "2")
	c := open(t, dir, nil, cache)
	for _, n := range []string{"old", "fresh"} {
		_, err := c.Digest(ctx, n)
		assert.NilError(t, err)
	}
	assert.NilError(t, c.Close())

	c = open(t, dir, nil, cache)
	old, err := c.Lookup("old")
	assert.NilError(t, err)
	assert.Equal(t, old.Digest, digest.FromString("1"), "known without reading")
	fresh, err := c.Lookup("fresh")
	assert.NilError(t, err)
	assert.Equal(t, fresh.Digest, digest.Digest(""))
}

func TestStatCacheNoticesEveryChange(t *testing.T) {
	ctx := t.Context()
	dir := tree(t, map[string]string{"f": "one"})
	name := filepath.Join(dir, "f")
	cache := filepath.Join(t.TempDir(), "cache")
	age(t, name)
	fi, err := os.Stat(name)
	assert.NilError(t, err)
	c := open(t, dir, nil, cache)
	_, err = c.Digest(ctx, "f")
	assert.NilError(t, err)
	assert.NilError(t, c.Close())

	// Same size and same mtime, as a careless tool would leave it: the ctime tells.
	write(t, name, "two")
	assert.NilError(t, os.Chtimes(name, fi.ModTime(), fi.ModTime()))
	d, err := open(t, dir, nil, cache).Digest(ctx, "f")
	assert.NilError(t, err)
	assert.Equal(t, d, digest.FromString("two"))
}

func rec(dev, ino uint64, size int64) record {
	return record{id: identity{dev: dev, ino: ino, size: size}, sum: [32]byte{byte(ino)}, capability: []byte("cap")}
}

func TestStatCacheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	assert.NilError(t, writeRecords(path, []record{rec(1, 2, 3), rec(1, 5, 6), rec(2, 1, 9)}))
	c := openStatCache(path)
	for _, want := range []record{rec(1, 2, 3), rec(1, 5, 6), rec(2, 1, 9)} {
		sum, capability, ok := c.lookup(want.id)
		assert.Assert(t, ok)
		assert.Equal(t, sum, want.sum)
		assert.Equal(t, string(capability), "cap")
		other := want.id
		other.size++
		_, _, ok = c.lookup(other)
		assert.Assert(t, !ok)
	}
	data, err := os.ReadFile(path)
	assert.NilError(t, err)
	for i := range data { // any damaged byte makes it an empty cache, never a wrong answer
		bad := append([]byte(nil), data...)
		bad[i] ^= 0x40
		assert.NilError(t, os.WriteFile(path, bad, 0o600))
		assert.Equal(t, len(readRecords(path)), 0, "byte %d", i)
	}
	for _, n := range []int{0, 5, 12, len(data) - 1} { // nor does a torn one
		assert.NilError(t, os.WriteFile(path, data[:n], 0o600))
		assert.Equal(t, len(readRecords(path)), 0)
	}
}

func TestStatCacheWritersAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				c := openStatCache(path)
				c.add(identity{dev: uint64(w), ino: uint64(i)}, [32]byte{byte(w)}, nil)
				if err := c.save(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	records := readRecords(path)
	assert.Assert(t, len(records) > 0 && len(records)%recordSize == 0)
	left, err := filepath.Glob(path + "*")
	assert.NilError(t, err)
	assert.DeepEqual(t, left, []string{path})
}

func TestStatCacheMergesAndReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	a, b := openStatCache(path), openStatCache(path)
	a.add(identity{ino: 1, size: 1}, [32]byte{1}, nil)
	assert.NilError(t, a.save())
	b.add(identity{ino: 2}, [32]byte{2}, nil)
	b.add(identity{ino: 1, size: 7}, [32]byte{7}, nil)
	assert.NilError(t, b.save())
	c := openStatCache(path)
	_, _, ok := c.lookup(identity{ino: 1, size: 1})
	assert.Assert(t, !ok)
	_, _, ok = c.lookup(identity{ino: 1, size: 7})
	assert.Assert(t, ok)
	_, _, ok = c.lookup(identity{ino: 2})
	assert.Assert(t, ok)
}

func BenchmarkWarmContext(b *testing.B) {
	files := map[string]string{}
	for i := range 30000 {
		files[fmt.Sprintf("d%03d/e%d/file-%05d.js", i%300, i%7, i)] = "x"
	}
	dir := tree(b, files)
	cache := filepath.Join(b.TempDir(), "cache")
	time.Sleep(settleTime + 100*time.Millisecond)
	run := func() {
		c, err := Open(dir, nil, Options{StatCache: cache})
		assert.NilError(b, err)
		var all []File
		assert.NilError(b, c.Walk(b.Context(), ".", func(f File) error { all = append(all, f); return nil }))
		assert.NilError(b, c.Fill(b.Context(), all))
		assert.NilError(b, c.Close())
	}
	run()
	b.Run("cairn", func(b *testing.B) {
		for b.Loop() {
			run()
		}
	})
	b.Run("filepath.Walk", func(b *testing.B) {
		for b.Loop() {
			assert.NilError(b, filepath.Walk(dir, func(string, os.FileInfo, error) error { return nil }))
		}
	})
}
