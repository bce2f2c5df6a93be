package layer_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/oci/layer"
)

// A small tar that would take a lot of memory: by many names, by deep ones, by attributes, by the same name again and again.
func TestReadStopsAtBombs(t *testing.T) {
	const limit = 1 << 20
	for _, tt := range []struct {
		name string
		size int // of one entry's texts
		head func(i int) *tar.Header
	}{
		{"many names", 0, func(i int) *tar.Header { return &tar.Header{Name: fmt.Sprint("f", i)} }},
		{"implied parents", 0, func(i int) *tar.Header { return &tar.Header{Name: fmt.Sprint(i, strings.Repeat("/d", 20))} }},
		{"attributes", 1000, func(i int) *tar.Header {
			return &tar.Header{Name: fmt.Sprint("f", i), PAXRecords: map[string]string{"SCHILY.xattr.user.x": strings.Repeat("x", 1000)}}
		}},
		{"links", 1000, func(i int) *tar.Header {
			return &tar.Header{Name: fmt.Sprint("f", i), Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("x", 1000)}
		}},
		{"one name", 0, func(int) *tar.Header { return &tar.Header{Name: "f"} }},
		{"whiteouts", 0, func(i int) *tar.Header { return &tar.Header{Name: fmt.Sprint(".wh.f", i)} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			read := func(n int) error {
				var buf bytes.Buffer
				w := tar.NewWriter(&buf)
				for i := range n {
					assert.NilError(t, w.WriteHeader(tt.head(i)))
				}
				assert.NilError(t, w.Close())
				_, err := layer.ReadWithin(t.Context(), &buf, layer.ReadOptions{}, limit)
				return err
			}
			assert.NilError(t, read(limit/(40*(512+tt.size))))
			var bomb *layer.BombError
			err := read(limit/512 + 1)
			assert.Assert(t, errors.As(err, &bomb), "%v", err)
			assert.Equal(t, bomb.Limit, int64(limit))
		})
	}
}
