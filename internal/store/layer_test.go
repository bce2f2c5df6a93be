package store

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
)

// A tar of tests: "dir/" is a directory, "a -> b" a symbolic link, "a => b" a hard link, "a: text" a file.
func tarOf(t *testing.T, lines ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, line := range lines {
		h := tar.Header{Mode: 0o644, ModTime: time.Unix(1e9, 0), Format: tar.FormatPAX}
		text := ""
		if path, target, ok := strings.Cut(line, " -> "); ok {
			h.Name, h.Linkname, h.Typeflag = path, target, tar.TypeSymlink
		} else if path, target, ok := strings.Cut(line, " => "); ok {
			h.Name, h.Linkname, h.Typeflag = path, target, tar.TypeLink
		} else if path, content, ok := strings.Cut(line, ": "); ok {
			h.Name, h.Typeflag, text = path, tar.TypeReg, content
			h.Size = int64(len(content))
		} else {
			h.Name, h.Typeflag, h.Mode = line, tar.TypeDir, 0o755
		}
		assert.NilError(t, w.WriteHeader(&h))
		_, err := io.WriteString(w, text)
		assert.NilError(t, err)
	}
	assert.NilError(t, w.Close())
	return b.Bytes()
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	assert.NilError(t, err)
	assert.NilError(t, w.Close())
	return b.Bytes()
}

func descOf(data []byte) Descriptor {
	return Descriptor{MediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip", Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// dirStore is a store in which this process can make directories: in the one-id form unless it is root.
func dirStore(t *testing.T, root string) *Store {
	t.Helper()
	s := openStore(t, root)
	if s.host.form == "" {
		s.host.form = recordForm
	}
	return s
}

func newDirStore(t *testing.T) *Store { return dirStore(t, filepath.Join(t.TempDir(), "store")) }

func ingest(t *testing.T, s *Store, blob []byte, o IngestOptions) *Layer {
	t.Helper()
	l, err := s.IngestBlob(t.Context(), descOf(blob), bytes.NewReader(blob), o)
	assert.NilError(t, err)
	t.Cleanup(l.Release)
	return l
}

// readFile reads a file of the layer through its Source.
func readFile(t *testing.T, l *Layer, path string) string {
	t.Helper()
	r, err := l.open(t.Context(), path)
	assert.NilError(t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	assert.NilError(t, err)
	return string(data)
}

func TestIngest(t *testing.T) {
	for name, extract := range map[string]bool{"indexed": false, "extracted": true} {
		t.Run(name, func(t *testing.T) {
			s := newDirStore(t)
			ctx := t.Context()
			plain := tarOf(t, "etc/", "etc/hostname: box", "bin -> usr/bin")
			blob := gzipped(t, plain)
			l := ingest(t, s, blob, IngestOptions{Extract: extract, DiffID: digest.FromBytes(plain)})
			assert.Equal(t, l.DiffID(), digest.FromBytes(plain))
			assert.Equal(t, l.ContentID(), l.DiffID())
			assert.Equal(t, l.ID(), l.DiffID().Encoded())
			blobs := l.Blobs()
			assert.Equal(t, len(blobs), 1)
			assert.Equal(t, blobs[0].Digest, digest.FromBytes(blob))
			assert.Equal(t, blobs[0].MediaType, compress.Options{}.MediaType())
			_, ok := l.Dir(s.Form())
			assert.Equal(t, ok, extract)
			assert.Equal(t, readFile(t, l, "etc/hostname"), "box")

			again, err := s.IngestBlob(ctx, descOf(blob), iotestError{}, IngestOptions{})
			assert.NilError(t, err, "a blob that is here was read again")
			assert.Equal(t, again.ID(), l.ID())
			again.Release()
			found, err := openStore(t, s.Root()).FindLayer(ctx, l.DiffID(), nil)
			assert.NilError(t, err)
			found.Release()

			dir, err := l.EnsureDir(ctx, nil)
			assert.NilError(t, err)
			data, err := os.ReadFile(filepath.Join(dir, "etc", "hostname"))
			assert.NilError(t, err)
			assert.Equal(t, string(data), "box")
			assert.Equal(t, readFile(t, l, "etc/hostname"), "box")

			ix, err := l.EnsureDigests(ctx)
			assert.NilError(t, err)
			assert.Assert(t, ix.Complete())
			other, err := openStore(t, s.Root()).Layer(l.ID())
			assert.NilError(t, err)
			defer other.Release()
			ix, err = other.Index()
			assert.NilError(t, err)
			i, ok := ix.Find("etc/hostname")
			assert.Assert(t, ok)
			assert.Equal(t, ix.At(i).Digest, digest.FromString("box"))
		})
	}
}

func TestIngestDigestsWithoutADirectory(t *testing.T) {
	s := newStore(t)
	l := ingest(t, s, gzipped(t, tarOf(t, "a: A", "b: B", "c => a", "empty: ")), IngestOptions{})
	ix, err := l.EnsureDigests(t.Context())
	assert.NilError(t, err)
	i, _ := ix.Find("b")
	assert.Equal(t, ix.At(i).Digest, digest.FromString("B"))
	assert.Assert(t, ix.Complete())
	assert.Assert(t, l.st.tar == nil, "a tar was spooled for what one pass can do")
}

func TestIngestRefuses(t *testing.T) {
	plain := tarOf(t, "etc/", "etc/hostname: box")
	blob := gzipped(t, plain)
	flipped := bytes.Clone(blob)
	flipped[len(flipped)/2] ^= 1
	for name, tc := range map[string]struct {
		data []byte
		desc Descriptor
		o    IngestOptions
	}{
		"a blob cut off":         {data: blob[:len(blob)-9], desc: descOf(blob)},
		"a blob with more":       {data: append(bytes.Clone(blob), "more"...), desc: descOf(blob)},
		"another blob":           {data: flipped, desc: descOf(blob)},
		"another tar":            {data: blob, desc: descOf(blob), o: IngestOptions{DiffID: digest.FromString("x")}},
		"what is no tar":         {data: gzipped(t, bytes.Repeat([]byte("x"), 2000)), desc: descOf(gzipped(t, bytes.Repeat([]byte("x"), 2000)))},
		"a descriptor malformed": {data: blob, desc: Descriptor{Digest: "sha256:x"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newDirStore(t)
			for _, extract := range []bool{false, true} {
				tc.o.Extract = extract
				_, err := s.IngestBlob(t.Context(), tc.desc, bytes.NewReader(tc.data), tc.o)
				assert.Assert(t, err != nil)
				assert.Assert(t, !errors.Is(err, errPipeStopped), "%v", err)
			}
			assert.NilError(t, s.Close())
			assert.DeepEqual(t, tmpNames(t, s.Root()), []string{})
			for _, dir := range []string{"layers", "names", "oci/blobs/sha256"} {
				entries, err := os.ReadDir(filepath.Join(s.Root(), dir))
				assert.NilError(t, err)
				assert.Equal(t, len(entries), 0, dir)
			}
		})
	}
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.IngestBlob(ctx, descOf(blob), bytes.NewReader(blob), IngestOptions{})
	assert.Assert(t, errors.Is(err, context.Canceled), "%v", err)
	_, err = s.IngestBlob(t.Context(), descOf(blob), io.MultiReader(bytes.NewReader(blob[:20]), iotestError{}), IngestOptions{})
	assert.ErrorContains(t, err, "broken")
}

func TestProcessesIngestTheSameBlobAtOnce(t *testing.T) {
	s := newStore(t)
	blob := gzipped(t, tarOf(t, "etc/", "etc/hostname: box"))
	file := filepath.Join(t.TempDir(), "blob")
	assert.NilError(t, os.WriteFile(file, blob, 0o600))
	var running []*exec.Cmd
	for range 6 {
		cmd := worker(t, "ingest", s.Root(), file)
		assert.NilError(t, cmd.Start())
		running = append(running, cmd)
	}
	for _, cmd := range running {
		assert.NilError(t, cmd.Wait())
	}
	l, ok := s.LayerByBlob(digest.FromBytes(blob))
	assert.Assert(t, ok)
	defer l.Release()
	assert.Equal(t, readFile(t, l, "etc/hostname"), "box")
	report, err := s.Check(t.Context(), false)
	assert.NilError(t, err)
	assert.Equal(t, len(report.Problems), 0, "%v", report.Problems)
}

func TestLayerThatDependsOnThoseBelow(t *testing.T) {
	s := newDirStore(t)
	ctx := t.Context()
	base := ingest(t, s, gzipped(t, tarOf(t, "usr/", "usr/bin/", "usr/bin/tool: the tool", "bin -> usr/bin")), IngestOptions{})
	// Implied parents, one of them a link below, and a hard link to a file below.
	plain := tarOf(t, "bin/new: N", "opt/x/y: Y", "usr/bin/again => usr/bin/tool")
	for _, extract := range []bool{false, true} {
		top := ingest(t, s, gzipped(t, plain), IngestOptions{Extract: extract, Below: On(base)})
		assert.Equal(t, top.DiffID(), digest.FromBytes(plain))
		assert.Assert(t, top.ID() != top.DiffID().Encoded())
		ix, err := top.Index()
		assert.NilError(t, err)
		assert.Assert(t, !ix.Loose())
		assert.Equal(t, readFile(t, top, "usr/bin/new"), "N")
		assert.Equal(t, readFile(t, top, "usr/bin/again"), "the tool")
		dir, err := top.EnsureDir(ctx, []*Layer{base})
		assert.NilError(t, err)
		for path, want := range map[string]string{"usr/bin/new": "N", "opt/x/y": "Y", "usr/bin/again": "the tool"} {
			data, err := os.ReadFile(filepath.Join(dir, path))
			assert.NilError(t, err)
			assert.Equal(t, string(data), want)
		}
	}
	_, ok := s.LayerByDiffID(digest.FromBytes(plain))
	assert.Assert(t, !ok, "a layer whose meaning depends on others was found without them")

	found, err := s.FindLayer(ctx, digest.FromBytes(plain), []*Layer{base})
	assert.NilError(t, err)
	defer found.Release()
	ix, err := found.EnsureDigests(ctx)
	assert.NilError(t, err)
	i, ok := ix.Find("usr/bin/again")
	assert.Assert(t, ok)
	assert.Equal(t, ix.At(i).Digest, digest.FromString("the tool"))

	elsewhere, err := s.FindLayer(ctx, digest.FromBytes(plain), []*Layer{base, found})
	assert.NilError(t, err)
	defer elsewhere.Release()
	assert.Assert(t, elsewhere.ID() != found.ID())
	assert.Assert(t, elsewhere.ContentID() != found.ContentID())
}

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

func TestLayerFromASource(t *testing.T) {
	s := newDirStore(t)
	ctx := t.Context()
	l, err := s.AddLayer(ctx, LayerContent{Index: indexOf(t, "a", "b"), Source: nameSource{}})
	assert.NilError(t, err)
	defer l.Release()
	assert.Assert(t, l.HasContent())
	assert.Equal(t, readFile(t, l, "b"), "b")
	dir, err := l.EnsureDir(ctx, nil)
	assert.NilError(t, err)
	data, err := os.ReadFile(filepath.Join(dir, "a"))
	assert.NilError(t, err)
	assert.Equal(t, string(data), "a")

	m, err := s.AddLayer(ctx, LayerContent{Index: indexOf(t, "c"), Source: nameSource{}})
	assert.NilError(t, err)
	defer m.Release()
	_, err = m.EnsureBlob(ctx, compress.Options{})
	assert.NilError(t, err)

	other, err := openStore(t, s.Root()).Layer(m.ID())
	assert.NilError(t, err)
	defer other.Release()
	assert.Equal(t, readFile(t, other, "c"), "c")
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

	outer := openStore(t, inner.Root())
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

	another := openStore(t, inner.Root())
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
