package layout

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gotest.tools/v3/assert"
)

// addImage puts a one-file image under the given names into l.
func addImage(t *testing.T, l *Layout, names ...string) oci.Image {
	t.Helper()
	var tarball, blob bytes.Buffer
	tw := tar.NewWriter(&tarball)
	assert.NilError(t, tw.WriteHeader(&tar.Header{Name: "hello", Mode: 0o644, Size: 5, Typeflag: tar.TypeReg}))
	_, err := tw.Write([]byte("world"))
	assert.NilError(t, err)
	assert.NilError(t, tw.Close())
	zw, err := compress.NewWriter(&blob, compress.Options{})
	assert.NilError(t, err)
	_, err = zw.Write(tarball.Bytes())
	assert.NilError(t, err)
	assert.NilError(t, zw.Close())

	desc, err := l.PutBlob(t.Context(), "", &blob)
	assert.NilError(t, err)
	desc.MediaType = compress.Options{}.MediaType()
	img := oci.Image{Layers: []oci.Layer{{Descriptor: desc, DiffID: digest.FromBytes(tarball.Bytes())}}}
	img.Config.Platform = oci.HostPlatform()
	img.Config.Config.Cmd = []string{"/hello"}
	img.Config.History = []ispec.History{{CreatedBy: "test"}}
	img, err = oci.WriteImage(t.Context(), l, img)
	assert.NilError(t, err)

	ix, err := l.Index(t.Context())
	assert.NilError(t, err)
	for _, name := range names {
		ix.Manifests = append(ix.Manifests, oci.WithName(img.Manifest, parse(t, name)))
	}
	assert.NilError(t, l.SetIndex(t.Context(), ix))
	return img
}

// run runs a tool, or skips the test when it is not installed.
func run(t *testing.T, tool string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("%s is not installed", tool)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	assert.NilError(t, err, "%s %s: %s", tool, strings.Join(args, " "), &stderr)
	return string(out)
}

// interopNames are references that are hard for the name in oci:DIR:NAME.
var interopNames = []string{"debian", "me/redis:1", "localhost:5000/a/b-c.d:v1.2", "me/a__b:v_", "[::1]:5000/x---y:_1"}

func TestUmociReadsOurLayout(t *testing.T) {
	l := newLayout(t)
	addImage(t, l, interopNames...)
	listed := strings.Fields(run(t, "umoci", "ls", "--layout", l.Dir()))
	for i, name := range interopNames {
		ref := parse(t, name).RefName()
		assert.Assert(t, slices.Contains(listed, ref), "%q in %q", ref, listed)
		bundle := filepath.Join(t.TempDir(), "bundle")
		run(t, "umoci", "unpack", "--rootless", "--image", l.Dir()+":"+ref, bundle)
		hello, err := os.ReadFile(filepath.Join(bundle, "rootfs", "hello"))
		assert.NilError(t, err)
		assert.Equal(t, string(hello), "world", interopNames[i])
	}
}

func TestSkopeoReadsOurLayout(t *testing.T) {
	l := newLayout(t)
	img := addImage(t, l, interopNames...)
	for _, name := range interopNames {
		out := run(t, "skopeo", "inspect", "oci:"+l.Dir()+":"+parse(t, name).RefName())
		var inspected struct{ Digest digest.Digest }
		assert.NilError(t, json.Unmarshal([]byte(out), &inspected))
		assert.Equal(t, inspected.Digest, img.Manifest.Digest)
	}
}

func TestWeReadSkopeosLayout(t *testing.T) {
	l := newLayout(t)
	img := addImage(t, l, "me/redis:1")
	dir := filepath.Join(t.TempDir(), "copy")
	run(t, "skopeo", "copy", "--insecure-policy", "oci:"+l.Dir()+":me/redis:1", "oci:"+dir+":other/name:2")
	again, err := Open(dir)
	assert.NilError(t, err)
	desc, err := again.Resolve(t.Context(), "other/name:2")
	assert.NilError(t, err)
	read, err := oci.ReadImage(t.Context(), again, desc)
	assert.NilError(t, err)
	assert.DeepEqual(t, read.Config, img.Config)
}

func TestWeReadUmocisLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "umoci")
	run(t, "umoci", "init", "--layout", dir)
	run(t, "umoci", "new", "--image", dir+":me/x:1")
	l, err := Open(dir)
	assert.NilError(t, err)
	ix, err := l.Index(t.Context())
	assert.NilError(t, err)
	named := oci.GroupByImage(ix.Manifests)
	assert.Equal(t, len(named), 1)
	assert.Equal(t, named[0].References[0].String(), "docker.io/me/x:1")
	_, err = oci.ReadImage(t.Context(), l, named[0].Descriptor)
	assert.NilError(t, err)
}
