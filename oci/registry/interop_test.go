package registry

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairnbuild/cairn/oci"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gotest.tools/v3/assert"
)

// dockerRegistry runs the distribution project's server on a free port and returns its host:port.
func dockerRegistry(t *testing.T) string {
	t.Helper()
	noLogins(t)
	if _, err := exec.LookPath("docker-registry"); err != nil {
		t.Skip("docker-registry is not installed")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	addr := listener.Addr().String()
	assert.NilError(t, listener.Close())
	dir := t.TempDir()
	conf := writeFile(t, fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", dir, addr), dir, "config.yml")
	var output bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "docker-registry", "serve", conf)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // it takes REGISTRY_AUTH_FILE for its own
	cmd.Stdout, cmd.Stderr = &output, &output
	assert.NilError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(output.String())
		}
	})
	for range 100 {
		resp, err := http.Get("http://" + addr + "/v2/") //nolint:noctx // a test on the loopback
		if err == nil {
			assert.NilError(t, resp.Body.Close())
			return addr
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("docker-registry does not answer: %s", &output)
	return ""
}

func skopeo(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("skopeo is not installed")
	}
	out, err := exec.CommandContext(t.Context(), "skopeo", args...).CombinedOutput()
	assert.NilError(t, err, "skopeo %s: %s", strings.Join(args, " "), out)
	return string(out)
}

func TestDockerRegistryPushThenPull(t *testing.T) {
	host := dockerRegistry(t)
	c := newClient(t, Options{})
	var m oci.Memory
	amd, arm := image(t, &m, "amd64", 3<<20), image(t, &m, "arm64", 0)
	amd.Manifest.Platform, arm.Manifest.Platform = &amd.Config.Platform, &arm.Config.Platform
	index, err := oci.WriteIndex(t.Context(), &m, []ispec.Descriptor{amd.Manifest, arm.Manifest})
	assert.NilError(t, err)
	ref := parse(t, host+"/me/app:1")
	assert.NilError(t, c.Push(t.Context(), ref, index, &m, nil))
	assert.NilError(t, c.Push(t.Context(), ref, index, &m, nil))

	c = newClient(t, Options{})
	desc, err := c.Resolve(t.Context(), ref)
	assert.NilError(t, err)
	assert.DeepEqual(t, desc, index)
	manifests, _, err := oci.Manifests(t.Context(), c.Source(ref), desc)
	assert.NilError(t, err)
	assert.Equal(t, len(manifests), 2)
	for _, want := range []oci.Image{amd, arm} {
		img, err := oci.ReadImage(t.Context(), c.Source(ref), want.Manifest)
		assert.NilError(t, err)
		assert.DeepEqual(t, img, want)
		assert.NilError(t, read(t.Context(), c.Source(ref), img.Layers[0].Descriptor))
	}
	_, err = c.Resolve(t.Context(), parse(t, host+"/me/app:2"))
	var notFound *NotFoundError
	assert.Assert(t, errors.As(err, &notFound), "%v", err)
}

// What skopeo pushes as Docker schema 2 is read, and what we push is read by skopeo.
func TestDockerRegistryWithSkopeo(t *testing.T) {
	host := dockerRegistry(t)
	c := newClient(t, Options{})
	var m oci.Memory
	img := image(t, &m, "amd64", 0) // skopeo checks no diff id of what it does not unpack
	assert.NilError(t, c.Push(t.Context(), parse(t, host+"/ours:1"), img.Manifest, &m, nil))
	assert.Assert(t, strings.Contains(skopeo(t, "inspect", "--tls-verify=false", "--raw", "docker://"+host+"/ours:1"), img.Layers[0].Digest.String()))

	dir := filepath.Join(t.TempDir(), "dir")
	skopeo(t, "copy", "--insecure-policy", "--src-tls-verify=false", "docker://"+host+"/ours:1", "oci:"+dir+":x")
	skopeo(t, "copy", "--insecure-policy", "--dest-tls-verify=false", "--format=v2s2", "oci:"+dir+":x", "docker://"+host+"/theirs:1")
	ref := parse(t, host+"/theirs:1")
	desc, err := c.Resolve(t.Context(), ref)
	assert.NilError(t, err)
	assert.Equal(t, desc.MediaType, oci.MediaTypeDockerManifest)
	read, err := oci.ReadImage(t.Context(), c.Source(ref), desc)
	assert.NilError(t, err)
	assert.DeepEqual(t, read.Config.RootFS, img.Config.RootFS)
}
