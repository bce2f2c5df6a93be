package main

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
)

const manifestType = "application/vnd.oci.image.manifest.v1+json"

// registry serves images for pulling, on the loopback: as much of the distribution API as a pull needs.
type registry struct {
	images map[string]*image // by repository
	blobs  string            // directory
	addr   string
	server *http.Server
}

func serve(images map[string]*image, blobs string) (*registry, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &registry{images: images, blobs: blobs, addr: l.Addr().String()}
	r.server = &http.Server{Handler: r} //nolint:gosec // it ends with the benchmark
	go func() { _ = r.server.Serve(l) }()
	return r, nil
}

// Close stops serving.
func (r *registry) Close() { _ = r.server.Close() }

func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	path := strings.TrimPrefix(req.URL.Path, "/v2/")
	if path == "" {
		return
	}
	repo, rest, _ := strings.Cut(path, "/")
	img, ok := r.images[repo]
	kind, name, _ := strings.Cut(rest, "/")
	switch {
	case ok && kind == "manifests" && (name == "latest" || name == img.digest):
		w.Header().Set("Content-Type", manifestType)
		w.Header().Set("Docker-Content-Digest", img.digest)
		_, _ = w.Write(img.manifest)
	case ok && kind == "blobs" && filepath.Base(name) == name:
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeFile(w, req, filepath.Join(r.blobs, name))
	default:
		http.NotFound(w, req)
	}
}
