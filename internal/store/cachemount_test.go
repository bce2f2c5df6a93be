package store

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

// A shared cache has several users at once: the second must not see, and not be able to tamper with, what the first one's builder
// still fills with its own rights.
func TestCacheIsNeverSeenHalfMade(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "root"))
	assert.NilError(t, err)
	defer s.Close()
	filling := make(chan struct{})
	var made sync.Map
	use := func(name string, delay time.Duration) *CacheLease {
		lease, err := s.CacheMount(t.Context(), "id", "shared", func() (string, error) {
			made.Store(name, true)
			dir := filepath.Join(s.path("tmp"), name)
			if err := os.Mkdir(dir, 0o755); err != nil {
				return "", err
			}
			close(filling)
			time.Sleep(delay)
			return dir, os.WriteFile(filepath.Join(dir, "content"), []byte(name), 0o644)
		})
		assert.Check(t, err)
		return lease
	}
	var first *CacheLease
	var wg sync.WaitGroup
	wg.Go(func() { first = use("first", 300*time.Millisecond) })
	<-filling
	second := use("second", 0)
	data, err := os.ReadFile(filepath.Join(second.Path, "content"))
	assert.NilError(t, err)
	assert.Equal(t, string(data), "first")
	wg.Wait()
	assert.Equal(t, first.Path, second.Path)
	_, again := made.Load("second")
	assert.Assert(t, !again)
	first.Release()
	second.Release()
}

// A cache whose filling failed is none.
func TestCacheThatCouldNotBeMade(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "root"))
	assert.NilError(t, err)
	defer s.Close()
	_, err = s.CacheMount(t.Context(), "id", "locked", func() (string, error) { return "", os.ErrInvalid })
	assert.ErrorIs(t, err, os.ErrInvalid)
	lease, err := s.CacheMount(t.Context(), "id", "locked", nil)
	assert.NilError(t, err)
	lease.Release()
	info, err := os.Stat(lease.Path)
	assert.NilError(t, err)
	assert.Assert(t, info.IsDir())
}
