package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gotest.tools/v3/assert"
)

// drop copies a tar without the files of the given names.
func drop(t *testing.T, data []byte, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	tw, tr := tar.NewWriter(&b), tar.NewReader(bytes.NewReader(data))
next:
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		assert.NilError(t, err)
		for _, name := range names {
			if hdr.Name == name {
				continue next
			}
		}
		assert.NilError(t, tw.WriteHeader(hdr))
		_, err = io.Copy(tw, tr)
		assert.NilError(t, err)
	}
	assert.NilError(t, tw.Close())
	return b.Bytes()
}

func TestReadNeedsEveryBlob(t *testing.T) {
	var src, sink oci.Memory
	one := image(t, &src, "one", oci.HostPlatform(), compress.Options{})
	data := write(t, &src, WriteOptions{}, named(t, one, "x"))
	for _, d := range []ispec.Descriptor{one.Manifest, one.ConfigDescriptor, one.Layers[0].Descriptor} {
		_, err := Read(t.Context(), bytes.NewReader(drop(t, data, blobName(d.Digest))), &sink)
		assert.ErrorIs(t, err, fs.ErrNotExist)
		_, err = Read(t.Context(), bytes.NewReader(drop(t, data, blobName(d.Digest), "index.json")), &sink)
		if d.Digest != one.Manifest.Digest { // a docker-archive needs no manifest
			assert.ErrorContains(t, err, "which is not there")
		}
	}
}

// An archive of docker save --platform has an index that names images which are not in it.
func TestIndexIsNarrowedToWhatIsThere(t *testing.T) {
	var src, sink oci.Memory
	n, arm, other := multi(t, &src)
	data := write(t, &src, WriteOptions{}, n)
	got, err := Read(t.Context(), bytes.NewReader(drop(t, data, blobName(other.Layers[0].Digest))), &sink)
	assert.NilError(t, err)
	assert.DeepEqual(t, got[0].References, n.References, sameReference)
	ix, err := oci.ReadIndex(t.Context(), &sink, got[0].Descriptor)
	assert.NilError(t, err)
	assert.Equal(t, len(ix.Manifests), 2)
	picked, err := oci.PickManifest(t.Context(), &sink, got[0].Descriptor, *arm.Manifest.Platform)
	assert.NilError(t, err)
	assert.Equal(t, picked.Digest, arm.Manifest.Digest)

	_, err = Read(t.Context(), bytes.NewReader(drop(t, data, blobName(n.Descriptor.Digest))), &sink)
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

// legacy is what docker save wrote before version 25: layers by image id, a link where two images share one, and the names of
// all at the end.
func legacy(t testing.TB) (data []byte, config string) {
	t.Helper()
	first, second := string(tarOf(t, file1("a", "1"))), string(tarOf(t, file1("b", "2")))
	config = fmt.Sprintf(`{"architecture":"amd64","os":"linux","unknown":1,"rootfs":{"type":"layers","diff_ids":[%q,%q,%q]}}`,
		digest.FromString(first), digest.FromString(second), digest.FromString(first))
	return tarOf(t,
		tar.Header{Name: "aaa/", Typeflag: tar.TypeDir}, file1("aaa/VERSION", "1.0"), file1("aaa/json", `{"id":"aaa"}`),
		file1("aaa/layer.tar", first),
		tar.Header{Name: "bbb/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "../aaa/layer.tar"},
		tar.Header{Name: "ddd/layer.tar", Typeflag: tar.TypeLink, Linkname: "bbb/layer.tar"},
		file1("ccc/layer.tar", second),
		file1("ccc/layer.tar", second),
		file1("0123.json", config),
		file1("./manifest.json", `[{"Config":"0123.json","RepoTags":["me/old:1"],"Layers":["aaa/layer.tar","ccc/layer.tar","ddd/layer.tar"]}]`),
		file1("repositories", `{}`),
	), config
}

func TestReadLegacyDockerArchive(t *testing.T) {
	var sink oci.Memory
	data, config := legacy(t)
	got, err := Read(t.Context(), io.MultiReader(bytes.NewReader(data), strings.NewReader("\x00\x00")), &sink)
	assert.NilError(t, err)
	assert.DeepEqual(t, got[0].References, parse(t, "me/old:1"), sameReference)
	img, err := oci.ReadImage(t.Context(), &sink, got[0].Descriptor)
	assert.NilError(t, err)
	assert.Equal(t, img.ConfigDescriptor.Digest, digest.FromString(config))
	assert.Equal(t, len(img.Layers), 3)
	for _, l := range img.Layers {
		assert.Equal(t, l.MediaType, ispec.MediaTypeImageLayer)
		assert.Equal(t, l.Digest, l.DiffID)
		_, err := oci.ReadBlob(t.Context(), &sink, l.Descriptor)
		assert.NilError(t, err)
	}
}

func TestReadRefuses(t *testing.T) {
	layer := string(tarOf(t, file1("a", "1")))
	conf := fmt.Sprintf(`{"rootfs":{"diff_ids":[%q]}}`, digest.FromString(layer))
	other := digest.FromString("other")
	man := func(layer string) tar.Header {
		return file1("manifest.json", `[{"Config":"c.json","Layers":["`+layer+`"]}]`)
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "not an image archive"},
		{"no tar", bytes.Repeat([]byte("text"), 500), "invalid tar header"},
		{"root file system", tarOf(t, file1("etc/passwd", "root")), "not an image archive"},
		{"wrong digest", tarOf(t, file1(blobName(other), "lies")), "content has digest"},
		{"bad index", tarOf(t, file1("index.json", "[")), "unexpected end"},
		{"no config", tarOf(t, man("l.tar")), `names "c.json", which is not there`},
		{"no layer", tarOf(t, file1("c.json", conf), man("l.tar")), `names "l.tar", which is not there`},
		{"other layer", tarOf(t, file1("c.json", conf), file1("l.tar", layer+"x"), man("l.tar")), "not the config's diff id"},
		{"layer count", tarOf(t, file1("c.json", "{}"), file1("l.tar", layer), man("l.tar")), "0 diff ids for 1 layers"},
		{"bz2 layer", tarOf(t, file1("c.json", conf), file1("l.tar", "BZh91AY&SY"), man("l.tar")), "have no media type"},
		{"link cycle", tarOf(t, file1("c.json", conf), tar.Header{Name: "l.tar", Typeflag: tar.TypeSymlink, Linkname: "l.tar"}, man("l.tar")), "which is not there"},
		{"link out", tarOf(t, file1("c.json", conf), tar.Header{Name: "l.tar", Typeflag: tar.TypeSymlink, Linkname: "../../etc/passwd"}, man("l.tar")), "which is not there"},
		{"bad name", tarOf(t, file1("c.json", conf), file1("l.tar", layer), file1("manifest.json", `[{"Config":"c.json","RepoTags":["A B"],"Layers":["l.tar"]}]`)), "parse reference"},
		{"cut", packed(t, tarOf(t, file1("x", layer)), compress.Options{})[:100], "unexpected EOF"},
		{"wrong size", tarOf(t, file1("index.json", fmt.Sprintf(`{"manifests":[{"mediaType":%q,"digest":%q,"size":1}]}`,
			ispec.MediaTypeImageManifest, digest.FromString("{}"))), file1(blobName(digest.FromString("{}")), "{}")), "longer than the 1 bytes"},
		{"huge index", tarOf(t, file1("index.json", strings.Repeat(" ", oci.MaxMetadata+1))), "more than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var sink oci.Memory
			_, err := Read(t.Context(), bytes.NewReader(c.data), &sink)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

func TestNamesFromManifestJSONWhereTheIndexHasNone(t *testing.T) {
	var src, sink oci.Memory
	one := image(t, &src, "one", oci.HostPlatform(), compress.Options{})
	data := write(t, &src, WriteOptions{}, named(t, one))
	items := fmt.Sprintf(`[{"Config":%q,"RepoTags":["me/one:7"],"Layers":[]}]`, blobName(one.ConfigDescriptor.Digest))
	data = append(tarOf(t, file1("x", ""))[:512], data...) // any other file
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	assert.NilError(t, tw.WriteHeader(&tar.Header{Name: "manifest.json", Size: int64(len(items)), Mode: 0o644}))
	_, err := tw.Write([]byte(items))
	assert.NilError(t, err)
	assert.NilError(t, tw.Flush())
	got, err := Read(t.Context(), io.MultiReader(&b, bytes.NewReader(drop(t, data, "manifest.json"))), &sink)
	assert.NilError(t, err)
	assert.DeepEqual(t, got, []oci.Named{named(t, one, "me/one:7")}, sameReference)
}

// untar writes the files of a tar to a directory.
func untar(t *testing.T, data []byte) string {
	t.Helper()
	dir := t.TempDir()
	tr := tar.NewReader(bytes.NewReader(data))
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		assert.NilError(t, err)
		path := filepath.Join(dir, hdr.Name)
		if hdr.Typeflag == tar.TypeDir {
			assert.NilError(t, os.MkdirAll(path, 0o755))
			continue
		}
		content, err := io.ReadAll(tr)
		assert.NilError(t, err)
		assert.NilError(t, os.WriteFile(path, content, 0o644))
	}
}

func TestReadDir(t *testing.T) {
	var src oci.Memory
	n, arm, other := multi(t, &src)
	dir := untar(t, write(t, &src, WriteOptions{Format: OCI}, n))
	var sink oci.Memory
	got, err := ReadDir(t.Context(), dir, &sink)
	assert.NilError(t, err)
	assert.DeepEqual(t, got, []oci.Named{n}, sameReference)
	for _, img := range []oci.Image{arm, other} {
		_, err = oci.ReadBlob(t.Context(), &sink, img.Layers[0].Descriptor)
		assert.NilError(t, err)
	}

	secret := filepath.Join(t.TempDir(), "secret")
	assert.NilError(t, os.WriteFile(secret, []byte("x"), 0o600))
	blob := filepath.Join(dir, blobName(other.Layers[0].Digest))
	assert.NilError(t, os.Remove(blob))
	assert.NilError(t, os.Symlink(secret, blob))
	got, err = ReadDir(t.Context(), dir, &sink) // narrowed
	assert.NilError(t, err)
	_, err = oci.PickManifest(t.Context(), &sink, got[0].Descriptor, *other.Manifest.Platform)
	assert.ErrorContains(t, err, "no image for linux/s390x")

	assert.NilError(t, os.WriteFile(filepath.Join(dir, blobName(arm.Layers[0].Digest)), make([]byte, arm.Layers[0].Size), 0o644))
	_, err = ReadDir(t.Context(), dir, &sink)
	assert.ErrorContains(t, err, "has content of digest")
	_, err = ReadDir(t.Context(), t.TempDir(), &sink)
	assert.ErrorIs(t, err, ErrNotArchive)

	// What would block, or act, when it is opened.
	for _, name := range []string{blobName(arm.Layers[0].Digest), "index.json"} {
		assert.NilError(t, os.Remove(filepath.Join(dir, name)))
		assert.NilError(t, syscall.Mkfifo(filepath.Join(dir, name), 0o644))
		d := &directory{sink: &sink}
		d.root, err = os.OpenRoot(dir)
		assert.NilError(t, err)
		_, err = d.OpenBlob(t.Context(), arm.Layers[0].Descriptor)
		assert.ErrorContains(t, err, "not a regular file")
		assert.NilError(t, d.root.Close())
	}
	_, err = ReadDir(t.Context(), dir, &sink)
	assert.ErrorContains(t, err, "not a regular file")
}

// testdata has what docker save of version 20.10.24 wrote, compressed with gzip.
func TestReadDockerSave(t *testing.T) {
	f, err := os.Open("testdata/docker-save-20.10.tar.gz")
	assert.NilError(t, err)
	defer f.Close()
	var sink oci.Memory
	got, err := Read(t.Context(), f, &sink)
	assert.NilError(t, err)
	assert.Equal(t, len(got), 1)
	assert.DeepEqual(t, got[0].References, parse(t, "me/one:1", "localhost:5000/x"), sameReference)
	img, err := oci.ReadImage(t.Context(), &sink, got[0].Descriptor)
	assert.NilError(t, err)
	assert.Equal(t, img.ConfigDescriptor.Digest.Encoded(), "1288928d1dbc27f70c3589c4db4682214be5999bd29716bf1d74d76fddc9d93a")
	assert.DeepEqual(t, img.Config.Config.Cmd, []string{"/bin/one"})
}

func FuzzRead(f *testing.F) {
	var src oci.Memory
	one := image(f, &src, "one", oci.HostPlatform(), compress.Options{})
	f.Add(write(f, &src, WriteOptions{}, named(f, one, "me/one:1")))
	f.Add(write(f, &src, WriteOptions{Format: Docker}, named(f, one, "me/one:1")))
	old, _ := legacy(f)
	f.Add(old)
	f.Add(packed(f, old, compress.Options{}))
	f.Fuzz(func(t *testing.T, data []byte) {
		var sink oci.Memory
		got, err := Read(t.Context(), io.LimitReader(bytes.NewReader(data), 1<<20), &sink)
		if err != nil {
			return
		}
		for _, n := range got { // every blob is there, as promised
			err := Write(t.Context(), io.Discard, []oci.Named{n}, &sink, WriteOptions{Format: OCI})
			assert.NilError(t, err)
		}
	})
}
