package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
)

// indexOf makes an index of one file per name, whose content is its name.
func indexOf(t *testing.T, names ...string) *index.Index {
	t.Helper()
	b := index.NewBuilder()
	for _, name := range names {
		assert.NilError(t, b.Add(index.Entry{
			Path: name, Type: index.Regular, Mode: 0o644, Size: int64(len(name)), MTime: time.Unix(1e9, 0),
			Digest: digest.FromString(name), Offset: -1,
		}))
	}
	ix, err := b.Build()
	assert.NilError(t, err)
	return ix
}

// addNamed adds a layer of such files as a tar.
func addNamed(t *testing.T, s *Store, names ...string) *Layer {
	t.Helper()
	plain := compress.Options{Algorithm: compress.None}
	w, err := s.NewBlob(t.Context())
	assert.NilError(t, err)
	defer w.Abort()
	packed, err := layer.Pack(t.Context(), w, indexOf(t, names...), nameSource{}, plain)
	assert.NilError(t, err)
	blob, err := w.Commit(plain.MediaType(), "")
	assert.NilError(t, err)
	l, err := s.AddLayer(t.Context(), LayerContent{Index: packed.Index, DiffID: packed.DiffID, Blob: blob, Packing: plain})
	assert.NilError(t, err)
	t.Cleanup(l.Release)
	return l
}

func TestStepRecordIsKept(t *testing.T) {
	s := newStore(t)
	l := addNamed(t, s, "a")
	want := Step{
		Key: digest.FromString("key"), Layer: l.ID(), Created: time.Now().UTC(), Description: "RUN x",
		Inputs: []Input{{Name: "src/a", Digest: digest.FromString("a"), Detail: "mode 644"}}, Extra: map[string]string{"k": "v"},
	}
	_, ok := s.LookupStep(want.Key)
	assert.Assert(t, !ok)
	assert.NilError(t, s.PutStep(want))
	again := openStore(t, s.root)
	got, ok := again.LookupStep(want.Key)
	assert.Assert(t, ok)
	assert.Assert(t, got.Inputs == nil, "a look-up does not read them")
	got.Inputs, _ = again.StepInputs(want.Key)
	assert.Assert(t, cmp.Equal(got, want), cmp.Diff(got, want))

	want.Layer = strings.Repeat("0", 64)
	assert.Assert(t, s.PutStep(want) != nil, "a record for a layer that is not there")
	assert.Assert(t, s.PutStep(Step{Key: "nonsense"}) != nil)
}

func TestBadRecordIsAMiss(t *testing.T) {
	s := newStore(t)
	l := addNamed(t, s, "a")
	key := digest.FromString("key")
	good := func() string {
		assert.NilError(t, s.PutStep(Step{Key: key, Layer: l.ID()}))
		path := filepath.Join(append([]string{s.root}, stepName(key, "")...)...)
		_, ok := s.LookupStep(key)
		assert.Assert(t, ok)
		return path
	}
	for name, change := range map[string]func(text string) string{
		"empty":   func(string) string { return "" },
		"cut off": func(text string) string { return text[:len(text)/2] },
		"of another key": func(text string) string {
			return strings.ReplaceAll(text, key.Encoded(), digest.FromString("x").Encoded())
		},
		"of another version":  func(text string) string { return strings.Replace(text, `"Version":2`, `"Version":7`, 1) },
		"layer is a path":     func(text string) string { return strings.ReplaceAll(text, l.ID(), "../../etc") },
		"layer is not there":  func(text string) string { return strings.ReplaceAll(text, l.ID(), strings.Repeat("0", 64)) },
		"from before a crash": func(text string) string { return strings.ReplaceAll(text, s.host.boot, "another boot") },
	} {
		t.Run(name, func(t *testing.T) {
			path := good()
			data, err := os.ReadFile(path)
			assert.NilError(t, err)
			changed := change(string(data))
			assert.Assert(t, changed != string(data))
			assert.NilError(t, os.WriteFile(path, []byte(changed), 0o600))
			_, ok := s.LookupStep(key)
			assert.Assert(t, !ok)
			good()
		})
	}
}

func TestAnIndexAloneIsAMiss(t *testing.T) {
	s := newStore(t)
	l, err := s.AddLayer(t.Context(), LayerContent{Index: indexOf(t, "a")})
	assert.NilError(t, err)
	defer l.Release()
	key := digest.FromString("key")
	assert.NilError(t, s.PutStep(Step{Key: key, Layer: l.ID()}))
	_, ok := s.LookupStep(key)
	assert.Assert(t, !ok, "nothing could be made of it")
}

func TestDamagedLayerIsAMissAndMadeGoodByAddingIt(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"no layer.json":    func(dir string) error { return os.Remove(filepath.Join(dir, metaFile)) },
		"empty layer.json": func(dir string) error { return os.Truncate(filepath.Join(dir, metaFile), 0) },
		"no index":         func(dir string) error { return os.Remove(filepath.Join(dir, indexFile)) },
		"empty index":      func(dir string) error { return replaceWith(filepath.Join(dir, indexFile), "") },
		"damaged index":    func(dir string) error { return replaceWith(filepath.Join(dir, indexFile), strings.Repeat("x", 200)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			id := addNamed(t, s, "a").ID()
			key := digest.FromString("key")
			assert.NilError(t, s.PutStep(Step{Key: key, Layer: id}))
			assert.NilError(t, damage(s.layerDir(id)))

			other := openStore(t, s.root)
			_, ok := other.LookupStep(key)
			assert.Assert(t, !ok)
			addNamed(t, other, "a")
			_, ok = other.LookupStep(key)
			assert.Assert(t, ok)
			_, ok = openStore(t, s.root).LookupStep(key)
			assert.Assert(t, ok)
		})
	}
}

// replaceWith gives path new content in a new file, since the old one may be mapped.
func replaceWith(path, text string) error {
	return errors.Join(os.Remove(path), os.WriteFile(path, []byte(text), 0o600))
}

func TestRecordsCountForThisBootUntilSync(t *testing.T) {
	s := newStore(t)
	l := addNamed(t, s, "a")
	key := digest.FromString("key")
	assert.NilError(t, s.PutStep(Step{Key: key, Layer: l.ID()}))

	afterBoot := func() bool {
		other := openStore(t, s.root)
		other.host.boot = "the next"
		_, ok := other.LookupStep(key)
		return ok
	}
	assert.Assert(t, !afterBoot(), "what was not synced is trusted after a power cut")
	assert.NilError(t, s.Sync(t.Context()))
	assert.Assert(t, afterBoot(), "what was synced is lost")

	// A record that another process writes for a layer that was never synced is its to sync.
	b := addNamed(t, s, "b")
	other := openStore(t, s.root)
	assert.NilError(t, other.PutStep(Step{Key: key, Layer: b.ID()}))
	assert.Assert(t, !afterBoot())
	assert.NilError(t, other.Sync(t.Context()))
	assert.Assert(t, afterBoot())
}

func TestSyncLeavesWhatCameLater(t *testing.T) {
	s := newStore(t)
	l := addNamed(t, s, "a")
	p, ok := s.pending()
	assert.Assert(t, ok)
	other := openStore(t, s.root)
	ol, err := other.Layer(l.ID())
	assert.NilError(t, err)
	assert.NilError(t, ol.update(t.Context(), func(m *layerMeta) error { m.Boot = other.host.boot; return nil }))
	assert.NilError(t, s.settleLayer(t.Context(), l.ID(), p.gens[l.ID()]))
	boot, err := s.layerBoot(l.ID())
	assert.NilError(t, err)
	assert.Equal(t, boot, s.host.boot)
}

func TestHintLastsAsLongAsItsRecord(t *testing.T) {
	s := newStore(t)
	def, key := digest.FromString("def"), digest.FromString("key")
	assert.Assert(t, !s.HasHint(def))
	assert.NilError(t, s.PutHint(def, key))
	assert.Assert(t, !s.HasHint(def))
	assert.NilError(t, s.PutStep(Step{Key: key}))
	assert.Assert(t, s.HasHint(def))
	assert.NilError(t, os.WriteFile(s.path(stepName(def, ".hint")...), []byte("???"), 0o600))
	assert.Assert(t, !s.HasHint(def))
}

func TestLockKeyLetsOneIn(t *testing.T) {
	s := newStore(t)
	key := digest.FromString("key")
	var inside, most, times int
	var mu sync.Mutex
	enter := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		inside += n
		most = max(most, inside)
		times++
	}
	var group sync.WaitGroup
	for range 8 {
		other := openStore(t, s.root)
		group.Go(func() {
			for range 20 {
				unlock, err := other.LockKey(t.Context(), key)
				if err != nil {
					t.Error(err)
					return
				}
				enter(1)
				enter(-1)
				unlock()
			}
		})
	}
	group.Wait()
	assert.Equal(t, most, 1)
	assert.Equal(t, times, 8*20*2)
	entries, err := os.ReadDir(s.path("locks"))
	assert.NilError(t, err)
	for _, e := range entries {
		assert.Assert(t, !strings.HasPrefix(e.Name(), "key-"), "a lock file is left")
	}

	unlock, err := s.LockKey(t.Context(), key)
	assert.NilError(t, err)
	another, err := s.LockKey(t.Context(), digest.FromString("another key"))
	assert.NilError(t, err)
	another()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = s.LockKey(ctx, key)
	assert.Assert(t, errors.Is(err, context.DeadlineExceeded))
	unlock()
}
