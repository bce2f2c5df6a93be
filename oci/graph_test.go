package oci

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gotest.tools/v3/assert"
)

func platform(t *testing.T, s string) *Platform {
	t.Helper()
	p, err := ParsePlatform(s)
	assert.NilError(t, err)
	return &p
}

func TestPickManifest(t *testing.T) {
	var m Memory
	amd, arm := sample(t, &m, "amd64").Manifest, sample(t, &m, "arm64").Manifest
	amd.Platform, arm.Platform = platform(t, "linux/amd64"), platform(t, "linux/arm64")
	old := sample(t, &m, "386").Manifest // its platform stands in its config alone
	attestation := sample(t, &m, "unknown").Manifest
	attestation.Platform = &Platform{OS: "unknown", Architecture: "unknown"}
	other := put(t, &m, "application/x-other", "x")
	inner, err := WriteIndex(t.Context(), &m, []ispec.Descriptor{arm})
	assert.NilError(t, err)
	outer, err := WriteIndex(t.Context(), &m, []ispec.Descriptor{attestation, other, old, amd, inner})
	assert.NilError(t, err)

	for want, desc := range map[string]ispec.Descriptor{"linux/amd64": amd, "linux/arm64": arm, "linux/386": old} {
		got, err := PickManifest(t.Context(), &m, outer, *platform(t, want))
		assert.NilError(t, err)
		assert.Equal(t, got.Digest, desc.Digest, want)
	}
	_, err = PickManifest(t.Context(), &m, outer, *platform(t, "linux/s390x"))
	var none *PlatformError
	assert.Assert(t, errors.As(err, &none))
	assert.Error(t, err, "no image for linux/s390x, only for linux/386, linux/amd64, linux/arm64")

	same, err := PickManifest(t.Context(), &m, amd, *platform(t, "linux/s390x"))
	assert.NilError(t, err)
	assert.Equal(t, same.Digest, amd.Digest)

	ix, err := ReadIndex(t.Context(), &m, outer)
	assert.NilError(t, err)
	assert.Equal(t, len(ix.Manifests), 5)
	children, err := Children(t.Context(), &m, outer)
	assert.NilError(t, err)
	assert.DeepEqual(t, children, ix.Manifests)
	_, err = ReadIndex(t.Context(), &m, amd)
	assert.ErrorContains(t, err, "its media type is")
}

// An index that a hostile registry made must not cost more than it is long.
func TestManifestsHasLimits(t *testing.T) {
	var m Memory
	empty := put(t, &m, ispec.MediaTypeImageIndex, `{"schemaVersion":2,"manifests":[]}`)
	entry := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, empty.MediaType, empty.Digest, empty.Size)
	wide := put(t, &m, ispec.MediaTypeImageIndex, `{"manifests":[`+strings.TrimSuffix(strings.Repeat(entry+",", 5000), ",")+`]}`)
	_, _, err := Manifests(t.Context(), &m, wide)
	assert.ErrorContains(t, err, "more than 1000 manifests")

	deep := empty
	for range maxNesting {
		deep, err = WriteIndex(t.Context(), &m, []ispec.Descriptor{deep})
		assert.NilError(t, err)
	}
	_, _, err = Manifests(t.Context(), &m, deep)
	assert.ErrorContains(t, err, "nested more than")
}
