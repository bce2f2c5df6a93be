package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
)

// runLayer adds a layer as a RUN leaves it.
func runLayer(t *testing.T, s *Store, files ...string) *Layer {
	t.Helper()
	temp, err := s.TempDir("run")
	assert.NilError(t, err)
	defer temp.Close()
	dir := filepath.Join(temp.Path(), "upper")
	assert.NilError(t, os.Mkdir(dir, 0o755))
	for _, file := range files {
		path, text, _ := strings.Cut(file, ": ")
		assert.NilError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o755))
		assert.NilError(t, os.WriteFile(filepath.Join(dir, path), []byte(text), 0o644))
	}
	ix, err := layer.Scan(t.Context(), dir, layer.ScanOptions{Owners: s.ownersMode()})
	assert.NilError(t, err)
	ix, err = layer.Hash(t.Context(), ix, layer.DirSource(dir))
	assert.NilError(t, err)
	l, err := s.AddLayer(t.Context(), LayerContent{Index: ix, Dir: dir})
	assert.NilError(t, err)
	t.Cleanup(l.Release)
	return l
}

func TestFormsAreMadeFromEachOther(t *testing.T) {
	s := newDirStore(t)
	ctx := t.Context()
	l := runLayer(t, s, "app/main: M", "etc/conf: C")
	assert.Equal(t, l.DiffID(), digest.Digest(""))
	assert.Equal(t, len(l.Blobs()), 0)
	gz, err := l.EnsureBlob(ctx, compress.Options{})
	assert.NilError(t, err)
	assert.Equal(t, gz.DiffID, l.DiffID())
	zst, err := l.EnsureBlob(ctx, compress.Options{Algorithm: compress.Zstd})
	assert.NilError(t, err)
	assert.Equal(t, zst.DiffID, gz.DiffID)
	assert.Assert(t, zst.Digest != gz.Digest)
	same, err := l.EnsureBlob(ctx, compress.Options{})
	assert.NilError(t, err)
	assert.Equal(t, same.Digest, gz.Digest)
	better, err := l.EnsureBlob(ctx, compress.Options{Level: 9})
	assert.NilError(t, err)
	again, err := l.EnsureBlob(ctx, compress.Options{Level: 9})
	assert.NilError(t, err)
	assert.Equal(t, again.Digest, better.Digest)
	found, ok := s.LayerByDiffID(gz.DiffID)
	assert.Assert(t, ok)
	found.Release()
	found, ok = s.LayerByContentID(l.ContentID())
	assert.Assert(t, ok)
	found.Release()

	// The blob is lost: packed again from the directory it is the same.
	assert.NilError(t, os.Remove(s.blobPath(gz.Digest)))
	again, err = l.EnsureBlob(ctx, compress.Options{Level: 6})
	assert.NilError(t, err)
	assert.Equal(t, again.Digest, gz.Digest)

	// The directory is lost: made again from the blob it has the same index.
	dir, ok := l.Dir(s.Form())
	assert.Assert(t, ok)
	assert.NilError(t, os.RemoveAll(dir))
	assert.Equal(t, readFile(t, l, "app/main"), "M")
	dir, err = l.EnsureDir(ctx, nil)
	assert.NilError(t, err)
	ix, err := layer.Scan(ctx, dir, layer.ScanOptions{Owners: s.ownersMode()})
	assert.NilError(t, err)
	ix, err = layer.Hash(ctx, ix, layer.DirSource(dir))
	assert.NilError(t, err)
	assert.Equal(t, ix.ID().Encoded(), l.ID())

	// Both are lost.
	assert.NilError(t, os.RemoveAll(dir))
	for _, b := range l.Blobs() {
		assert.NilError(t, os.Remove(s.blobPath(b.Digest)))
	}
	_, err = l.EnsureDir(ctx, nil)
	assert.Assert(t, errors.Is(err, fs.ErrNotExist), "%v", err)
	_, err = l.EnsureBlob(ctx, compress.Options{})
	assert.Assert(t, errors.Is(err, fs.ErrNotExist), "%v", err)
	key := digest.FromString("key")
	assert.NilError(t, s.PutStep(Step{Key: key, Layer: l.ID()}))
	_, ok = s.LookupStep(key)
	assert.Assert(t, !ok, "a step whose result is lost is taken for cached")
}

func TestDamagedLayerBlobIsAMiss(t *testing.T) {
	s := newDirStore(t)
	ctx := t.Context()
	blob := gzipped(t, tarOf(t, "a: "+strings.Repeat("A", 10000)))
	l := ingest(t, s, blob, IngestOptions{})
	damaged := bytes.Clone(blob)
	damaged[len(damaged)-3] ^= 1 // in gzip's length of the content
	assert.NilError(t, replaceWith(s.blobPath(digest.FromBytes(blob)), string(damaged)))
	_, err := l.EnsureDir(ctx, nil)
	assert.Assert(t, err != nil)
	_, ok := l.Dir(s.Form())
	assert.Assert(t, !ok)
	l = ingest(t, s, blob, IngestOptions{})
	_, err = l.EnsureDir(ctx, nil)
	assert.NilError(t, err)
}

func TestForeignBlobIsOnlyRecompressed(t *testing.T) {
	s := newDirStore(t)
	ctx := t.Context()
	blob := gzipped(t, tarOf(t, "b: B", "a: A")) // in an order that is not ours
	l := ingest(t, s, blob, IngestOptions{Extract: true})
	zst, err := l.EnsureBlob(ctx, compress.Options{Algorithm: compress.Zstd})
	assert.NilError(t, err)
	assert.Equal(t, zst.DiffID, l.DiffID())
	raw, err := l.EnsureBlob(ctx, compress.Options{Algorithm: compress.None})
	assert.NilError(t, err)
	assert.Equal(t, raw.Digest, l.DiffID())
	assert.Equal(t, l.Blobs()[0].Digest, digest.FromBytes(blob), "theirs is not the first any more")
	for _, b := range l.Blobs() {
		assert.NilError(t, os.Remove(s.blobPath(b.Digest)))
	}
	_, err = l.EnsureBlob(ctx, compress.Options{})
	assert.Assert(t, errors.Is(err, fs.ErrNotExist), "%v", err)
}

// nameSource gives every file its name for a content.
type nameSource struct{}

func (nameSource) Open(_ context.Context, e index.Entry) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(e.Path)), nil
}

func TestOutsideTheNamespaceDirectoriesAreNotForUse(t *testing.T) {
	inner := newDirStore(t)
	ctx := t.Context()
	l := runLayer(t, inner, "a: A")
	key := digest.FromString("key")
	assert.NilError(t, inner.PutStep(Step{Key: key, Layer: l.ID()}))

	outer := openStore(t, inner.root)
	outer.host.form = ""
	_, ok := outer.LookupStep(key)
	assert.Assert(t, ok, "what root in the namespace can use is not cached outside")
	o, err := outer.Layer(l.ID())
	assert.NilError(t, err)
	defer o.Release()
	assert.Assert(t, !o.HasContent())
	_, err = o.EnsureDir(ctx, nil)
	assert.Assert(t, errors.Is(err, ErrNeedsNamespace), "%v", err)
	_, err = o.EnsureBlob(ctx, compress.Options{})
	assert.Assert(t, errors.Is(err, ErrNeedsNamespace), "%v", err)
	_, err = o.Source(ctx)
	assert.Assert(t, errors.Is(err, ErrNeedsNamespace), "%v", err)

	another := openStore(t, inner.root)
	another.host.form = "chown of another map"
	_, ok = another.LookupStep(key)
	assert.Assert(t, !ok, "a directory made under another id map is no result")

	_, err = l.EnsureBlob(ctx, compress.Options{})
	assert.NilError(t, err)
	_, ok = another.LookupStep(key)
	assert.Assert(t, ok)
	if os.Geteuid() != 0 {
		return // nobody else can give files to the ids of another map
	}
	a, err := another.Layer(l.ID())
	assert.NilError(t, err)
	defer a.Release()
	dir, err := a.EnsureDir(ctx, nil)
	assert.NilError(t, err)
	mine, ok := l.Dir(inner.Form())
	assert.Assert(t, ok, "the directory of one id map was lost to that of another")
	assert.Assert(t, mine != dir)
}

func TestCheckMakesALostLayerBlobAnew(t *testing.T) {
	s := newDirStore(t)
	ctx := t.Context()
	l := runLayer(t, s, "a: A")
	b, err := l.EnsureBlob(ctx, compress.Options{Algorithm: compress.Zstd})
	assert.NilError(t, err)
	img := oci.Image{Layers: []oci.Layer{b}}
	img.Config.Platform = oci.HostPlatform()
	img.Config.RootFS.Type, img.Config.RootFS.DiffIDs = "layers", []digest.Digest{b.DiffID}
	img, err = oci.WriteImage(ctx, s, img)
	assert.NilError(t, err)
	assert.NilError(t, s.Tag(ctx, ref(t, "me/x"), img.Manifest))
	assert.NilError(t, replaceWith(s.blobPath(b.Digest), "damaged"))
	report, err := s.Check(ctx, true)
	assert.NilError(t, err)
	assert.Equal(t, len(report.Problems), 2)
	for _, p := range report.Problems {
		assert.Check(t, p.Repaired, "%s: %v", p.What, p.Err)
	}
	report, err = s.Check(ctx, false)
	assert.NilError(t, err)
	assert.Equal(t, len(report.Problems), 0, "%v", report.Problems)
}

func TestCollectKeepsTheLayersOfImages(t *testing.T) {
	root := filepath.Join(t.TempDir(), "store")
	s := dirStore(t, root)
	ctx := t.Context()
	base := ingest(t, s, gzipped(t, tarOf(t, "usr/", "usr/bin/", "bin -> usr/bin")), IngestOptions{})
	top := ingest(t, s, gzipped(t, tarOf(t, "bin/new: N")), IngestOptions{Below: On(base)})
	spare := ingest(t, s, gzipped(t, tarOf(t, "spare: S")), IngestOptions{})
	img := oci.Image{Layers: []oci.Layer{base.Blobs()[0], top.Blobs()[0]}}
	img.Config.Platform = oci.HostPlatform()
	img.Config.RootFS.Type, img.Config.RootFS.DiffIDs = "layers", []digest.Digest{base.DiffID(), top.DiffID()}
	img, err := oci.WriteImage(ctx, s, img)
	assert.NilError(t, err)
	assert.NilError(t, s.Tag(ctx, ref(t, "me/x"), img.Manifest))
	assert.NilError(t, s.Close())

	s = dirStore(t, root)
	_, err = s.Collect(ctx, CollectOptions{})
	assert.NilError(t, err)
	assert.Assert(t, hasLayer(s, base.ID()) && hasLayer(s, top.ID()) && !hasLayer(s, spare.ID()))
	b, err := s.FindLayer(ctx, img.Layers[0].DiffID, nil)
	assert.NilError(t, err)
	defer b.Release()
	n, err := s.FindLayer(ctx, img.Layers[1].DiffID, []*Layer{b})
	assert.NilError(t, err)
	defer n.Release()
	assert.Equal(t, readFile(t, n, "usr/bin/new"), "N")
	assert.Equal(t, n.ID(), top.ID())
}
