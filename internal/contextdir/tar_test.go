package contextdir

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/opencontainers/go-digest"
	"gotest.tools/v3/assert"
)

func makeTar(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		content := []byte(nil)
		if h.Typeflag == tar.TypeReg {
			content = []byte(h.Uname) // the content travels in a field that nothing else uses
			h.Uname, h.Size = "", int64(len(content))
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		assert.NilError(t, w.WriteHeader(&h))
		_, err := w.Write(content)
		assert.NilError(t, err)
	}
	assert.NilError(t, w.Close())
	return buf.Bytes()
}

func file(name, content string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Uname: content, Uid: 5, Gid: 6, ModTime: time.Unix(1e9, 0)}
}

func TestFromTar(t *testing.T) {
	ctx := t.Context()
	raw := makeTar(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700},
		file("./f", "old"), file("/f", "new"), file("deep/implied/x", "x"),
		tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../deep"}, file("l/y", "y"),
		tar.Header{Name: "hard", Typeflag: tar.TypeLink, Linkname: "l/y"},
		tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o751}, file("d/z", "z"),
		tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o711},
		tar.Header{Name: "pipe", Typeflag: tar.TypeFifo}, file("empty", ""),
		tar.Header{Name: "was/", Typeflag: tar.TypeDir, Mode: 0o751}, file("was/gone", "z"), file("was", "file"),
	)
	var packed bytes.Buffer
	w, err := compress.NewWriter(&packed, compress.Options{Algorithm: compress.Zstd})
	assert.NilError(t, err)
	_, err = w.Write(raw)
	assert.NilError(t, err)
	assert.NilError(t, w.Close())

	for name, data := range map[string][]byte{"plain": raw, "zstd": packed.Bytes()} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c, err := FromTar(ctx, bytes.NewReader(data), dir)
			assert.NilError(t, err)
			left, err := os.ReadDir(dir)
			assert.NilError(t, err)
			assert.Equal(t, len(left), 0, "the spool has no name")
			got := map[string]string{}
			assert.NilError(t, c.Walk(ctx, ".", func(f File) error {
				assert.Equal(t, f.UID+f.GID, 0)
				got[f.Path] = f.Type.String()
				if f.Type == index.Regular {
					data, err := c.ReadFile(ctx, f.Path, 100)
					assert.NilError(t, err)
					assert.Equal(t, f.Digest, digest.FromBytes(data))
					got[f.Path] = string(data)
				}
				return nil
			}))
			dirType, link, fifo := index.Directory.String(), index.Symlink.String(), index.FIFO.String()
			assert.DeepEqual(t, got, map[string]string{
				".": dirType, "f": "new", "deep": dirType, "deep/implied": dirType, "deep/implied/x": "x", "l": link,
				"deep/y": "y", "hard": "y", "d": dirType, "d/z": "z", "pipe": fifo, "empty": "", "was": "file",
			})
			d, err := c.Lookup("d")
			assert.NilError(t, err)
			assert.Equal(t, d.Mode, uint32(0o711))
			y, err := c.Lookup("deep/y")
			assert.NilError(t, err)
			hard, err := c.Lookup("hard")
			assert.NilError(t, err)
			assert.Assert(t, y.Inode != "" && y.Inode == hard.Inode)
			f, err := c.Lookup("f")
			assert.NilError(t, err)
			assert.Equal(t, f.MTime, time.Unix(1e9, 0).UTC())

			view := c.WithIgnore(hide{names: []string{"deep"}})
			_, err = view.Lookup("deep/y")
			assert.Assert(t, errors.Is(err, fs.ErrNotExist))
			assert.NilError(t, c.Close())
		})
	}
}

func TestFromTarRefuses(t *testing.T) {
	for name, h := range map[string][]tar.Header{
		"up":               {file("../x", "")},
		"up after clean":   {file("a/../../x", "")},
		"link up":          {file("a", ""), {Name: "b", Typeflag: tar.TypeLink, Linkname: "../a"}},
		"link to nothing":  {{Name: "b", Typeflag: tar.TypeLink, Linkname: "a"}},
		"link to dir":      {{Name: "a", Typeflag: tar.TypeDir}, {Name: "b", Typeflag: tar.TypeLink, Linkname: "a"}},
		"below a file":     {file("a", ""), file("a/b", "")},
		"through a loop":   {{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "a"}, file("a/b", "")},
		"long target":      {{Name: "a", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("/", 1<<20-200)}},
		"long name":        {file(strings.Repeat("a/", 1<<18)+"b", "")},
		"owner too large":  {{Name: "a", Typeflag: tar.TypeReg, Uid: 1 << 32}},
		"owner unchanging": {{Name: "a", Typeflag: tar.TypeReg, Uid: 1<<32 - 1}},
		"unknown type":     {{Name: "a", Typeflag: 'V'}},
	} {
		_, err := FromTar(t.Context(), bytes.NewReader(makeTar(t, h...)), t.TempDir())
		assert.ErrorContains(t, err, "unpack", name)
	}
	whole := makeTar(t, file("a", "content"))
	_, err := FromTar(t.Context(), bytes.NewReader(whole[:515]), t.TempDir())
	assert.ErrorContains(t, err, "read context tar")
}

func TestIsTar(t *testing.T) {
	assert.Assert(t, IsTar(bytes.NewReader(makeTar(t, file("a", "b")))))
	for _, no := range []string{"", "text", string(make([]byte, 1024)), "\x1f\x8b\x08broken"} {
		assert.Assert(t, !IsTar(bytes.NewReader([]byte(no))), "%q", no)
	}
}

func TestSpoolKeepsHoles(t *testing.T) {
	s, err := NewSpool(t.TempDir())
	assert.NilError(t, err)
	defer s.Close()
	big := make([]byte, 8<<20)
	big[5<<20] = 1
	for range 2 {
		off, size, d, err := s.put(bytes.NewReader(big))
		assert.NilError(t, err)
		assert.Equal(t, d, digest.FromBytes(big))
		got := make([]byte, size)
		r := s.Open(off, size)
		_, err = io.ReadFull(r, got)
		assert.NilError(t, err)
		assert.Assert(t, bytes.Equal(got, big))
	}
}

func FuzzFromTar(f *testing.F) {
	f.Add(makeTar(f, file("a/b", "x"), tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "a"}, file("l/c", "y"),
		tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "l/c"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := FromTar(t.Context(), bytes.NewReader(data), t.TempDir())
		if err != nil {
			return
		}
		defer c.Close()
		err = c.Walk(t.Context(), ".", func(f File) error {
			if f.Type == index.Regular {
				_, err := c.ReadFile(t.Context(), f.Path, 1<<30)
				return err
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
