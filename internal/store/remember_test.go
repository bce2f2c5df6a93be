package store

import (
	"testing"

	"gotest.tools/v3/assert"
)

func TestRemember(t *testing.T) {
	s, err := Open(t.Context(), t.TempDir())
	assert.NilError(t, err)
	defer s.Close()
	assert.Assert(t, !s.Remembers("overlay"))
	s.Remember("overlay")
	assert.Assert(t, s.Remembers("overlay"))
	assert.Assert(t, !s.Remembers("other"))
	s.host.boot = "another"
	assert.Assert(t, !s.Remembers("overlay"))
}
