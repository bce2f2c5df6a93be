package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnbuild/cairn/oci"
	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gotest.tools/v3/assert"
)

// serve runs an in-process registry on the loopback behind wrap, which may be nil, and returns its host:port.
func serve(t *testing.T, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	noLogins(t)
	handler := http.Handler(olareg.New(config.Config{Storage: config.ConfigStorage{StoreType: config.StoreMem}}))
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// noLogins hides the logins of whoever runs the test, and returns a home directory for others.
func noLogins(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	for _, name := range []string{"DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"} {
		t.Setenv(name, "")
	}
	return home
}

func newClient(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	assert.NilError(t, err)
	return c
}

func parse(t *testing.T, s string) oci.Reference {
	t.Helper()
	r, err := oci.ParseReference(s)
	assert.NilError(t, err)
	return r
}

// image stores an image with one layer of size random bytes.
func image(t *testing.T, m *oci.Memory, arch string, size int) oci.Image {
	t.Helper()
	content := make([]byte, size)
	random := rand.NewChaCha8([32]byte{byte(size), arch[0]})
	_, _ = random.Read(content)
	desc, err := m.PutBlob(t.Context(), "", bytes.NewReader(content))
	assert.NilError(t, err)
	desc.MediaType = ispec.MediaTypeImageLayerGzip
	img := oci.Image{Layers: []oci.Layer{{Descriptor: desc, DiffID: digest.FromString(arch)}}}
	img.Config.Platform = oci.Platform{OS: "linux", Architecture: arch}
	img, err = oci.WriteImage(t.Context(), m, img)
	assert.NilError(t, err)
	return img
}

func read(ctx context.Context, src oci.BlobSource, desc ispec.Descriptor) (err error) {
	rc, err := src.OpenBlob(ctx, desc)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, rc)
	return errors.Join(err, rc.Close())
}

func TestPushThenPull(t *testing.T) {
	host := serve(t, nil)
	c := newClient(t, Options{UserAgent: "cairn/test"})
	var m oci.Memory
	amd, arm := image(t, &m, "amd64", 3<<20), image(t, &m, "arm64", 0)
	for i, img := range []*oci.Image{&amd, &arm} {
		img.Manifest.Platform = &oci.Platform{OS: "linux", Architecture: []string{"amd64", "arm64"}[i]}
	}
	index, err := oci.WriteIndex(t.Context(), &m, []ispec.Descriptor{amd.Manifest, arm.Manifest})
	assert.NilError(t, err)
	ref := parse(t, host+"/me/app:1")

	sent := map[digest.Digest]Progress{}
	assert.NilError(t, c.Push(t.Context(), ref, index, &m, func(p Progress) { sent[p.Descriptor.Digest] = p }))
	assert.Equal(t, sent[amd.Layers[0].Digest].Done, int64(3<<20))
	assert.Assert(t, !sent[amd.Layers[0].Digest].Exists)
	assert.NilError(t, c.Push(t.Context(), ref, index, &m, func(p Progress) { sent[p.Descriptor.Digest] = p }))
	assert.Assert(t, sent[amd.Layers[0].Digest].Exists)

	c = newClient(t, Options{})
	desc, err := c.Resolve(t.Context(), ref)
	assert.NilError(t, err)
	assert.DeepEqual(t, desc, index)
	src := c.Source(ref)
	picked, err := oci.PickManifest(t.Context(), src, desc, oci.Platform{OS: "linux", Architecture: "arm64"})
	assert.NilError(t, err)
	img, err := oci.ReadImage(t.Context(), src, picked)
	assert.NilError(t, err)
	assert.DeepEqual(t, img.Config, arm.Config)
	assert.NilError(t, read(t.Context(), src, img.Layers[0].Descriptor)) // an empty blob
	assert.NilError(t, read(t.Context(), src, amd.Layers[0].Descriptor))

	byDigest := ref.WithTag("").WithDigest(amd.Manifest.Digest)
	desc, err = c.Resolve(t.Context(), byDigest)
	assert.NilError(t, err)
	assert.Equal(t, desc.Digest, amd.Manifest.Digest)
	assert.NilError(t, c.Push(t.Context(), byDigest, amd.Manifest, &m, nil))
}

func TestNotFound(t *testing.T) {
	host := serve(t, nil)
	c := newClient(t, Options{})
	var m oci.Memory
	img := image(t, &m, "amd64", 10)
	assert.NilError(t, c.Push(t.Context(), parse(t, host+"/app:1"), img.Manifest, &m, nil))
	for _, s := range []string{host + "/none", host + "/app:2", host + "/app@" + digest.FromString("x").String()} {
		_, err := c.Resolve(t.Context(), parse(t, s))
		var notFound *NotFoundError
		assert.Assert(t, errors.As(err, &notFound), "%v", err)
		assert.ErrorIs(t, err, fs.ErrNotExist)
	}
	missing := ispec.Descriptor{MediaType: ispec.MediaTypeImageLayerGzip, Digest: digest.FromString("x"), Size: 1}
	assert.ErrorIs(t, read(t.Context(), c.Source(parse(t, host+"/app:1")), missing), fs.ErrNotExist)
}

// cutter ends each answer that is longer than limit early, once, in the given way.
type cutter struct {
	http.Handler
	limit  int
	reset  bool
	cuts   atomic.Int32
	ranges atomic.Int32
}

func (c *cutter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Range") != "" {
		c.ranges.Add(1)
	}
	if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") || r.Header.Get("Range") != "" || c.cuts.Load() > 0 {
		c.Handler.ServeHTTP(w, r)
		return
	}
	rec := httptest.NewRecorder()
	c.Handler.ServeHTTP(rec, r)
	body := rec.Body.Bytes()
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	if len(body) > c.limit {
		c.cuts.Add(1)
		body = body[:c.limit]
	}
	_, _ = w.Write(body)
	if !c.reset {
		return // net/http closes the connection of a short answer
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		time.Sleep(50 * time.Millisecond)
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
}

func TestCutDownloadsAreResumed(t *testing.T) {
	for _, reset := range []bool{false, true} {
		cut := &cutter{limit: 1 << 20, reset: reset}
		host := serve(t, func(h http.Handler) http.Handler { cut.Handler = h; return cut })
		c := newClient(t, Options{})
		var m oci.Memory
		img := image(t, &m, "amd64", 3<<20)
		ref := parse(t, host+"/app:1")
		assert.NilError(t, c.Push(t.Context(), ref, img.Manifest, &m, nil))
		assert.NilError(t, read(t.Context(), c.Source(ref), img.Layers[0].Descriptor))
		assert.Equal(t, cut.cuts.Load(), int32(1))
		if !reset {
			assert.Equal(t, cut.ranges.Load(), int32(1))
		}
	}
}

// liar answers all blob and manifest requests with the same thing.
func liar(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) string {
	t.Helper()
	return serve(t, func(http.Handler) http.Handler { return http.HandlerFunc(answer) })
}

func TestLyingRegistry(t *testing.T) {
	var m oci.Memory
	img := image(t, &m, "amd64", 100)
	layer, manifest := img.Layers[0].Descriptor, img.Manifest
	for name, c := range map[string]struct {
		desc   ispec.Descriptor
		answer func(w http.ResponseWriter, r *http.Request)
	}{
		"wrong bytes": {layer, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 100)) }},
		"short":       {layer, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 50)) }},
		"long":        {layer, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 5000)) }},
		"endless": {layer, func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}},
		"wrong manifest": {manifest, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", manifest.MediaType)
			_, _ = w.Write([]byte(`{"schemaVersion":2,"mediaType":"` + manifest.MediaType + `","config":{},"layers":[]}`))
		}},
		"endless manifest": {manifest, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", manifest.MediaType)
			for r.Context().Err() == nil {
				if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<16)); err != nil {
					return
				}
			}
		}},
		"html": {manifest, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>log in</html>")) }},
	} {
		t.Run(name, func(t *testing.T) {
			host := liar(t, c.answer)
			err := read(t.Context(), newClient(t, Options{}).Source(parse(t, host+"/app")), c.desc)
			assert.Assert(t, err != nil)
			t.Log(err)
		})
	}
}

func TestResolveComparesTheDigest(t *testing.T) {
	var m oci.Memory
	img := image(t, &m, "amd64", 100)
	data, err := oci.ReadBlob(t.Context(), &m, img.Manifest)
	assert.NilError(t, err)
	host := liar(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", img.Manifest.MediaType)
		w.Header().Set("Docker-Content-Digest", img.Manifest.Digest.String())
		_, _ = w.Write(data)
	})
	c := newClient(t, Options{})
	other := digest.FromString("other")
	_, err = c.Resolve(t.Context(), parse(t, host+"/app@"+other.String()))
	if err == nil { // a HEAD has no content yet: reading finds it
		err = read(t.Context(), c.Source(parse(t, host+"/app")), ispec.Descriptor{
			MediaType: img.Manifest.MediaType, Digest: other, Size: img.Manifest.Size,
		})
	}
	assert.Assert(t, err != nil)
	desc, err := c.Resolve(t.Context(), parse(t, host+"/app:1"))
	assert.NilError(t, err)
	assert.DeepEqual(t, desc, img.Manifest)
}

// An old registry's HEAD has no digest: the manifest is read.
func TestResolveWithoutDigestHeader(t *testing.T) {
	var m oci.Memory
	img := image(t, &m, "amd64", 100)
	data, err := oci.ReadBlob(t.Context(), &m, img.Manifest)
	assert.NilError(t, err)
	host := liar(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", img.Manifest.MediaType)
		if r.Method == http.MethodGet {
			_, _ = w.Write(data)
		}
	})
	desc, err := newClient(t, Options{}).Resolve(t.Context(), parse(t, host+"/app:1"))
	assert.NilError(t, err)
	assert.DeepEqual(t, desc, img.Manifest)
}

func TestRateLimitAndDeadHost(t *testing.T) {
	host := liar(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) })
	_, err := newClient(t, Options{}).Resolve(t.Context(), parse(t, host+"/app:1"))
	assert.ErrorIs(t, err, ErrRateLimited)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	dead := listener.Addr().String()
	assert.NilError(t, listener.Close())
	_, err = newClient(t, Options{}).Resolve(t.Context(), parse(t, dead+"/app:1"))
	assert.ErrorContains(t, err, "connection refused")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = newClient(t, Options{}).Resolve(ctx, parse(t, dead+"/app:1"))
	assert.ErrorIs(t, err, context.Canceled)
}

func TestLoopbackWithSelfSignedCertificate(t *testing.T) {
	noLogins(t)
	server := httptest.NewTLSServer(olareg.New(config.Config{Storage: config.ConfigStorage{StoreType: config.StoreMem}}))
	t.Cleanup(server.Close)
	var m oci.Memory
	img := image(t, &m, "amd64", 10)
	ref := parse(t, strings.TrimPrefix(server.URL, "https://")+"/app:1")
	c := newClient(t, Options{})
	assert.NilError(t, c.Push(t.Context(), ref, img.Manifest, &m, nil))
	_, err := c.Resolve(t.Context(), ref)
	assert.NilError(t, err)
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1:5000": true, "127.1.2.3": true, "[::1]:5000": true, "[::1]": true,
		"docker.io": false, "localhost.example": false, "10.0.0.1:5000": false, "example.org:80": false,
	} {
		assert.Equal(t, isLoopback(host), want, host)
	}
	_, err := New(Options{Insecure: []string{"http://x/y"}})
	assert.ErrorContains(t, err, "insecure registry")
}

func writeFile(t *testing.T, content string, elem ...string) string {
	t.Helper()
	path := filepath.Join(elem...)
	assert.NilError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	assert.NilError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}
