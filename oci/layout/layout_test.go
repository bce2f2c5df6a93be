package layout

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cairnbuild/cairn/oci"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/umoci/oci/casext"
	"gotest.tools/v3/assert"
)

func newLayout(t *testing.T) *Layout {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a", "layout")
	assert.NilError(t, Create(dir))
	l, err := Open(dir)
	assert.NilError(t, err)
	return l
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	assert.NilError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			names = append(names, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	}))
	return names
}

func parse(t *testing.T, s string) oci.Reference {
	t.Helper()
	r, err := oci.ParseReference(s)
	assert.NilError(t, err)
	return r
}

func TestCreateIsIdempotent(t *testing.T) {
	l := newLayout(t)
	assert.DeepEqual(t, names(t, l.Dir()), []string{"index.json", "oci-layout"})
	desc, err := l.PutBlob(t.Context(), "", strings.NewReader("x"))
	assert.NilError(t, err)
	desc.MediaType = ispec.MediaTypeImageManifest
	assert.NilError(t, l.SetIndex(t.Context(), ispec.Index{Manifests: []ispec.Descriptor{desc}}))
	assert.NilError(t, Create(l.Dir()))
	ix, err := l.Index(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(ix.Manifests), 1)

	// What a crash in the middle of Create leaves is completed.
	assert.NilError(t, os.Remove(filepath.Join(l.Dir(), "oci-layout")))
	_, err = Open(l.Dir())
	assert.ErrorContains(t, err, "open layout")
	assert.NilError(t, Create(l.Dir()))
	_, err = Open(l.Dir())
	assert.NilError(t, err)
	_, err = Open(t.TempDir())
	assert.ErrorContains(t, err, "open layout")
}

func TestBlobs(t *testing.T) {
	l := newLayout(t)
	content := strings.Repeat("content", 100_000)
	want := digest.FromString(content)
	desc, err := l.PutBlob(t.Context(), want, strings.NewReader(content))
	assert.NilError(t, err)
	assert.DeepEqual(t, desc, ispec.Descriptor{Digest: want, Size: int64(len(content))})
	size, ok := l.HasBlob(want)
	assert.Assert(t, ok && size == desc.Size)
	rc, err := l.OpenBlob(t.Context(), desc)
	assert.NilError(t, err)
	got, err := io.ReadAll(rc)
	assert.NilError(t, err)
	assert.NilError(t, rc.Close())
	assert.Assert(t, string(got) == content)
	long := digest.SHA512.FromString("x")
	desc, err = l.PutBlob(t.Context(), long, strings.NewReader("x"))
	assert.NilError(t, err)
	assert.Equal(t, desc.Digest, long)

	_, err = l.OpenBlob(t.Context(), ispec.Descriptor{Digest: digest.FromString("none")})
	assert.ErrorIs(t, err, fs.ErrNotExist)
	for _, d := range []digest.Digest{"", "sha256:../../../etc/passwd", "x", "sha256:12"} {
		_, ok := l.HasBlob(d)
		assert.Assert(t, !ok)
		assert.Equal(t, l.BlobPath(d), "")
		_, err = l.OpenBlob(t.Context(), ispec.Descriptor{Digest: d})
		assert.Assert(t, err != nil)
	}
}

func TestPutBlobStoresNothingWrong(t *testing.T) {
	l := newLayout(t)
	before := names(t, l.Dir())
	_, err := l.PutBlob(t.Context(), digest.FromString("true"), strings.NewReader("lies"))
	var mismatch *oci.MismatchError
	assert.Assert(t, errors.As(err, &mismatch), "%v", err)
	boom := errors.New("boom")
	_, err = l.PutBlob(t.Context(), "", io.MultiReader(strings.NewReader("x"), failing{boom}))
	assert.ErrorIs(t, err, boom)
	w, err := l.NewWriter()
	assert.NilError(t, err)
	_, err = w.Write([]byte("dropped"))
	assert.NilError(t, err)
	assert.Equal(t, w.Size(), int64(7))
	assert.NilError(t, w.Close())
	assert.DeepEqual(t, names(t, l.Dir()), before)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestOpenBlobFindsDamage(t *testing.T) {
	l := newLayout(t)
	desc, err := l.PutBlob(t.Context(), "", strings.NewReader("content"))
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(l.BlobPath(desc.Digest), []byte("CONTENT"), 0o644))
	rc, err := l.OpenBlob(t.Context(), desc)
	assert.NilError(t, err)
	_, err = io.ReadAll(rc)
	assert.ErrorContains(t, err, "has content of digest")
	assert.NilError(t, rc.Close())
	assert.NilError(t, os.WriteFile(l.BlobPath(desc.Digest), []byte("cont"), 0o644))
	_, err = l.OpenBlob(t.Context(), desc)
	assert.ErrorContains(t, err, "ends after 4 of 7 bytes")

	_, err = l.PutBlob(t.Context(), desc.Digest, strings.NewReader("content")) // heals
	assert.NilError(t, err)
	_, err = oci.ReadBlob(t.Context(), l, desc)
	assert.NilError(t, err)
}

func TestBlobsFromManyGoroutines(t *testing.T) {
	l := newLayout(t)
	l.TempDir = t.TempDir()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, err := l.PutBlob(t.Context(), "", strings.NewReader("same"))
			assert.Check(t, err)
		})
	}
	wg.Wait()
	assert.Equal(t, len(names(t, l.Dir())), 3)
	assert.Equal(t, len(names(t, l.TempDir)), 0)
}

func TestNamesAndResolve(t *testing.T) {
	l := newLayout(t)
	a := ispec.Descriptor{MediaType: ispec.MediaTypeImageManifest, Digest: digest.FromString("a"), Size: 1}
	b := ispec.Descriptor{MediaType: ispec.MediaTypeImageManifest, Digest: digest.FromString("b"), Size: 1}
	foreign := b
	foreign.Annotations = map[string]string{ispec.AnnotationRefName: "latest"}
	assert.NilError(t, l.SetIndex(t.Context(), ispec.Index{Manifests: []ispec.Descriptor{
		oci.WithName(a, parse(t, "me/redis:1")), oci.WithName(a, parse(t, "me/redis")), foreign,
	}}))
	ix, err := l.Index(t.Context())
	assert.NilError(t, err)
	named := oci.GroupByImage(ix.Manifests)
	assert.Equal(t, len(named), 2)
	assert.Equal(t, named[0].References[1].String(), "docker.io/me/redis:latest")
	for name, want := range map[string]digest.Digest{
		"me/redis:1": a.Digest, "me/redis": a.Digest, "docker.io/me/redis:1": a.Digest, "latest": b.Digest, string(b.Digest): b.Digest,
	} {
		got, err := l.Resolve(t.Context(), name)
		assert.NilError(t, err)
		assert.Equal(t, got.Digest, want, name)
	}
	for _, name := range []string{"", "me/other", "me/redis:2", "NO", "sha256:" + strings.Repeat("0", 64)} {
		_, err := l.Resolve(t.Context(), name)
		assert.ErrorIs(t, err, fs.ErrNotExist)
	}
}

func TestIndexRefusesBadJSON(t *testing.T) {
	l := newLayout(t)
	for content, want := range map[string]string{
		"{":                                     "unexpected end",
		`{"manifests":[{"digest":"sha256:x"}]}`: "invalid checksum",
		strings.Repeat(" ", oci.MaxMetadata+1):  "more than",
	} {
		assert.NilError(t, os.WriteFile(filepath.Join(l.Dir(), "index.json"), []byte(content), 0o644))
		_, err := l.Index(t.Context())
		assert.ErrorContains(t, err, want)
	}
}

func TestRefNameIsWhatUmociAccepts(t *testing.T) {
	for _, s := range []string{"me/redis:1", "a__b:v_", "[::1]:5000/x---y:_1", "localhost:5000/a/b", "x@" + digest.FromString("x").String()} {
		r := parse(t, s)
		assert.Assert(t, casext.IsValidReferenceName(r.RefName()), "%q", r.RefName())
		back, err := oci.ParseRefName(r.RefName())
		assert.NilError(t, err)
		assert.Equal(t, back, r)
	}
}

func TestAddKeepsWhatIsThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "layout")
	var src oci.Memory
	image := func(label string) oci.Named {
		img := oci.Image{Config: oci.Config{}}
		img.Config.Architecture, img.Config.OS, img.Config.RootFS.Type = "amd64", "linux", "layers"
		img.Config.Author = label
		written, err := oci.WriteImage(t.Context(), &src, img)
		assert.NilError(t, err)
		return oci.Named{Descriptor: written.Manifest}
	}
	a, b := image("a"), image("b")
	a.References = []oci.Reference{parse(t, "me/x:1"), parse(t, "me/y:1")}
	assert.NilError(t, Add(t.Context(), dir, &src, []oci.Named{a}))
	assert.NilError(t, Add(t.Context(), dir, &src, []oci.Named{b}))
	assert.NilError(t, Add(t.Context(), dir, &src, []oci.Named{b}))
	b.References = []oci.Reference{parse(t, "me/y:1")}
	assert.NilError(t, Add(t.Context(), dir, &src, []oci.Named{b}))
	l, err := Open(dir)
	assert.NilError(t, err)
	for name, want := range map[string]digest.Digest{"me/x:1": a.Descriptor.Digest, "me/y:1": b.Descriptor.Digest} {
		desc, err := l.Resolve(t.Context(), name)
		assert.NilError(t, err)
		assert.Equal(t, desc.Digest, want, name)
		_, err = oci.ReadImage(t.Context(), l, desc)
		assert.NilError(t, err)
	}
	ix, err := l.Index(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(ix.Manifests), 3) // b has an entry without a name from before

	// A blob that was cut off is written again.
	assert.NilError(t, os.Truncate(l.BlobPath(a.Descriptor.Digest), 3))
	assert.NilError(t, Add(t.Context(), dir, &src, []oci.Named{a}))
	_, err = oci.ReadImage(t.Context(), l, a.Descriptor)
	assert.NilError(t, err)
}
