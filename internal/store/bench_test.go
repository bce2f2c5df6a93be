package store

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/oci/index"
)

// What a fully cached build of 30 steps asks of the store, from a cold process.
func BenchmarkLookupOfCachedBuild(b *testing.B) {
	root := filepath.Join(b.TempDir(), "store")
	s, err := Open(b.Context(), root)
	assert.NilError(b, err)
	for step := range 30 {
		ib := index.NewBuilder()
		for i := range 1000 {
			name := fmt.Sprintf("file-%d-%d", step, i)
			assert.NilError(b, ib.Add(index.Entry{Path: name, Type: index.Regular, Digest: digest.FromString(name), Size: 1, Offset: -1}))
		}
		ix, err := ib.Build()
		assert.NilError(b, err)
		l, err := s.AddLayer(b.Context(), LayerContent{Index: ix})
		assert.NilError(b, err)
		assert.NilError(b, s.PutStep(Step{Key: digest.FromString(fmt.Sprint(step)), Layer: l.ID()}))
	}
	assert.NilError(b, s.Close())
	for b.Loop() {
		s, err := Open(b.Context(), root)
		assert.NilError(b, err)
		for step := range 30 {
			if _, ok := s.LookupStep(digest.FromString(fmt.Sprint(step))); !ok {
				b.Fatal("not cached")
			}
		}
		assert.NilError(b, s.Close())
	}
}
