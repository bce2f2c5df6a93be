package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"gotest.tools/v3/assert"
)

// layerWithDir adds a layer with a directory and returns its id; nothing holds it.
func layerWithDir(t *testing.T, root, name string) string {
	t.Helper()
	s := dirStore(t, root)
	defer s.Close()
	temp, err := s.TempDir("run")
	assert.NilError(t, err)
	defer temp.Close()
	dir := filepath.Join(temp.Path(), "upper")
	assert.NilError(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o755))
	assert.NilError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644))
	l, err := s.AddLayer(t.Context(), LayerContent{Index: indexOf(t, name), Dir: dir})
	assert.NilError(t, err)
	assert.NilError(t, s.PutStep(Step{Key: digest.FromString(name), Layer: l.ID()}))
	return l.ID()
}

func hasLayer(s *Store, id string) bool {
	_, err := os.Stat(s.layerDir(id))
	return err == nil
}

func TestAddLayerMovesTheDirectoryInOnce(t *testing.T) {
	s := newDirStore(t)
	id := layerWithDir(t, s.root, "a")
	l, err := s.Layer(id)
	assert.NilError(t, err)
	defer l.Release()
	dir, ok := l.Dir(s.host.form)
	assert.Assert(t, ok)
	data, err := os.ReadFile(filepath.Join(dir, "a"))
	assert.NilError(t, err)
	assert.Equal(t, string(data), "a")
	_, ok = l.Dir("another")
	assert.Assert(t, !ok, "a directory made under another id map is taken")

	before, err := os.Stat(dir)
	assert.NilError(t, err)
	assert.Equal(t, layerWithDir(t, s.root, "a"), id)
	after, err := os.Stat(dir)
	assert.NilError(t, err)
	assert.Assert(t, os.SameFile(before, after), "a directory that may be in use was replaced")
	assert.DeepEqual(t, tmpNames(t, s.root), []string{})
}

func TestDirectoryFromBeforeACrashIsReplaced(t *testing.T) {
	s := newDirStore(t)
	id := layerWithDir(t, s.root, "a")
	other := dirStore(t, s.root)
	other.host.boot = "the next"
	l, err := other.Layer(id)
	assert.NilError(t, err)
	defer l.Release()
	_, ok := l.Dir(s.host.form)
	assert.Assert(t, !ok, "a directory that was never synced is trusted after a power cut")
	assert.NilError(t, os.WriteFile(filepath.Join(s.layerDir(id), dirName(other.host.form), "half"), nil, 0o600))

	temp, err := other.TempDir("run")
	assert.NilError(t, err)
	defer temp.Close()
	again, err := other.AddLayer(t.Context(), LayerContent{Index: indexOf(t, "a"), Dir: temp.Path()})
	assert.NilError(t, err)
	defer again.Release()
	dir, ok := again.Dir(other.host.form)
	assert.Assert(t, ok)
	_, err = os.Stat(filepath.Join(dir, "half"))
	assert.Assert(t, os.IsNotExist(err))
}

func TestCollectKeepsRecentStepsImagesAndWhatIsInUse(t *testing.T) {
	s := newStore(t)
	ctx := t.Context()
	builder := openStore(t, s.root)
	assert.NilError(t, builder.Tag(ctx, ref(t, "me/x"), testImage(t, builder, "tagged").Manifest))
	assert.NilError(t, builder.Close())
	used := layerWithDir(t, s.root, "used")
	recent := layerWithDir(t, s.root, "recent")
	old := layerWithDir(t, s.root, "old")
	before := time.Now().Add(-48 * time.Hour)
	for _, name := range []string{"used", "old"} {
		assert.NilError(t, os.Chtimes(s.path(stepName(digest.FromString(name), "")...), before, before))
	}
	assert.NilError(t, s.PutHint(digest.FromString("hint"), digest.FromString("old")))
	l, err := s.Layer(used)
	assert.NilError(t, err)

	collector := openStore(t, s.root)
	dry, err := collector.Collect(ctx, CollectOptions{KeepSteps: 24 * time.Hour, DryRun: true})
	assert.NilError(t, err)
	assert.Equal(t, dry.Layers, 1)
	assert.Assert(t, hasLayer(s, old))
	report, err := collector.Collect(ctx, CollectOptions{KeepSteps: 24 * time.Hour})
	assert.NilError(t, err)
	assert.Equal(t, report.Layers, 1)
	assert.Equal(t, report.Steps, 2)
	assert.Equal(t, report.Busy, 1)
	assert.Assert(t, report.Bytes > 0)
	assert.Assert(t, hasLayer(s, used) && hasLayer(s, recent) && !hasLayer(s, old))
	_, err = os.Stat(s.path(stepName(digest.FromString("hint"), ".hint")...))
	assert.Assert(t, os.IsNotExist(err), "a hint at nothing is left")

	l.Release()
	report, err = collector.Collect(ctx, CollectOptions{})
	assert.NilError(t, err)
	assert.Equal(t, report.Layers, 2)
	assert.DeepEqual(t, tags(t, openStore(t, s.root)), []string{"me/x:latest: tagged"})
	names, err := os.ReadDir(s.path("names"))
	assert.NilError(t, err)
	assert.Equal(t, len(names), 0)
}

func TestCollectTakesBlobsThatNothingLeadsTo(t *testing.T) {
	s := newStore(t)
	ctx := t.Context()
	builder := openStore(t, s.root)
	img := testImage(t, builder, "a")
	report, err := s.Collect(ctx, CollectOptions{})
	assert.NilError(t, err)
	assert.Equal(t, report.Blobs, 0)
	assert.Equal(t, report.Busy, 3)
	assert.NilError(t, builder.AddImage(ctx, img.Manifest))
	assert.NilError(t, builder.Close())

	for _, step := range []struct {
		o    CollectOptions
		want int
	}{{CollectOptions{}, 0}, {CollectOptions{Untagged: true, Roots: []Descriptor{img.Manifest}}, 0}, {CollectOptions{}, 3}} {
		report, err = s.Collect(ctx, step.o)
		assert.NilError(t, err)
		assert.Equal(t, report.Blobs, step.want)
	}
}

func TestCollectRemovesNoBlobsBesideAnUnreadableImage(t *testing.T) {
	s := newStore(t)
	ctx := t.Context()
	builder := openStore(t, s.root)
	img := testImage(t, builder, "a")
	assert.NilError(t, builder.AddImage(ctx, img.Manifest))
	assert.NilError(t, builder.Close())
	assert.NilError(t, os.Remove(s.blobPath(img.Manifest.Digest)))
	report, err := s.Collect(ctx, CollectOptions{})
	assert.NilError(t, err)
	assert.Equal(t, len(report.Problems), 1)
	assert.Equal(t, report.Blobs, 0)
	assert.Assert(t, s.HasBlob(img.Layers[0].Digest))
}

func TestCheckFindsAndRepairs(t *testing.T) {
	s := newStore(t)
	ctx := t.Context()
	img := testImage(t, s, "a")
	assert.NilError(t, s.Tag(ctx, ref(t, "me/x"), img.Manifest))
	report, err := s.Check(ctx, true)
	assert.NilError(t, err)
	assert.Equal(t, len(report.Problems), 0)

	spare, err := s.PutBlob(ctx, "", strings.NewReader("spare"))
	assert.NilError(t, err)
	layer := layerWithDir(t, s.root, "a")
	assert.NilError(t, os.WriteFile(s.blobPath(spare.Digest), []byte("wrong"), 0o644))
	assert.NilError(t, os.Truncate(filepath.Join(s.layerDir(layer), metaFile), 0))
	assert.NilError(t, os.Truncate(s.path(stepName(digest.FromString("a"), "")...), 0))
	assert.NilError(t, os.Truncate(s.path("oci", "index.json"), 0))

	report, err = s.Check(ctx, false)
	assert.NilError(t, err)
	assert.Equal(t, len(report.Problems), 4, "%v", report.Problems)
	report, err = s.Check(ctx, true)
	assert.NilError(t, err)
	for _, p := range report.Problems {
		assert.Check(t, p.Repaired, "%s: %v", p.What, p.Err)
	}
	report, err = s.Check(ctx, false)
	assert.NilError(t, err)
	assert.Equal(t, len(report.Problems), 0, "%v", report.Problems)
	assert.DeepEqual(t, tags(t, s), []string{"me/x:latest: a"})

	assert.NilError(t, os.Remove(s.blobPath(img.Layers[0].Digest)))
	report, err = s.Check(ctx, true)
	assert.NilError(t, err)
	assert.Equal(t, len(report.Problems), 1)
	assert.Assert(t, !report.Problems[0].Repaired)
	assert.Equal(t, report.Problems[0].What, "image me/x:latest")
}

func TestLayerThatWasLookedUpStays(t *testing.T) {
	s := newDirStore(t)
	id := layerWithDir(t, s.root, "a")
	_, ok := s.LookupStep(digest.FromString("a"))
	assert.Assert(t, ok)
	collector := openStore(t, s.root)
	report, err := collector.Collect(t.Context(), CollectOptions{})
	assert.NilError(t, err)
	assert.Equal(t, report.Busy, 1)
	assert.Assert(t, hasLayer(s, id))
	assert.NilError(t, s.Close())
	_, err = collector.Collect(t.Context(), CollectOptions{})
	assert.NilError(t, err)
	assert.Assert(t, !hasLayer(s, id))
}
