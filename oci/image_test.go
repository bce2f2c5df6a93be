package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gotest.tools/v3/assert"
)

func put(t *testing.T, m *Memory, mediaType, content string) ispec.Descriptor {
	t.Helper()
	desc, err := m.PutBlob(t.Context(), "", strings.NewReader(content))
	assert.NilError(t, err)
	desc.MediaType = mediaType
	return desc
}

func sample(t *testing.T, m *Memory, arch string) Image {
	t.Helper()
	layer := put(t, m, MediaTypeDockerLayerGzip, "layer of "+arch)
	img := Image{Layers: []Layer{{Descriptor: layer, DiffID: digest.FromString("tar of " + arch)}}}
	img.Config.OS, img.Config.Architecture = "linux", arch
	img.Config.Config.Env = []string{"A=<&>"}
	img.Config.Config.Shell = []string{"/bin/bash", "-c"}
	img.Config.Config.Healthcheck = &Healthcheck{Test: []string{"NONE"}}
	img.Config.Config.OnBuild = []string{"RUN x"}
	out, err := WriteImage(t.Context(), m, img)
	assert.NilError(t, err)
	return out
}

func TestWriteImageThenReadImageIsIdentity(t *testing.T) {
	var m Memory
	wrote := sample(t, &m, "amd64")
	read, err := ReadImage(t.Context(), &m, wrote.Manifest)
	assert.NilError(t, err)
	assert.Assert(t, cmp.Equal(wrote, read), cmp.Diff(wrote, read))
	assert.Equal(t, read.Layers[0].MediaType, ispec.MediaTypeImageLayerGzip)
	assert.Equal(t, read.Manifest.MediaType, ispec.MediaTypeImageManifest)
	assert.Equal(t, sample(t, &m, "amd64").Manifest.Digest, wrote.Manifest.Digest)

	raw, err := ReadBlob(t.Context(), &m, wrote.ConfigDescriptor)
	assert.NilError(t, err)
	assert.Assert(t, bytes.Contains(raw, []byte(`A=<&>`)), "%s", raw)
	assert.Assert(t, bytes.Contains(raw, []byte(`"Healthcheck"`)), "%s", raw)

	children, err := Children(t.Context(), &m, wrote.Manifest)
	assert.NilError(t, err)
	assert.DeepEqual(t, children, []ispec.Descriptor{wrote.ConfigDescriptor, wrote.Layers[0].Descriptor})
	none, err := Children(t.Context(), &m, wrote.ConfigDescriptor)
	assert.NilError(t, err)
	assert.Equal(t, len(none), 0)
}

func TestReadImageDockerSchema2(t *testing.T) {
	var m Memory
	config := put(t, &m, MediaTypeDockerConfig, fmt.Sprintf(
		`{"architecture":"amd64","os":"linux","config":{"Shell":["/bin/x"]},"rootfs":{"type":"layers","diff_ids":[%q]}}`, digest.FromString("tar")))
	layer := put(t, &m, MediaTypeDockerLayerGzip, "layer")
	manifest := put(t, &m, MediaTypeDockerManifest, fmt.Sprintf(
		`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"size":%d,"digest":%q},"layers":[{"mediaType":%q,"size":%d,"digest":%q}]}`,
		MediaTypeDockerManifest, config.MediaType, config.Size, config.Digest, layer.MediaType, layer.Size, layer.Digest))
	img, err := ReadImage(t.Context(), &m, manifest)
	assert.NilError(t, err)
	assert.DeepEqual(t, img.Config.Config.Shell, []string{"/bin/x"})
	assert.DeepEqual(t, img.Layers, []Layer{{Descriptor: layer, DiffID: digest.FromString("tar")}})
}

func TestReadImageRefuses(t *testing.T) {
	var m Memory
	config := put(t, &m, ispec.MediaTypeImageConfig, `{"rootfs":{"type":"layers","diff_ids":[]}}`)
	conf := fmt.Sprintf(`"config":{"mediaType":%q,"size":%d,"digest":%q}`, config.MediaType, config.Size, config.Digest)
	layer := fmt.Sprintf(`{"mediaType":%q,"size":5,"digest":%q}`, ispec.MediaTypeImageLayer, digest.FromString("layer"))
	bad := func(old, new string) string { return strings.Replace(conf, old, new, 1) }
	for _, c := range []struct{ name, mediaType, body, want string }{
		{"schema 1 by type", mediaTypeDockerSchema1Signed, `{}`, "schema 1"},
		{"schema 1 by content", MediaTypeDockerManifest, `{"schemaVersion":1,"fsLayers":[]}`, "schema 1"},
		{"no JSON", ispec.MediaTypeImageManifest, `<html>`, "invalid character"},
		{"wrong own type", ispec.MediaTypeImageManifest, `{"schemaVersion":2,"mediaType":"` + ispec.MediaTypeImageIndex + `"}`, "it says of itself"},
		{"both", ispec.MediaTypeImageManifest, `{` + conf + `,"layers":[],"manifests":[]}`, "both a manifest and an index"},
		{"really an index", ispec.MediaTypeImageManifest, `{"manifests":[]}`, "not the one that its descriptor says"},
		{"no config", ispec.MediaTypeImageManifest, `{"layers":[]}`, "config: "},
		{"artifact", ispec.MediaTypeImageManifest, `{` + bad(ispec.MediaTypeImageConfig, "text/x") + `}`, "not a container image"},
		{"artifact layer", ispec.MediaTypeImageManifest, `{` + conf + `,"layers":[` + strings.Replace(layer, ispec.MediaTypeImageLayer, "x", 1) + `]}`, "not a container image"},
		{"negative size", ispec.MediaTypeImageManifest, `{` + bad(fmt.Sprintf(`"size":%d`, config.Size), `"size":-1`) + `}`, "negative size"},
		{"bad digest", ispec.MediaTypeImageManifest, `{` + bad("sha256:", "sha256:..") + `}`, "invalid checksum digest"},
		{"huge config", ispec.MediaTypeImageManifest, `{` + bad(fmt.Sprintf(`"size":%d`, config.Size), `"size":99999999999`) + `}`, "more than the limit"},
		{"config of other size", ispec.MediaTypeImageManifest, `{` + bad(fmt.Sprintf(`"size":%d`, config.Size), `"size":1`) + `}`, "longer than the 1 bytes"},
		{"missing config", ispec.MediaTypeImageManifest, `{` + bad(config.Digest.String(), digest.FromString("none").String()) + `}`, "does not exist"},
		{"diff ids", ispec.MediaTypeImageManifest, `{` + conf + `,"layers":[` + layer + `]}`, "0 diff ids for the manifest's 1 layers"},
		{"index", ispec.MediaTypeImageIndex, `{"manifests":[]}`, "an index of several"},
		{"other", "text/html", `x`, "not a container image"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadImage(t.Context(), &m, put(t, &m, c.mediaType, c.body))
			assert.ErrorContains(t, err, c.want)
		})
	}
}

// liar gives the same bytes for every descriptor, endlessly when asked to, and verifies nothing.
type liar struct {
	data    string
	endless bool
}

func (l liar) OpenBlob(context.Context, ispec.Descriptor) (io.ReadCloser, error) {
	if l.endless {
		return io.NopCloser(zeros{}), nil
	}
	return io.NopCloser(strings.NewReader(l.data)), nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestReadBlobTrustsNoSource(t *testing.T) {
	want := ispec.Descriptor{Digest: digest.FromString("true"), Size: 4}
	for _, c := range []struct {
		src  liar
		want string
	}{
		{liar{data: "lies"}, "has content of digest"},
		{liar{data: "tru"}, "ends after 3 of 4 bytes"},
		{liar{data: "truer"}, "longer than the 4 bytes"},
		{liar{endless: true}, "longer than the 4 bytes"},
	} {
		_, err := ReadBlob(t.Context(), c.src, want)
		assert.ErrorContains(t, err, c.want)
		var mismatch *MismatchError
		assert.Assert(t, errors.As(err, &mismatch))
	}
	data, err := ReadBlob(t.Context(), liar{data: "true"}, want)
	assert.NilError(t, err)
	assert.Equal(t, string(data), "true")
}

func TestMemoryRefusesWrongDigest(t *testing.T) {
	var m Memory
	_, err := m.PutBlob(t.Context(), digest.FromString("a"), strings.NewReader("b"))
	assert.ErrorContains(t, err, "content has digest")
	_, err = m.OpenBlob(t.Context(), ispec.Descriptor{Digest: digest.FromString("b"), Size: 1})
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

func FuzzReadImage(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"layers":[]}`), []byte(`{}`))
	f.Add([]byte(`{"fsLayers":[]}`), []byte(`{"rootfs":{"diff_ids":["x"]}}`))
	f.Fuzz(func(t *testing.T, manifest, config []byte) {
		d, err := parseDocument(manifest, ispec.MediaTypeImageManifest)
		if err != nil || checkImage(d) != nil {
			return
		}
		img, err := assemble(d, config)
		if err != nil {
			return
		}
		var m Memory
		wrote, err := WriteImage(t.Context(), &m, img)
		assert.NilError(t, err, "what was read can be written")
		again, err := ReadImage(t.Context(), &m, wrote.Manifest)
		assert.NilError(t, err, "what was written can be read")
		assert.Equal(t, len(again.Layers), len(img.Layers))
	})
}
