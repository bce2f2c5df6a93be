package oci

import (
	"testing"

	"gotest.tools/v3/assert"
)

func TestPlatformFormats(t *testing.T) {
	for in, want := range map[string]string{
		"linux/amd64": "linux/amd64", "linux/x86_64": "linux/amd64", "linux/arm64": "linux/arm64", "linux/arm64/v8": "linux/arm64",
		"linux/arm": "linux/arm/v7", "linux/arm/v6": "linux/arm/v6", "arm64": "linux/arm64", "linux/riscv64": "linux/riscv64",
	} {
		p, err := ParsePlatform(in)
		assert.NilError(t, err)
		assert.Equal(t, FormatPlatform(p), want)
	}
	for _, in := range []string{"", "linux/", "a/b/c/d", "no such", "linux/amd64/\x00"} {
		_, err := ParsePlatform(in)
		assert.Assert(t, err != nil, "%q was accepted", in)
	}
	assert.Equal(t, FormatPlatform(Platform{}), "unknown")
}

func TestMatchPlatform(t *testing.T) {
	for _, c := range []struct {
		want, have string
		match      bool
	}{
		{"linux/amd64", "linux/amd64", true},
		{"linux/amd64", "linux/386", true},
		{"linux/386", "linux/amd64", false},
		{"linux/arm/v7", "linux/arm/v6", true},
		{"linux/arm/v6", "linux/arm/v7", false},
		{"linux/arm64", "linux/amd64", false},
		{"linux/amd64", "windows/amd64", false},
	} {
		want, err := ParsePlatform(c.want)
		assert.NilError(t, err)
		have, err := ParsePlatform(c.have)
		assert.NilError(t, err)
		assert.Equal(t, MatchPlatform(want, have), c.match, "%s on %s", c.have, c.want)
	}
	assert.Assert(t, MatchPlatform(HostPlatform(), HostPlatform()))
}
