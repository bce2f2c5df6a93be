package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gotest.tools/v3/assert"
)

func parse(t testing.TB, names ...string) []oci.Reference {
	t.Helper()
	var refs []oci.Reference
	for _, s := range names {
		r, err := oci.ParseReference(s)
		assert.NilError(t, err)
		refs = append(refs, r)
	}
	return refs
}

func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, h := range headers {
		content := h.PAXRecords["content"]
		h.PAXRecords = nil
		h.Size = int64(len(content))
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		assert.NilError(t, tw.WriteHeader(&h))
		_, err := tw.Write([]byte(content))
		assert.NilError(t, err)
	}
	assert.NilError(t, tw.Close())
	return b.Bytes()
}

func file1(name, content string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, PAXRecords: map[string]string{"content": content}}
}

func packed(t testing.TB, content []byte, o compress.Options) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := compress.NewWriter(&b, o)
	assert.NilError(t, err)
	_, err = w.Write(content)
	assert.NilError(t, err)
	assert.NilError(t, w.Close())
	return b.Bytes()
}

// image stores an image whose one layer has a file "who" with the given content.
func image(t testing.TB, sink oci.BlobSink, who string, p oci.Platform, o compress.Options) oci.Image {
	t.Helper()
	layer := tarOf(t, file1("who", who))
	desc, err := sink.PutBlob(t.Context(), "", bytes.NewReader(packed(t, layer, o)))
	assert.NilError(t, err)
	desc.MediaType = o.MediaType()
	img := oci.Image{Layers: []oci.Layer{{Descriptor: desc, DiffID: digest.FromBytes(layer)}}}
	img.Config.Platform = p
	img.Config.Config.Cmd = []string{"/bin/" + who}
	img.Config.History = []ispec.History{{CreatedBy: "test"}}
	img, err = oci.WriteImage(t.Context(), sink, img)
	assert.NilError(t, err)
	return img
}

func named(t testing.TB, img oci.Image, names ...string) oci.Named {
	t.Helper()
	return oci.Named{Descriptor: img.Manifest, References: parse(t, names...)}
}

func write(t testing.TB, src oci.BlobSource, o WriteOptions, images ...oci.Named) []byte {
	t.Helper()
	var b bytes.Buffer
	assert.NilError(t, Write(t.Context(), &b, images, src, o))
	return b.Bytes()
}

var sameReference = cmp.Comparer(func(a, b oci.Reference) bool { return a == b })

func TestWriteThenReadIsIdentity(t *testing.T) {
	var src oci.Memory
	one := image(t, &src, "one", oci.HostPlatform(), compress.Options{})
	two := image(t, &src, "two", oci.HostPlatform(), compress.Options{Algorithm: compress.Zstd})
	raw := image(t, &src, "raw", oci.HostPlatform(), compress.Options{Algorithm: compress.None})
	images := []oci.Named{named(t, one, "me/one:1", "one"), named(t, two, "localhost:5000/two:v_"), named(t, raw)}
	for _, f := range []Format{Combined, OCI} {
		data := write(t, &src, WriteOptions{Format: f}, images...)
		assert.Assert(t, bytes.Equal(data, write(t, &src, WriteOptions{Format: f}, images...)), "written twice it differs")
		for _, o := range []compress.Options{{Algorithm: compress.None}, {}, {Algorithm: compress.Zstd}} {
			var sink oci.Memory
			got, err := Read(t.Context(), bytes.NewReader(packed(t, data, o)), &sink)
			assert.NilError(t, err)
			assert.DeepEqual(t, got, images, sameReference)
			for _, want := range []oci.Image{one, two, raw} {
				img, err := oci.ReadImage(t.Context(), &sink, want.Manifest)
				assert.NilError(t, err)
				assert.DeepEqual(t, img, want)
				_, err = oci.ReadBlob(t.Context(), &sink, want.Layers[0].Descriptor)
				assert.NilError(t, err)
			}
		}
	}
}

func TestDockerArchiveKeepsTheImageID(t *testing.T) {
	var src, sink oci.Memory
	one := image(t, &src, "one", oci.HostPlatform(), compress.Options{})
	raw := image(t, &src, "raw", oci.HostPlatform(), compress.Options{Algorithm: compress.None})
	data := write(t, &src, WriteOptions{Format: Docker}, named(t, one, "me/one:1"), named(t, raw, "raw", "raw:2"))
	got, err := Read(t.Context(), bytes.NewReader(data), &sink)
	assert.NilError(t, err)
	assert.Equal(t, len(got), 2)
	assert.DeepEqual(t, got[0].References, parse(t, "me/one:1"), sameReference)
	assert.DeepEqual(t, got[1].References, parse(t, "raw", "raw:2"), sameReference)
	for i, want := range []oci.Image{one, raw} {
		assert.Equal(t, got[i].Descriptor.MediaType, ispec.MediaTypeImageManifest)
		img, err := oci.ReadImage(t.Context(), &sink, got[i].Descriptor)
		assert.NilError(t, err)
		assert.DeepEqual(t, img.ConfigDescriptor, want.ConfigDescriptor)
		assert.DeepEqual(t, img.Layers, want.Layers)
	}
}

// Docker 20.10 answers "unexpected EOF" to a layer of zstd.
func TestDockerArchiveUnpacksZstd(t *testing.T) {
	var src, sink oci.Memory
	img := image(t, &src, "zstd", oci.HostPlatform(), compress.Options{Algorithm: compress.Zstd})
	data := write(t, &src, WriteOptions{Format: Docker}, named(t, img, "a"), named(t, img, "b"))
	got, err := Read(t.Context(), bytes.NewReader(data), &sink)
	assert.NilError(t, err)
	read, err := oci.ReadImage(t.Context(), &sink, got[0].Descriptor)
	assert.NilError(t, err)
	assert.Equal(t, read.ConfigDescriptor.Digest, img.ConfigDescriptor.Digest)
	assert.Equal(t, read.Layers[0].MediaType, ispec.MediaTypeImageLayer)
	assert.Equal(t, read.Layers[0].Digest, img.Layers[0].DiffID)

	img.Layers[0].DiffID = digest.FromString("other")
	img, err = oci.WriteImage(t.Context(), &src, img)
	assert.NilError(t, err)
	err = Write(t.Context(), io.Discard, []oci.Named{named(t, img)}, &src, WriteOptions{Format: Docker})
	assert.ErrorContains(t, err, "has content of digest")
}

func TestSharedBlobsAreWrittenOnce(t *testing.T) {
	var src oci.Memory
	one := image(t, &src, "one", oci.HostPlatform(), compress.Options{})
	data := write(t, &src, WriteOptions{}, named(t, one, "a"), named(t, one, "b"))
	seen := map[string]bool{}
	tr := tar.NewReader(bytes.NewReader(data))
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		assert.NilError(t, err)
		assert.Assert(t, !seen[hdr.Name], hdr.Name)
		seen[hdr.Name] = true
		assert.Assert(t, hdr.Uid == 0 && hdr.Uname == "" && hdr.ModTime.Unix() == 0)
	}
	assert.Equal(t, len(seen), 8) // oci-layout, index.json, manifest.json, blobs/, blobs/sha256/, manifest, config, layer
}

// multi is an index of two platforms and an attestation.
func multi(t *testing.T, src *oci.Memory) (oci.Named, oci.Image, oci.Image) {
	t.Helper()
	arm, other := oci.Platform{OS: "linux", Architecture: "arm64"}, oci.Platform{OS: "linux", Architecture: "s390x"}
	a, b := image(t, src, "arm", arm, compress.Options{}), image(t, src, "other", other, compress.Options{})
	a.Manifest.Platform, b.Manifest.Platform = &arm, &other
	attestation, err := src.PutBlob(t.Context(), "", strings.NewReader(`{"schemaVersion":2}`))
	assert.NilError(t, err)
	attestation.MediaType = "application/x-other"
	index, err := oci.WriteIndex(t.Context(), src, []ispec.Descriptor{a.Manifest, b.Manifest, attestation})
	assert.NilError(t, err)
	return oci.Named{Descriptor: index, References: parse(t, "me/multi")}, a, b
}

func TestIndexOfSeveralPlatforms(t *testing.T) {
	var src oci.Memory
	n, arm, other := multi(t, &src)
	for _, c := range []struct {
		platform oci.Platform
		listed   oci.Image
	}{{*other.Manifest.Platform, other}, {oci.Platform{OS: "plan9", Architecture: "mips"}, arm}} {
		data := write(t, &src, WriteOptions{Platform: c.platform}, n)
		var sink oci.Memory
		got, err := Read(t.Context(), bytes.NewReader(data), &sink)
		assert.NilError(t, err)
		assert.DeepEqual(t, got, []oci.Named{n}, sameReference)

		data = write(t, &src, WriteOptions{Format: Docker, Platform: c.platform}, n)
		got, err = Read(t.Context(), bytes.NewReader(data), &sink)
		assert.NilError(t, err)
		img, err := oci.ReadImage(t.Context(), &sink, got[0].Descriptor)
		assert.NilError(t, err)
		assert.Equal(t, img.ConfigDescriptor.Digest, c.listed.ConfigDescriptor.Digest)
	}
}

// without is a source in which a blob is missing.
type without struct {
	oci.BlobSource
	digest digest.Digest
}

func (w without) OpenBlob(ctx context.Context, desc ispec.Descriptor) (io.ReadCloser, error) {
	if desc.Digest == w.digest {
		return nil, fs.ErrNotExist
	}
	return w.BlobSource.OpenBlob(ctx, desc)
}

func TestWriteNeedsEveryBlob(t *testing.T) {
	var src oci.Memory
	one := image(t, &src, "one", oci.HostPlatform(), compress.Options{})
	for _, d := range []ispec.Descriptor{one.Manifest, one.ConfigDescriptor, one.Layers[0].Descriptor} {
		err := Write(t.Context(), io.Discard, []oci.Named{named(t, one, "x")}, without{&src, d.Digest}, WriteOptions{})
		assert.ErrorIs(t, err, fs.ErrNotExist)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, Write(ctx, io.Discard, []oci.Named{named(t, one, "x")}, &src, WriteOptions{}), context.Canceled)
}
