package oci

import (
	"testing"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gotest.tools/v3/assert"
)

func TestRefName(t *testing.T) {
	for in, want := range map[string]string{
		"me/redis:1":                "me/redis:1",
		"debian":                    "debian:latest",
		"localhost:5000/a-b/c.d":    "localhost:5000/a-b/c.d:latest",
		"a--b:1":                    "a--b:1",
		"me/a__b-c:1":               "me/a0+5f0+5fb-c:1",
		"a---b:1":                   "a0+2d0+2d0+2db:1",
		"x:_v":                      "x0+3a0+5fv",
		"x-y:v_":                    "x0+2dy0+3av0+5f",
		"x:v..2":                    "x:v0+2e0+2e2",
		"[::1]:5000/a:1":            "0+5b0+3a0+3a10+5d0+3a5000/a:1",
		"x0/y:1.0-rc1":              "x0/y:1.0-rc1",
		"x@" + digestOf(t).String(): "x@" + digestOf(t).String(),
	} {
		r, err := ParseReference(in)
		assert.NilError(t, err)
		assert.Equal(t, r.RefName(), want)
		assert.Assert(t, refNameGrammar.MatchString(want), want)
		back, err := ParseRefName(want)
		assert.NilError(t, err)
		assert.Equal(t, back, r)
	}
	assert.Equal(t, Reference{}.RefName(), "")
}

func digestOf(t *testing.T) digest.Digest {
	t.Helper()
	return digest.FromString("x")
}

func FuzzRefName(f *testing.F) {
	f.Add("me/a__b:v_")
	f.Add("[::1]:5000/a---b:_-._")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReference(s)
		if err != nil {
			return
		}
		name := r.RefName()
		assert.Assert(t, refNameGrammar.MatchString(name), "%q of %v", name, r)
		back, err := ParseRefName(name)
		assert.NilError(t, err)
		assert.Equal(t, back, r)
	})
}

func TestGroupByImage(t *testing.T) {
	a, b := ispec.Descriptor{Digest: digest.FromString("a")}, ispec.Descriptor{Digest: digest.FromString("b")}
	a.Annotations = map[string]string{"kept": "yes"}
	one, err := ParseReference("me/one:1")
	assert.NilError(t, err)
	two, err := ParseReference("two")
	assert.NilError(t, err)
	onlyShort := b
	onlyShort.Annotations = map[string]string{ispec.AnnotationRefName: "two"}
	broken := b
	broken.Annotations = map[string]string{AnnotationImageName: "BAD", ispec.AnnotationRefName: "worse\n"}

	named := GroupByImage([]ispec.Descriptor{WithName(a, one), onlyShort, broken, WithName(a, two), WithName(a, two)})
	assert.Equal(t, len(named), 2)
	assert.DeepEqual(t, named[0].Descriptor, a)
	assert.Assert(t, named[0].References[0] == one && named[0].References[1] == two && len(named[0].References) == 2)
	assert.Assert(t, len(named[1].References) == 1 && named[1].References[0] == two)
	assert.Equal(t, a.Annotations["kept"], "yes")
}
