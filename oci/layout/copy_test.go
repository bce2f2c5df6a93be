package layout

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gotest.tools/v3/assert"
)

// linkable is a layout that lets its blobs be linked, or says err.
type linkable struct {
	*Layout
	err error
}

func (l linkable) LinkBlob(desc ispec.Descriptor, name string) error {
	if l.err != nil {
		return l.err
	}
	return os.Link(l.BlobPath(desc.Digest), name)
}

func TestCopyBlobLinks(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		same bool
	}{"linked": {nil, true}, "another file system": {errors.New("EXDEV"), false}} {
		t.Run(name, func(t *testing.T) {
			src, dst := linkable{newLayout(t), c.err}, newLayout(t)
			desc, err := src.PutBlob(t.Context(), "", strings.NewReader("content"))
			assert.NilError(t, err)
			_, err = dst.PutBlob(t.Context(), digest.FromString("other"), strings.NewReader("other"))
			assert.NilError(t, err)
			assert.NilError(t, os.WriteFile(dst.BlobPath(desc.Digest), []byte("damaged"), 0o644))
			for range 2 { // the second time it is there already
				assert.NilError(t, dst.CopyBlob(t.Context(), src, desc))
			}
			r, err := dst.OpenBlob(t.Context(), desc)
			assert.NilError(t, err)
			got, err := io.ReadAll(r)
			assert.NilError(t, errors.Join(err, r.Close()))
			assert.Equal(t, string(got), "content")
			a, err := os.Stat(src.BlobPath(desc.Digest))
			assert.NilError(t, err)
			b, err := os.Stat(dst.BlobPath(desc.Digest))
			assert.NilError(t, err)
			assert.Equal(t, os.SameFile(a, b), c.same)
			left, err := filepath.Glob(filepath.Join(dst.Dir(), ".tmp-*"))
			assert.NilError(t, err)
			assert.Equal(t, len(left), 0)
		})
	}
}
