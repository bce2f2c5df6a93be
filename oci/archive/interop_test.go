package archive

import (
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
	"gotest.tools/v3/assert"
)

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

// archives writes each format of one image, and of two, to files.
func archives(t *testing.T) (oneOf, twoOf map[Format]string, one, two oci.Image) {
	t.Helper()
	var src oci.Memory
	one = image(t, &src, "one", oci.HostPlatform(), compress.Options{})
	two = image(t, &src, "two", oci.HostPlatform(), compress.Options{Algorithm: compress.Zstd})
	oneOf, twoOf = map[Format]string{}, map[Format]string{}
	for f, name := range map[Format]string{Combined: "combined", OCI: "oci", Docker: "docker"} {
		oneOf[f] = filepath.Join(t.TempDir(), name+"1.tar")
		twoOf[f] = filepath.Join(t.TempDir(), name+"2.tar")
		first := named(t, one, "me/one:1")
		assert.NilError(t, os.WriteFile(oneOf[f], write(t, &src, WriteOptions{Format: f}, first), 0o644))
		data := write(t, &src, WriteOptions{Format: f}, first, named(t, two, "two", "localhost:5000/two:2"))
		assert.NilError(t, os.WriteFile(twoOf[f], data, 0o644))
	}
	return oneOf, twoOf, one, two
}

func TestSkopeoReadsOurArchives(t *testing.T) {
	oneOf, twoOf, one, two := archives(t)
	config := func(src string) digest.Digest {
		return digest.FromString(run(t, "skopeo", "inspect", "--raw", "--config", src))
	}
	for _, f := range []Format{Combined, OCI} {
		assert.Equal(t, config("oci-archive:"+oneOf[f]), one.ConfigDescriptor.Digest)
		assert.Equal(t, config("oci-archive:"+twoOf[f]+":me/one:1"), one.ConfigDescriptor.Digest)
		assert.Equal(t, config("oci-archive:"+twoOf[f]+":localhost:5000/two:2"), two.ConfigDescriptor.Digest)
	}
	for _, f := range []Format{Combined, Docker} {
		assert.Equal(t, config("docker-archive:"+oneOf[f]), one.ConfigDescriptor.Digest)
		assert.Equal(t, config("docker-archive:"+twoOf[f]+":two:latest"), two.ConfigDescriptor.Digest)
	}
	for i, src := range []string{"oci-archive:" + twoOf[Combined] + ":two:latest", "docker-archive:" + twoOf[Docker] + ":two:latest"} {
		dir := filepath.Join(t.TempDir(), "copy")
		run(t, "skopeo", "copy", "--insecure-policy", src, "oci:"+dir+":x:1")
		var sink oci.Memory
		got, err := ReadDir(t.Context(), dir, &sink)
		assert.NilError(t, err)
		img, err := oci.ReadImage(t.Context(), &sink, got[0].Descriptor)
		assert.NilError(t, err)
		assert.Equal(t, img.Layers[0].DiffID, two.Layers[0].DiffID, "%d", i)
	}
}

func TestWeReadSkopeosArchives(t *testing.T) {
	oneOf, _, one, _ := archives(t)
	for _, transport := range []string{"oci-archive", "docker-archive"} {
		path := filepath.Join(t.TempDir(), "copy.tar")
		run(t, "skopeo", "copy", "--insecure-policy", "oci-archive:"+oneOf[OCI], transport+":"+path+":docker.io/other/name:2")
		f, err := os.Open(path)
		assert.NilError(t, err)
		defer f.Close()
		var sink oci.Memory
		got, err := Read(t.Context(), f, &sink)
		assert.NilError(t, err)
		assert.DeepEqual(t, got[0].References, parse(t, "other/name:2"), sameReference)
		img, err := oci.ReadImage(t.Context(), &sink, got[0].Descriptor)
		assert.NilError(t, err)
		assert.Equal(t, img.ConfigDescriptor.Digest, one.ConfigDescriptor.Digest, transport)
	}
}

// podman gives the arguments for a store of the test's own, also for a user without one.
func podman(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	args := []string{"--root", dir + "/root", "--runroot", dir + "/run", "--tmpdir", dir + "/tmp", "--storage-driver", "vfs"}
	t.Cleanup(func() {
		if os.Getuid() == 0 {
			return
		}
		for _, command := range [][]string{
			{"unshare", "rm", "-rf", dir + "/root"}, // directories of other owners, or without write permission
			{"system", "migrate"},                   // ends the process that keeps podman's namespace
		} {
			_ = exec.Command("podman", append(args, command...)...).Run() //nolint:noctx // the test's own is done
		}
	})
	return args
}

func TestPodmanLoadsOurArchives(t *testing.T) {
	oneOf, twoOf, one, two := archives(t)
	for path, want := range map[string][]string{
		oneOf[Combined]: {"docker.io/me/one:1"}, oneOf[OCI]: {"docker.io/me/one:1"}, oneOf[Docker]: {"docker.io/me/one:1"},
		twoOf[Combined]: {"docker.io/library/two:latest", "docker.io/me/one:1", "localhost:5000/two:2"},
		twoOf[Docker]:   {"docker.io/library/two:latest", "docker.io/me/one:1", "localhost:5000/two:2"},
	} {
		store := podman(t)
		run(t, "podman", append(store, "load", "-q", "-i", path)...)
		out := run(t, "podman", append(store, "images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")...)
		var names []string
		for line := range strings.Lines(out) {
			name, id, _ := strings.Cut(strings.TrimSpace(line), " ")
			names = append(names, name)
			expect := one.ConfigDescriptor.Digest
			if strings.Contains(name, "two") {
				expect = two.ConfigDescriptor.Digest
			}
			assert.Equal(t, id, expect.String(), path)
		}
		slices.Sort(names)
		assert.DeepEqual(t, names, want)
	}
}

func TestWeReadPodmansArchives(t *testing.T) {
	oneOf, _, one, _ := archives(t)
	store := podman(t)
	run(t, "podman", append(store, "load", "-q", "-i", oneOf[OCI])...)
	for _, format := range []string{"docker-archive", "oci-archive"} {
		path := filepath.Join(t.TempDir(), "saved.tar")
		run(t, "podman", append(store, "save", "-q", "--format", format, "-o", path, "docker.io/me/one:1")...)
		f, err := os.Open(path)
		assert.NilError(t, err)
		defer f.Close()
		var sink oci.Memory
		got, err := Read(t.Context(), f, &sink)
		assert.NilError(t, err)
		assert.Equal(t, len(got), 1)
		img, err := oci.ReadImage(t.Context(), &sink, got[0].Descriptor)
		assert.NilError(t, err)
		assert.Equal(t, img.ConfigDescriptor.Digest, one.ConfigDescriptor.Digest)
		assert.DeepEqual(t, got[0].References, parse(t, "me/one:1"), sameReference)
	}
}

// A manifest of Docker's kind stays one in the store and in our archives; others have to read it there.
func TestSkopeoReadsDockerManifestsInOurArchives(t *testing.T) {
	var src oci.Memory
	img := image(t, &src, "one", oci.HostPlatform(), compress.Options{})
	var m map[string]any
	data, err := oci.ReadBlob(t.Context(), &src, img.Manifest)
	assert.NilError(t, err)
	text := strings.NewReplacer("application/vnd.oci.image.manifest.v1+json", oci.MediaTypeDockerManifest,
		"application/vnd.oci.image.config.v1+json", oci.MediaTypeDockerConfig,
		"application/vnd.oci.image.layer.v1.tar+gzip", oci.MediaTypeDockerLayerGzip).Replace(string(data))
	assert.NilError(t, json.Unmarshal([]byte(text), &m))
	desc, err := src.PutBlob(t.Context(), "", strings.NewReader(text))
	assert.NilError(t, err)
	desc.MediaType = oci.MediaTypeDockerManifest
	path := filepath.Join(t.TempDir(), "docker.tar")
	n := oci.Named{Descriptor: desc, References: parse(t, "x")}
	assert.NilError(t, os.WriteFile(path, write(t, &src, WriteOptions{}, n), 0o644))
	for _, transport := range []string{"oci-archive:", "docker-archive:"} {
		out := run(t, "skopeo", "inspect", "--raw", "--config", transport+path)
		assert.Equal(t, digest.FromString(out), img.ConfigDescriptor.Digest)
		run(t, "skopeo", "copy", "--insecure-policy", transport+path, "oci:"+filepath.Join(t.TempDir(), "copy")+":x")
	}
}
