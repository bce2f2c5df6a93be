package tests

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestBombs unpacks a layer of nothing but zeros, a thousand times as large as its blob: neither the memory nor the disk pays.
func TestBombs(t *testing.T) {
	startCase(t, "userns", "busybox")
	w := newWorld(t)
	const size = 1 << 30
	probe, err := os.ReadFile(filepath.Join(filepath.Dir(busyboxImage(t)), "bin", "busybox-probe"))
	if err != nil {
		t.Fatal(err)
	}
	pr, pw := io.Pipe()
	go func() {
		tw := tar.NewWriter(pw)
		for _, e := range []tarEntry{dir("bin", 0o755), file("bin/sh", 0o755, probe)} {
			h := e.Header
			_ = tw.WriteHeader(&h)
			_, _ = tw.Write(e.Data)
		}
		_ = tw.WriteHeader(&tar.Header{Name: "bomb", Mode: 0o644, Size: size, ModTime: epoch})
		_, err := io.CopyN(tw, zeros{}, size)
		pw.CloseWithError(errors.Join(err, tw.Close()))
	}()
	plain := w.path("bomb.tar")
	f, err := os.Create(plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(&sparseFile{f: f}, pr); err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat(); err != nil || f.Truncate((info.Size()+511)&^511) != nil || f.Close() != nil {
		t.Fatal(err)
	}
	if err := writeLayoutOf(w.path("layout"), "bomb:latest", imageConfig{}, plain); err != nil {
		t.Fatal(err)
	}
	w.must("cairn", "load", "-i", w.path("layout"))
	w.write(map[string]string{"ctx/Dockerfile": "FROM bomb\nRUN [\"/bin/sh\", \"-c\", \"test -s /bomb\"]\n"})
	cmd := w.command("cairn", "build", "ctx")
	if err := runFor(cmd, 3*time.Minute); err != nil {
		t.Fatal(err)
	}
	if rss := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10; rss > 400<<20 {
		t.Errorf("%d MiB of memory", rss>>20)
	}
	var used int64
	_ = filepath.WalkDir(w.root, func(path string, e fs.DirEntry, err error) error {
		if err == nil {
			if info, err := e.Info(); err == nil {
				used += info.Sys().(*syscall.Stat_t).Blocks * 512
			}
		}
		return nil
	})
	if used > 100<<20 {
		t.Errorf("%d MiB on the disk", used>>20)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// sparseFile writes what is not zero.
type sparseFile struct {
	f  *os.File
	at int64
}

func (s *sparseFile) Write(p []byte) (int, error) {
	if len(bytes.Trim(p, "\x00")) > 0 {
		if _, err := s.f.WriteAt(p, s.at); err != nil {
			return 0, err
		}
	} else if err := s.f.Truncate(s.at + int64(len(p))); err != nil {
		return 0, err
	}
	s.at += int64(len(p))
	return len(p), nil
}

// TestLyingRegistry pulls from registries that say one thing and send another.
func TestLyingRegistry(t *testing.T) {
	startCase(t)
	sum := func(b []byte) string { s := sha256.Sum256(b); return "sha256:" + hex.EncodeToString(s[:]) }
	layer := []byte("no tar at all")
	for _, tt := range []struct {
		name string
		lie  func(manifest, config, layer []byte) (m, c, l []byte)
	}{
		{"layer of another content", func(m, c, l []byte) ([]byte, []byte, []byte) { return m, c, bytes.ToUpper(l) }},
		{"layer too long", func(m, c, l []byte) ([]byte, []byte, []byte) { return m, c, append(l, 'x') }},
		{"layer too short", func(m, c, l []byte) ([]byte, []byte, []byte) { return m, c, l[:3] }},
		{"config of another content", func(m, c, l []byte) ([]byte, []byte, []byte) {
			return m, bytes.Replace(c, []byte("linux"), []byte("LINUX"), 1), l
		}},
		{"endless manifest", func(m, c, l []byte) ([]byte, []byte, []byte) {
			return append(m, bytes.Repeat([]byte(" "), 20<<20)...), c, l
		}},
		{"endless config", func(m, c, l []byte) ([]byte, []byte, []byte) {
			return m, append(c, bytes.Repeat([]byte(" "), 20<<20)...), l
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			config, _ := json.Marshal(map[string]any{"architecture": hostArch(), "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": []string{sum(layer)}}})
			manifest, _ := json.Marshal(map[string]any{
				"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
				"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sum(config), "size": len(config)},
				"layers": []any{map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": sum(layer), "size": len(layer)}},
			})
			m, c, l := tt.lie(bytes.Clone(manifest), bytes.Clone(config), bytes.Clone(layer))
			s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				body := []byte("{}")
				switch {
				case strings.Contains(r.URL.Path, "/manifests/"):
					rw.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
					rw.Header().Set("Docker-Content-Digest", sum(manifest))
					body = m
				case strings.HasSuffix(r.URL.Path, sum(config)):
					body = c
				case strings.HasSuffix(r.URL.Path, sum(layer)):
					body = l
				}
				_, _ = rw.Write(body)
			}))
			defer s.Close()
			name := strings.TrimPrefix(s.URL, "http://") + "/x/y:1"
			w.fails(nil, "cairn", "pull", name)
			if o := w.must("cairn", "images", "-q"); strings.TrimSpace(o.stdout) != "" {
				t.Errorf("there is an image: %s", o)
			}
			for _, lie := range [][]byte{m, c, l} {
				blob := filepath.Join(w.oci(), "blobs/sha256", strings.TrimPrefix(sum(lie), "sha256:"))
				if _, err := os.Stat(blob); err == nil && !bytes.Equal(lie, manifest) && !bytes.Equal(lie, config) && !bytes.Equal(lie, layer) {
					t.Errorf("the lie is in the store: %s", blob)
				}
			}
		})
	}
}
