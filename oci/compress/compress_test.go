package compress

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"gotest.tools/v3/assert"
)

// sample is text-like content of n bytes, the same in every run.
func sample(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "line %d of %d\n", r.IntN(5000), r.IntN(50))
	}
	return b.Bytes()[:n]
}

func pack(t testing.TB, o Options, content []byte, step int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, o)
	assert.NilError(t, err)
	for len(content) > 0 {
		n := min(step, len(content))
		_, err := w.Write(content[:n])
		assert.NilError(t, err)
		content = content[n:]
	}
	assert.NilError(t, w.Close())
	return b.Bytes()
}

func unpack(t testing.TB, packed []byte) ([]byte, Algorithm) {
	t.Helper()
	r, alg, err := NewReader(bytes.NewReader(packed))
	assert.NilError(t, err)
	content, err := io.ReadAll(r)
	assert.NilError(t, err)
	assert.NilError(t, r.Close())
	return content, alg
}

func TestRoundTrip(t *testing.T) {
	for _, o := range []Options{{}, {Gzip, 1}, {Gzip, 9}, {Zstd, 0}, {Zstd, 1}, {Zstd, 22}, {Algorithm: None}} {
		for _, size := range []int{0, 1, 511, gzipBlock, 3*gzipBlock + 17} {
			if o.Level == zstdMax && size > gzipBlock {
				continue // minutes under -race
			}
			content := sample(size)
			packed := pack(t, o, content, 100_000)
			assert.Equal(t, Detect(packed[:min(DetectLen, len(packed))]), o.fill().Algorithm)
			got, alg := unpack(t, packed)
			assert.Equal(t, alg, o.fill().Algorithm)
			assert.Assert(t, bytes.Equal(got, content), "%v of %d bytes", o, size)
		}
	}
}

// docs/architecture.md rule 12: blocks never depend on the number of cores.
func TestOutputDependsOnContentAlone(t *testing.T) {
	content := sample(5*gzipBlock + 3)
	for _, o := range []Options{{Algorithm: Gzip}, {Algorithm: Zstd}} {
		want := digest.FromBytes(pack(t, o, content, len(content)))
		old := runtime.GOMAXPROCS(0)
		for _, procs := range []int{1, 3, 8} {
			runtime.GOMAXPROCS(procs)
			got := digest.FromBytes(pack(t, o, content, 7777*procs))
			runtime.GOMAXPROCS(old)
			assert.Equal(t, got, want, "%v on %d processors", o, procs)
		}
	}
}

// When this fails a new compressor gives other bytes: raise generation and put the new digests here.
func TestGoldenOutput(t *testing.T) {
	assert.Equal(t, generation, "1")
	content := sample(2*gzipBlock + 3)
	for o, want := range map[Options]string{
		{}:        "sha256:c1f975fcfcc8bed71395307f95f996ee0a119349c226b16672e3c3a1d37a6659",
		{Zstd, 0}: "sha256:0fa56fa650fa43749e56683495bf588d7c153790893635454b05bc8945bd9048",
	} {
		assert.Equal(t, digest.FromBytes(pack(t, o, content, 4096)).String(), want, o.String())
	}
}

func TestReadsWhatSystemToolsWrite(t *testing.T) {
	content := sample(300_000)
	for tool, alg := range map[string]Algorithm{"gzip": Gzip, "zstd": Zstd, "xz": Xz, "bzip2": Bzip2} {
		t.Run(tool, func(t *testing.T) {
			if _, err := exec.LookPath(tool); err != nil {
				t.Skipf("%s is not installed", tool)
			}
			packTool := func(content []byte) []byte {
				cmd := exec.CommandContext(t.Context(), tool, "-c")
				cmd.Stdin = bytes.NewReader(content)
				out, err := cmd.Output()
				assert.NilError(t, err)
				return out
			}
			// Two streams one after the other are one content.
			got, found := unpack(t, append(packTool(content[:1000]), packTool(content[1000:])...))
			assert.Equal(t, found, alg)
			assert.Assert(t, bytes.Equal(got, content))
			empty, found := unpack(t, packTool(nil))
			assert.Equal(t, found, alg)
			assert.Equal(t, len(empty), 0)
		})
	}
}

func TestSystemToolsReadWhatWeWrite(t *testing.T) {
	content := sample(2*gzipBlock + 5)
	for tool, alg := range map[string]Algorithm{"gzip": Gzip, "zstd": Zstd} {
		t.Run(tool, func(t *testing.T) {
			if _, err := exec.LookPath(tool); err != nil {
				t.Skipf("%s is not installed", tool)
			}
			cmd := exec.CommandContext(t.Context(), tool, "-dc")
			cmd.Stdin = bytes.NewReader(pack(t, Options{Algorithm: alg}, content, 1<<16))
			out, err := cmd.Output()
			assert.NilError(t, err)
			assert.Assert(t, bytes.Equal(out, content))
		})
	}
}

func TestDamageIsAnError(t *testing.T) {
	for _, o := range []Options{{Algorithm: Gzip}, {Algorithm: Zstd}} {
		whole := pack(t, o, sample(gzipBlock), gzipBlock)
		flipped := bytes.Clone(whole)
		flipped[len(flipped)/2] ^= 0x55
		for name, data := range map[string][]byte{"cut": whole[:len(whole)-5], "flipped": flipped} {
			r, _, err := NewReader(bytes.NewReader(data))
			assert.NilError(t, err)
			_, err = io.Copy(io.Discard, r)
			assert.Assert(t, err != nil, "%v %s was read", o, name)
			assert.NilError(t, r.Close())
		}
	}
}

func TestWindowLimit(t *testing.T) {
	// A frame header (RFC 8878, 3.1.1.1) with a window of 256 MiB, then an empty last block.
	r, _, err := NewReader(strings.NewReader("\x28\xb5\x2f\xfd\x00\x90\x01\x00\x00"))
	if err == nil {
		_, err = io.ReadAll(r)
	}
	assert.ErrorIs(t, err, ErrWindow)

	if _, err := exec.LookPath("xz"); err != nil {
		t.Skip("xz is not installed")
	}
	for dict, want := range map[string]error{"128MiB": nil, "192MiB": ErrWindow} {
		cmd := exec.CommandContext(t.Context(), "xz", "-c", "--lzma2=preset=0,dict="+dict)
		cmd.Stdin = strings.NewReader("content")
		out, err := cmd.Output()
		assert.NilError(t, err)
		_, _, err = NewReader(bytes.NewReader(out))
		assert.ErrorIs(t, err, want)
	}
}

func TestParseOptions(t *testing.T) {
	for _, c := range []struct {
		alg, level, str, mediaType string
	}{
		{"", "", "gzip-6.1", "application/vnd.oci.image.layer.v1.tar+gzip"},
		{"gzip", "9", "gzip-9.1", "application/vnd.oci.image.layer.v1.tar+gzip"},
		{"zstd", "", "zstd-3.1", "application/vnd.oci.image.layer.v1.tar+zstd"},
		{"uncompressed", "0", "uncompressed", "application/vnd.oci.image.layer.v1.tar"},
	} {
		o, err := ParseOptions(c.alg, c.level)
		assert.NilError(t, err)
		assert.Equal(t, o.String(), c.str)
		assert.Equal(t, o.MediaType(), c.mediaType)
	}
	for _, bad := range [][2]string{{"xz", ""}, {"estargz", ""}, {"gzip", "10"}, {"gzip", "-1"}, {"zstd", "23"}, {"uncompressed", "1"}, {"gzip", "fast"}} {
		_, err := ParseOptions(bad[0], bad[1])
		assert.Assert(t, err != nil, "%v was accepted", bad)
	}
	for _, o := range []Options{{Algorithm: Xz}, {Gzip, 10}, {Algorithm: "x"}} {
		_, err := NewWriter(io.Discard, o)
		assert.Assert(t, err != nil, "%v was accepted", o)
	}
	assert.Equal(t, Options{}.MediaType(), Options{Algorithm: Gzip}.MediaType())
}

func FuzzNewReader(f *testing.F) {
	f.Add([]byte{})
	f.Add(pack(f, Options{}, []byte("x"), 1))
	f.Add(pack(f, Options{Algorithm: Zstd}, []byte("x"), 1))
	f.Add([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46\x00\x00\x00\x00\x1c\xdf\x44\x21\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04YZ"))
	f.Add([]byte("BZh91AY&SY"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, alg, err := NewReader(bytes.NewReader(data))
		if err != nil {
			return
		}
		n, err := io.Copy(io.Discard, io.LimitReader(r, 1<<20))
		if alg == None && (err != nil || n != int64(len(data))) {
			t.Fatalf("%d of %d plain bytes, %v", n, len(data), err)
		}
		assert.NilError(t, r.Close())
	})
}
