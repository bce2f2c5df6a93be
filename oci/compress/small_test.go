package compress

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/pgzip"
	"gotest.tools/v3/assert"
)

// A small stream takes another way than a large one; what comes out must not tell.
func TestSmallGzipIsWhatBlocksGive(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	for _, level := range []int{1, 3, 6, 9} {
		for _, n := range []int{0, 1, 511, 10240, gzipSmall - 1, gzipSmall, gzipSmall + 1, gzipBlock, gzipBlock + 1} {
			t.Run(fmt.Sprintf("level %d, %d bytes", level, n), func(t *testing.T) {
				content := make([]byte, n)
				_, _ = random.Read(content[n/2:])
				var want bytes.Buffer
				z, err := pgzip.NewWriterLevel(&want, level)
				assert.NilError(t, err)
				assert.NilError(t, z.SetConcurrency(gzipBlock, 2))
				_, err = z.Write(content)
				assert.NilError(t, err)
				assert.NilError(t, z.Close())

				var got bytes.Buffer
				w, err := NewWriter(&got, Options{Algorithm: Gzip, Level: level})
				assert.NilError(t, err)
				for rest := content; len(rest) > 0; {
					k := min(len(rest), 1000)
					_, err = w.Write(rest[:k])
					assert.NilError(t, err)
					rest = rest[k:]
				}
				assert.NilError(t, w.Close())
				assert.Assert(t, bytes.Equal(got.Bytes(), want.Bytes()))
			})
		}
	}
}

func BenchmarkSmallGzip(b *testing.B) {
	content := make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		w, err := NewWriter(io.Discard, Options{Algorithm: Gzip})
		assert.NilError(b, err)
		_, _ = w.Write(content)
		assert.NilError(b, w.Close())
	}
}
