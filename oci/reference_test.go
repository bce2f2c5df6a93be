package oci

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

func TestParseReference(t *testing.T) {
	sum := "sha256:" + strings.Repeat("ab", 32)
	for _, c := range []struct{ in, full, familiar string }{
		{"me/app", "docker.io/me/app:latest", "me/app:latest"},
		{"me/redis:1", "docker.io/me/redis:1", "me/redis:1"},
		{"debian", "docker.io/library/debian:latest", "debian:latest"},
		{"index.docker.io/debian:12", "docker.io/library/debian:12", "debian:12"},
		{"docker.io/library/debian", "docker.io/library/debian:latest", "debian:latest"},
		{"localhost/x", "localhost/x:latest", "localhost/x:latest"},
		{"localhost:5000/a/b:v1", "localhost:5000/a/b:v1", "localhost:5000/a/b:v1"},
		{"[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"},
		{"quay.example/a/b/c_d__e", "quay.example/a/b/c_d__e:latest", "quay.example/a/b/c_d__e:latest"},
		{"app@" + sum, "docker.io/library/app@" + sum, "app@" + sum},
		{"app:1@" + sum, "docker.io/library/app:1@" + sum, "app:1@" + sum},
	} {
		r, err := ParseReference(c.in)
		assert.NilError(t, err, c.in)
		assert.Equal(t, r.String(), c.full)
		assert.Equal(t, r.Familiar(), c.familiar)
	}
}

func TestParseReferenceRefuses(t *testing.T) {
	for _, in := range []string{
		"", " ", ":tag", "a:", "UPPER", "a/B", "a b", "a:x y", "a//b", "/a", "a/", "-a", "a@sha256:12", "a@md5:" + strings.Repeat("ab", 16),
		strings.Repeat("ab", 32), "a:" + strings.Repeat("t", 129), strings.Repeat("a", 300), "http://a/b", "a\x00b", "../a",
	} {
		_, err := ParseReference(in)
		assert.Assert(t, err != nil, "%q was accepted", in)
	}
}

func TestReferenceParts(t *testing.T) {
	r, err := ParseReference("localhost:5000/a/b:v1")
	assert.NilError(t, err)
	assert.Equal(t, r.Domain(), "localhost:5000")
	assert.Equal(t, r.Path(), "a/b")
	assert.Equal(t, r.Repository(), "localhost:5000/a/b")
	assert.Equal(t, r.FamiliarRepository(), "localhost:5000/a/b")
	assert.Equal(t, r.Tag(), "v1")
	assert.Equal(t, r.WithTag("v2").String(), "localhost:5000/a/b:v2")
	assert.Equal(t, r.Digest().String(), "")
	assert.Assert(t, !r.IsZero())
	var zero Reference
	assert.Assert(t, zero.IsZero())
	assert.Equal(t, zero.String()+zero.Familiar()+zero.Repository()+zero.FamiliarRepository(), "")
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"me/app", "localhost:5000/a:1", "a@sha256:" + strings.Repeat("0", 64), "[::1]/a", "a__b/c--d:_x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReference(s)
		if err != nil {
			return
		}
		for _, form := range []string{r.String(), r.Familiar()} {
			again, err := ParseReference(form)
			assert.NilError(t, err)
			assert.Equal(t, again, r)
		}
	})
}
