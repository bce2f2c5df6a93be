package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
)

// workerName is the argv[0] under which the test binary is one of many processes on a store: see worker_test.go.
const workerName = "store-worker"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == workerName {
		if err := work(context.Background(), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// worker returns the command that runs this test binary as a worker.
func worker(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	assert.NilError(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Args = append([]string{workerName}, args...)
	cmd.Stderr = os.Stderr
	return cmd
}

func openStore(t *testing.T, root string) *Store {
	t.Helper()
	s, err := Open(t.Context(), root)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, s.Close()) })
	return s
}

func newStore(t *testing.T) *Store {
	t.Helper()
	return openStore(t, filepath.Join(t.TempDir(), "store"))
}

func ref(t *testing.T, name string) oci.Reference {
	t.Helper()
	r, err := oci.ParseReference(name)
	assert.NilError(t, err)
	return r
}

// putImage stores an image with one layer of the given text as a blob, which need not be a tar.
func putImage(ctx context.Context, s *Store, text string) (oci.Image, error) {
	layer, err := s.PutBlob(ctx, "", strings.NewReader(text))
	if err != nil {
		return oci.Image{}, err
	}
	layer.MediaType = compress.Options{Algorithm: compress.None}.MediaType()
	img := oci.Image{Layers: []oci.Layer{{Descriptor: layer, DiffID: layer.Digest}}}
	img.Config.Platform = oci.HostPlatform()
	img.Config.RootFS = ispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}}
	return oci.WriteImage(ctx, s, img)
}

func testImage(t *testing.T, s *Store, text string) oci.Image {
	t.Helper()
	img, err := putImage(t.Context(), s, text)
	assert.NilError(t, err)
	return img
}

// tmpNames lists what is in the store's tmp.
func tmpNames(t *testing.T, root string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, "tmp"))
	assert.NilError(t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestOpenMakesAPrivateStoreThatOthersRead(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a", "store")
	s := openStore(t, root)
	info, err := os.Stat(root)
	assert.NilError(t, err)
	assert.Equal(t, info.Mode().Perm(), fs.FileMode(0o700))
	images, err := s.Images(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(images), 0)
	assert.NilError(t, s.Close())
	assert.NilError(t, s.Close())
	openStore(t, root)
}

func TestOpenRefuses(t *testing.T) {
	open := func(root string) error {
		s, err := Open(t.Context(), root)
		if err == nil {
			s.Close()
		}
		return err
	}
	t.Run("a store that others can read", func(t *testing.T) {
		s := newStore(t)
		assert.NilError(t, os.Chmod(s.root, 0o750))
		var insecure *InsecureError
		assert.Assert(t, errors.As(open(s.root), &insecure))
		assert.Equal(t, insecure.Mode.Perm(), fs.FileMode(0o750))
	})
	t.Run("a store of somebody else", func(t *testing.T) {
		if os.Geteuid() != 0 {
			var insecure *InsecureError
			assert.Assert(t, errors.As(checkRoot("/"), &insecure))
			assert.Equal(t, insecure.UID, 0)
			return
		}
		s := newStore(t)
		assert.NilError(t, os.Chown(s.root, 12345, 12345))
		var insecure *InsecureError
		assert.Assert(t, errors.As(open(s.root), &insecure))
		assert.Equal(t, insecure.UID, 12345)
	})
	t.Run("a directory with something else", func(t *testing.T) {
		dir := t.TempDir()
		assert.NilError(t, os.WriteFile(filepath.Join(dir, "notes"), nil, 0o644))
		var format *FormatError
		assert.Assert(t, errors.As(open(dir), &format))
		info, err := os.Stat(dir)
		assert.NilError(t, err)
		assert.Assert(t, info.Mode().Perm() != 0o700, "its mode was changed")
	})
	t.Run("a newer format", func(t *testing.T) {
		s := newStore(t)
		assert.NilError(t, os.WriteFile(filepath.Join(s.root, formatFile), []byte("cairn store 99\n"), 0o600))
		assert.ErrorContains(t, open(s.root), `"cairn store 99"`)
	})
}

func TestOpenTakesAnEmptyDirectoryAndOneCutOff(t *testing.T) {
	empty := t.TempDir()
	assert.NilError(t, os.Chmod(empty, 0o755))
	openStore(t, empty)

	cut := t.TempDir()
	assert.NilError(t, os.Mkdir(filepath.Join(cut, "layers"), 0o700))
	assert.NilError(t, os.MkdirAll(filepath.Join(cut, "oci", "blobs"), 0o700))
	assert.NilError(t, os.WriteFile(filepath.Join(cut, ".format-x"), []byte("cai"), 0o600))
	s := openStore(t, cut)
	testImage(t, s, "x")

	assert.NilError(t, os.RemoveAll(filepath.Join(cut, "tmp")))
	testImage(t, openStore(t, cut), "y")
}

func TestDefaultRoot(t *testing.T) {
	for _, tc := range []struct{ root, data, want string }{
		{root: "/r", data: "/d", want: "/r"},
		{data: "/d", want: "/d/cairn"},
		{data: "relative", want: "/h/.local/share/cairn"},
		{want: "/h/.local/share/cairn"},
	} {
		t.Setenv("CAIRN_ROOT", tc.root)
		t.Setenv("XDG_DATA_HOME", tc.data)
		t.Setenv("HOME", "/h")
		got, err := DefaultRoot()
		assert.NilError(t, err)
		assert.Equal(t, got, tc.want)
	}
}

func TestFormOf(t *testing.T) {
	for _, tc := range []struct{ uidMap, want string }{
		{"         0       1000          1\n", "record"},
		{"0 0 4294967295\n", "chown 0 0 4294967295"},
		{"         0       1000          1\n         1     100000      65536\n", "chown 0 1000 1, 1 100000 65536"},
	} {
		assert.Equal(t, formOf(tc.uidMap), tc.want)
	}
}

func TestSweepTakesOnlyWhatNobodyHas(t *testing.T) {
	s := newStore(t)
	live, err := s.TempDir("live")
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(filepath.Join(live.Path(), "f"), nil, 0o600))
	dead := filepath.Join(s.root, "tmp", "dead")
	assert.NilError(t, os.MkdirAll(filepath.Join(dead, "work", "work", "deep"), 0o700))
	assert.NilError(t, os.Chmod(filepath.Join(dead, "work", "work"), 0))
	assert.NilError(t, os.WriteFile(filepath.Join(s.root, "tmp", "stray"), nil, 0o600))

	other := openStore(t, s.root)
	assert.DeepEqual(t, tmpNames(t, s.root), []string{filepath.Base(live.Path())})
	assert.Assert(t, !other.NeedsNamespaceToClean())
	assert.NilError(t, live.Close())
	assert.NilError(t, live.Close())
	assert.DeepEqual(t, tmpNames(t, s.root), []string{})
}

func TestBlobIsStoredOnceAndVerified(t *testing.T) {
	s := newStore(t)
	ctx := t.Context()
	const text = "content"
	d := digest.FromString(text)
	assert.Assert(t, !s.HasBlob(d))
	desc, err := s.PutBlob(ctx, d, strings.NewReader(text))
	assert.NilError(t, err)
	assert.Equal(t, desc.Digest, d)
	assert.Equal(t, desc.Size, int64(len(text)))
	assert.Assert(t, s.HasBlob(d))

	before, err := os.Stat(s.blobPath(d))
	assert.NilError(t, err)
	_, err = s.PutBlob(ctx, "", strings.NewReader(text)) // not announced: written and found to be there
	assert.NilError(t, err)
	_, err = s.PutBlob(ctx, d, iotestError{})
	assert.NilError(t, err, "it was read although it is there")
	after, err := os.Stat(s.blobPath(d))
	assert.NilError(t, err)
	assert.Assert(t, os.SameFile(before, after), "a blob that others may have locked was replaced")

	data, err := oci.ReadBlob(ctx, s, desc)
	assert.NilError(t, err)
	assert.Equal(t, string(data), text)

	var mismatch *oci.MismatchError
	_, err = s.PutBlob(ctx, digest.FromString("another"), strings.NewReader("wrong"))
	assert.Assert(t, errors.As(err, &mismatch))
	assert.Assert(t, !s.HasBlob(digest.FromString("wrong")), "what was not wanted was stored")
	desc.Size++
	_, err = s.OpenBlob(ctx, desc)
	assert.Assert(t, errors.As(err, &mismatch))
	assert.Assert(t, !errors.Is(err, fs.ErrNotExist))
	assert.Assert(t, s.HasBlob(d), "a wrong descriptor cost a good blob")
	_, err = s.PutBlob(ctx, "", iotestError{})
	assert.ErrorContains(t, err, "broken")

	long := digest.SHA512.FromString(text)
	desc, err = s.PutBlob(ctx, long, strings.NewReader(text))
	assert.NilError(t, err)
	assert.Equal(t, desc.Digest, long)
	_, err = oci.ReadBlob(ctx, s, desc)
	assert.NilError(t, err)
}

// iotestError is a reader that fails.
type iotestError struct{}

func (iotestError) Read([]byte) (int, error) { return 0, errors.New("broken") }

func TestDamagedBlobIsAMiss(t *testing.T) {
	for name, damage := range map[string][]byte{"truncated": []byte("cont"), "changed": []byte("c0ntent"), "empty": nil} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			ctx := t.Context()
			desc, err := s.PutBlob(ctx, "", strings.NewReader("content"))
			assert.NilError(t, err)
			assert.NilError(t, os.WriteFile(s.blobPath(desc.Digest), damage, 0o644))
			_, err = oci.ReadBlob(ctx, s, desc)
			assert.Assert(t, errors.Is(err, fs.ErrNotExist), "%v", err)
			assert.Assert(t, !s.HasBlob(desc.Digest))
			_, err = s.PutBlob(ctx, desc.Digest, strings.NewReader("content"))
			assert.NilError(t, err)
			_, err = oci.ReadBlob(ctx, s, desc)
			assert.NilError(t, err)
		})
	}
}

func TestPutBlobEndsWithItsContext(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	r := io.MultiReader(strings.NewReader("x"), readerFunc(func([]byte) (int, error) { cancel(); return 1, nil }))
	_, err := s.PutBlob(ctx, "", r)
	assert.Assert(t, errors.Is(err, context.Canceled), "%v", err)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestPipe(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 3*pipeBlock*pipeDepth/10+7)
	p := newPipe()
	go func() {
		_, err := p.Write(data)
		p.end(err)
	}()
	got, err := io.ReadAll(p)
	assert.NilError(t, err)
	assert.Assert(t, bytes.Equal(got, data))

	p = newPipe()
	p.stop()
	_, err = io.Copy(p, bytes.NewReader(bytes.Repeat(data, 2)))
	assert.Assert(t, errors.Is(err, errPipeStopped))
	assert.NilError(t, p.end(err))

	p = newPipe()
	assert.ErrorContains(t, p.end(errors.New("broken")), "broken")
	_, err = io.ReadAll(p)
	assert.ErrorContains(t, err, "broken")
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	assert.NilError(t, err)
	return string(data)
}
