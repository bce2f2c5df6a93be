package copier

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cairnbuild/cairn/dockerfile/ignore"
	"github.com/cairnbuild/cairn/internal/contextdir"
	"github.com/cairnbuild/cairn/oci/layer"
	"gotest.tools/v3/assert"
)

var _ layer.Source = (*Result)(nil)

// TestPackedLayerIsTheIndex packs layers and reads them back.
func TestPackedLayerIsTheIndex(t *testing.T) {
	src := contextOf(t, map[string]string{"d/a": "1", "d/b": "=> d/a", "d/l": "-> a", "d/e/": "", "t.tar": tarOf(t, reg("x", "y"), th('1', "z", 0o644, "x"))})
	r := Request{Sources: []Item{{Pattern: "d"}, {Pattern: "t.tar", Unpack: true}, InlineItem("EOF", []byte("text"), now)}, From: src, Dest: "/s/new/"}
	_, res := apply(t, buildTree(t, "real d 700 5:6\ns l 777 0:0 real"), r)
	var buf bytes.Buffer
	out, err := layer.WriteTar(t.Context(), &buf, res.Index, res)
	assert.NilError(t, err)
	assert.Equal(t, out.ID(), res.Index.ID())
	tar := buf.Bytes()
	back, err := layer.Read(t.Context(), &buf, layer.ReadOptions{})
	assert.NilError(t, err)
	back, err = layer.Hash(t.Context(), back, layer.TarSource(bytes.NewReader(tar)))
	assert.NilError(t, err)
	assert.Equal(t, back.ID(), res.Index.ID())
}

func TestChangedContextFailsThePacking(t *testing.T) {
	dir := dirOf(t, map[string]string{"a": "1", "b": "2"})
	src, err := contextdir.Open(dir, nil, contextdir.Options{})
	assert.NilError(t, err)
	defer src.Close()
	_, res := apply(t, nil, Request{Sources: items("."), From: src, Dest: "/"})
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "b"), []byte("3"), 0o644))
	_, err = layer.WriteTar(t.Context(), io.Discard, res.Index, res)
	var changed *contextdir.ChangedError
	assert.Assert(t, errors.As(err, &changed), "%v", err)
}

// BenchmarkCopyContext is COPY . /app of 30,000 files that have not changed: the key alone, then key and layer.
func BenchmarkCopyContext(b *testing.B) {
	dir := b.TempDir()
	for i := range 30000 {
		p := filepath.Join(dir, fmt.Sprintf("d%03d/e%d/file-%05d.js", i%300, i%7, i))
		assert.NilError(b, os.MkdirAll(filepath.Dir(p), 0o755))
		assert.NilError(b, os.WriteFile(p, []byte("x"), 0o644))
	}
	time.Sleep(2100 * time.Millisecond)
	cache := filepath.Join(b.TempDir(), "cache")
	ig, err := ignore.New([]string{".git", "**/*.log", "**/__pycache__", "dist", "tmp/*", "!tmp/keep", "*.md", "coverage", ".env*", "**/.DS_Store"})
	assert.NilError(b, err)
	for _, bc := range []struct {
		name  string
		ig    *ignore.Matcher
		layer bool
	}{{"key", nil, false}, {"key with .dockerignore", ig, false}, {"layer", nil, true}} {
		b.Run(bc.name, func(b *testing.B) {
			for b.Loop() {
				src, err := contextdir.Open(dir, bc.ig, contextdir.Options{StatCache: cache})
				assert.NilError(b, err)
				r := Request{Sources: items("."), From: src, Dest: "/app"}
				g, err := Gather(b.Context(), r)
				assert.NilError(b, err)
				for in := range g.Inputs() {
					in.Digest()
				}
				if bc.layer {
					_, err = g.Apply(b.Context(), nil)
					assert.NilError(b, err)
				}
				assert.NilError(b, src.Close())
			}
		})
	}
}
