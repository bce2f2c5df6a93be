package store

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/oci/compress"
)

// A tar of tests: "dir/" is a directory, "a -> b" a symbolic link, "a => b" a hard link, "a: text" a file.
func tarOf(t *testing.T, lines ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, line := range lines {
		h := tar.Header{Mode: 0o644, ModTime: time.Unix(1e9, 0), Format: tar.FormatPAX}
		text := ""
		if path, target, ok := strings.Cut(line, " -> "); ok {
			h.Name, h.Linkname, h.Typeflag = path, target, tar.TypeSymlink
		} else if path, target, ok := strings.Cut(line, " => "); ok {
			h.Name, h.Linkname, h.Typeflag = path, target, tar.TypeLink
		} else if path, content, ok := strings.Cut(line, ": "); ok {
			h.Name, h.Typeflag, text = path, tar.TypeReg, content
			h.Size = int64(len(content))
		} else {
			h.Name, h.Typeflag, h.Mode = line, tar.TypeDir, 0o755
		}
		assert.NilError(t, w.WriteHeader(&h))
		_, err := io.WriteString(w, text)
		assert.NilError(t, err)
	}
	assert.NilError(t, w.Close())
	return b.Bytes()
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	assert.NilError(t, err)
	assert.NilError(t, w.Close())
	return b.Bytes()
}

func descOf(data []byte) Descriptor {
	return Descriptor{MediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip", Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// dirStore is a store in which this process can make directories: in the one-id form unless it is root.
func dirStore(t *testing.T, root string) *Store {
	t.Helper()
	s := openStore(t, root)
	if s.host.form == "" {
		s.host.form = recordForm
	}
	return s
}

func newDirStore(t *testing.T) *Store { return dirStore(t, filepath.Join(t.TempDir(), "store")) }

func ingest(t *testing.T, s *Store, blob []byte, o IngestOptions) *Layer {
	t.Helper()
	l, err := s.IngestBlob(t.Context(), descOf(blob), bytes.NewReader(blob), o)
	assert.NilError(t, err)
	t.Cleanup(l.Release)
	return l
}

// readFile reads a file of the layer through its Source.
func readFile(t *testing.T, l *Layer, path string) string {
	t.Helper()
	r, err := l.OpenFile(t.Context(), path)
	assert.NilError(t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	assert.NilError(t, err)
	return string(data)
}

func TestIngest(t *testing.T) {
	for name, extract := range map[string]bool{"indexed": false, "extracted": true} {
		t.Run(name, func(t *testing.T) {
			s := newDirStore(t)
			ctx := t.Context()
			plain := tarOf(t, "etc/", "etc/hostname: box", "bin -> usr/bin")
			blob := gzipped(t, plain)
			l := ingest(t, s, blob, IngestOptions{Extract: extract, DiffID: digest.FromBytes(plain)})
			assert.Equal(t, l.DiffID(), digest.FromBytes(plain))
			assert.Equal(t, l.ContentID(), l.DiffID())
			assert.Equal(t, l.ID(), l.DiffID().Encoded())
			blobs := l.Blobs()
			assert.Equal(t, len(blobs), 1)
			assert.Equal(t, blobs[0].Digest, digest.FromBytes(blob))
			assert.Equal(t, blobs[0].MediaType, compress.Options{}.MediaType())
			_, ok := l.Dir(s.Form())
			assert.Equal(t, ok, extract)
			assert.Equal(t, readFile(t, l, "etc/hostname"), "box")

			again, err := s.IngestBlob(ctx, descOf(blob), iotestError{}, IngestOptions{})
			assert.NilError(t, err, "a blob that is here was read again")
			assert.Equal(t, again.ID(), l.ID())
			again.Release()
			found, err := openStore(t, s.root).FindLayer(ctx, l.DiffID(), nil)
			assert.NilError(t, err)
			found.Release()

			dir, err := l.EnsureDir(ctx, nil)
			assert.NilError(t, err)
			data, err := os.ReadFile(filepath.Join(dir, "etc", "hostname"))
			assert.NilError(t, err)
			assert.Equal(t, string(data), "box")
			assert.Equal(t, readFile(t, l, "etc/hostname"), "box")

			ix, err := l.EnsureDigests(ctx)
			assert.NilError(t, err)
			assert.Assert(t, ix.Complete())
			other, err := openStore(t, s.root).Layer(l.ID())
			assert.NilError(t, err)
			defer other.Release()
			ix, err = other.Index()
			assert.NilError(t, err)
			i, ok := ix.Find("etc/hostname")
			assert.Assert(t, ok)
			assert.Equal(t, ix.At(i).Digest, digest.FromString("box"))
		})
	}
}

func TestIngestDigestsWithoutADirectory(t *testing.T) {
	s := newStore(t)
	l := ingest(t, s, gzipped(t, tarOf(t, "a: A", "b: B", "c => a", "empty: ")), IngestOptions{})
	ix, err := l.EnsureDigests(t.Context())
	assert.NilError(t, err)
	i, _ := ix.Find("b")
	assert.Equal(t, ix.At(i).Digest, digest.FromString("B"))
	assert.Assert(t, ix.Complete())
	assert.Assert(t, l.st.tar == nil, "a tar was spooled for what one pass can do")
}

func TestIngestRefuses(t *testing.T) {
	plain := tarOf(t, "etc/", "etc/hostname: box")
	blob := gzipped(t, plain)
	flipped := bytes.Clone(blob)
	flipped[len(flipped)/2] ^= 1
	for name, tc := range map[string]struct {
		data []byte
		desc Descriptor
		o    IngestOptions
	}{
		"a blob cut off":         {data: blob[:len(blob)-9], desc: descOf(blob)},
		"a blob with more":       {data: append(bytes.Clone(blob), "more"...), desc: descOf(blob)},
		"another blob":           {data: flipped, desc: descOf(blob)},
		"another tar":            {data: blob, desc: descOf(blob), o: IngestOptions{DiffID: digest.FromString("x")}},
		"what is no tar":         {data: gzipped(t, bytes.Repeat([]byte("x"), 2000)), desc: descOf(gzipped(t, bytes.Repeat([]byte("x"), 2000)))},
		"a descriptor malformed": {data: blob, desc: Descriptor{Digest: "sha256:x"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newDirStore(t)
			for _, extract := range []bool{false, true} {
				tc.o.Extract = extract
				_, err := s.IngestBlob(t.Context(), tc.desc, bytes.NewReader(tc.data), tc.o)
				assert.Assert(t, err != nil)
				assert.Assert(t, !errors.Is(err, errPipeStopped), "%v", err)
			}
			assert.NilError(t, s.Close())
			assert.DeepEqual(t, tmpNames(t, s.root), []string{})
			for _, dir := range []string{"layers", "names", "oci/blobs/sha256"} {
				entries, err := os.ReadDir(filepath.Join(s.root, dir))
				assert.NilError(t, err)
				assert.Equal(t, len(entries), 0, dir)
			}
		})
	}
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.IngestBlob(ctx, descOf(blob), bytes.NewReader(blob), IngestOptions{})
	assert.Assert(t, errors.Is(err, context.Canceled), "%v", err)
	_, err = s.IngestBlob(t.Context(), descOf(blob), io.MultiReader(bytes.NewReader(blob[:20]), iotestError{}), IngestOptions{})
	assert.ErrorContains(t, err, "broken")
}

func TestProcessesIngestTheSameBlobAtOnce(t *testing.T) {
	s := newStore(t)
	blob := gzipped(t, tarOf(t, "etc/", "etc/hostname: box"))
	file := filepath.Join(t.TempDir(), "blob")
	assert.NilError(t, os.WriteFile(file, blob, 0o600))
	var running []*exec.Cmd
	for range 6 {
		cmd := worker(t, "ingest", s.root, file)
		assert.NilError(t, cmd.Start())
		running = append(running, cmd)
	}
	for _, cmd := range running {
		assert.NilError(t, cmd.Wait())
	}
	l, ok := s.LayerByBlob(digest.FromBytes(blob))
	assert.Assert(t, ok)
	defer l.Release()
	assert.Equal(t, readFile(t, l, "etc/hostname"), "box")
	report, err := s.Check(t.Context(), false)
	assert.NilError(t, err)
	assert.Equal(t, len(report.Problems), 0, "%v", report.Problems)
}

func TestLayerThatDependsOnThoseBelow(t *testing.T) {
	s := newDirStore(t)
	ctx := t.Context()
	base := ingest(t, s, gzipped(t, tarOf(t, "usr/", "usr/bin/", "usr/bin/tool: the tool", "bin -> usr/bin")), IngestOptions{})
	// Implied parents, one of them a link below, and a hard link to a file below.
	plain := tarOf(t, "bin/new: N", "opt/x/y: Y", "usr/bin/again => usr/bin/tool")
	for _, extract := range []bool{false, true} {
		top := ingest(t, s, gzipped(t, plain), IngestOptions{Extract: extract, Below: On(base)})
		assert.Equal(t, top.DiffID(), digest.FromBytes(plain))
		assert.Assert(t, top.ID() != top.DiffID().Encoded())
		ix, err := top.Index()
		assert.NilError(t, err)
		assert.Assert(t, !ix.Loose())
		assert.Equal(t, readFile(t, top, "usr/bin/new"), "N")
		assert.Equal(t, readFile(t, top, "usr/bin/again"), "the tool")
		dir, err := top.EnsureDir(ctx, []*Layer{base})
		assert.NilError(t, err)
		for path, want := range map[string]string{"usr/bin/new": "N", "opt/x/y": "Y", "usr/bin/again": "the tool"} {
			data, err := os.ReadFile(filepath.Join(dir, path))
			assert.NilError(t, err)
			assert.Equal(t, string(data), want)
		}
	}
	_, ok := s.LayerByDiffID(digest.FromBytes(plain))
	assert.Assert(t, !ok, "a layer whose meaning depends on others was found without them")

	found, err := s.FindLayer(ctx, digest.FromBytes(plain), []*Layer{base})
	assert.NilError(t, err)
	defer found.Release()
	ix, err := found.EnsureDigests(ctx)
	assert.NilError(t, err)
	i, ok := ix.Find("usr/bin/again")
	assert.Assert(t, ok)
	assert.Equal(t, ix.At(i).Digest, digest.FromString("the tool"))

	elsewhere, err := s.FindLayer(ctx, digest.FromBytes(plain), []*Layer{base, found})
	assert.NilError(t, err)
	defer elsewhere.Release()
	assert.Assert(t, elsewhere.ID() != found.ID())
	assert.Assert(t, elsewhere.ContentID() != found.ContentID())
}
