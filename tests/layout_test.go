package tests

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The tests write and read images with nothing but the standard library: what cairn says about an image is checked against it.

// epoch is the mtime of what the tests put into images.
var epoch = time.Unix(1_600_000_000, 0)

// tarEntry is one entry of a layer; Data is a regular file's content.
type tarEntry struct {
	tar.Header
	Data []byte
}

func dir(name string, mode int64) tarEntry {
	return tarEntry{Header: tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, ModTime: epoch}}
}

func file(name string, mode int64, data []byte) tarEntry {
	return tarEntry{Header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, ModTime: epoch, Size: int64(len(data))}, Data: data}
}

func symlink(name, target string) tarEntry {
	return tarEntry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: epoch}}
}

func hardlink(name, target string) tarEntry {
	return tarEntry{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644, ModTime: epoch}}
}

func fifo(name string) tarEntry {
	return tarEntry{Header: tar.Header{Typeflag: tar.TypeFifo, Name: name, Mode: 0o644, ModTime: epoch}}
}

func (e tarEntry) owned(uid, gid int) tarEntry { e.Uid, e.Gid = uid, gid; return e }

func (e tarEntry) xattr(name, value string) tarEntry {
	e.PAXRecords = map[string]string{"SCHILY.xattr." + name: value}
	return e
}

// imageConfig is the part of an image's config that fixtures set.
type imageConfig struct {
	Cmd       []string `json:"Cmd,omitempty"`
	Env       []string `json:"Env,omitempty"`
	NoHistory bool     `json:"-"` // the history is optional, and some programs write none
}

// writeLayout makes an OCI layout with one image of gzip layers.
func writeLayout(layout, name string, cfg imageConfig, layers ...[]tarEntry) error {
	var tars []string
	for i, entries := range layers {
		p := fmt.Sprintf("%s-layer%d.tar", layout, i)
		if err := writeTar(p, entries); err != nil {
			return err
		}
		defer os.Remove(p)
		tars = append(tars, p)
	}
	return writeLayoutOf(layout, name, cfg, tars...)
}

func writeTar(p string, entries []tarEntry) error {
	f, err := os.Create(p)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for _, e := range entries {
		h := e.Header
		if err := w.WriteHeader(&h); err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
		if _, err := w.Write(e.Data); err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}

// writeLayoutOf makes an OCI layout with one image whose layers are the given tar files, compressed with gzip.
func writeLayoutOf(layout, name string, cfg imageConfig, tars ...string) error {
	if err := os.MkdirAll(filepath.Join(layout, "blobs/sha256"), 0o755); err != nil {
		return err
	}
	var layers []map[string]any
	diffIDs := []string{}
	for _, p := range tars {
		desc, diffID, err := addLayer(layout, p)
		if err != nil {
			return err
		}
		layers = append(layers, desc)
		diffIDs = append(diffIDs, diffID)
	}
	if cfg.Env == nil {
		cfg.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	}
	text := map[string]any{
		"architecture": hostArch(), "os": "linux", "config": cfg, "created": epoch.UTC(),
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	}
	if !cfg.NoHistory {
		var history []map[string]any
		for i := range tars {
			history = append(history, map[string]any{"created": epoch.UTC(), "created_by": fmt.Sprintf("layer %d of %s", i, name)})
		}
		text["history"] = history
	}
	config, err := addJSON(layout, "application/vnd.oci.image.config.v1+json", text)
	if err != nil {
		return err
	}
	manifest, err := addJSON(layout, "application/vnd.oci.image.manifest.v1+json", map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers,
	})
	if err != nil {
		return err
	}
	manifest["annotations"] = map[string]string{"org.opencontainers.image.ref.name": name}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{manifest}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(layout, "index.json"), index, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(layout, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
}

func addLayer(layout, tarPath string) (desc map[string]any, diffID string, err error) {
	in, err := os.Open(tarPath)
	if err != nil {
		return nil, "", err
	}
	defer in.Close()
	temp := filepath.Join(layout, "layer")
	out, err := os.Create(temp)
	if err != nil {
		return nil, "", err
	}
	defer out.Close()
	plain, packed := sha256.New(), sha256.New()
	zip, err := gzip.NewWriterLevel(io.MultiWriter(out, packed), gzip.BestSpeed)
	if err != nil {
		return nil, "", err
	}
	if _, err := io.Copy(io.MultiWriter(zip, plain), in); err != nil {
		return nil, "", err
	}
	if err := zip.Close(); err != nil {
		return nil, "", err
	}
	size, err := out.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, "", err
	}
	sum := hex.EncodeToString(packed.Sum(nil))
	if err := os.Rename(temp, filepath.Join(layout, "blobs/sha256", sum)); err != nil {
		return nil, "", err
	}
	desc = map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "sha256:" + sum, "size": size}
	return desc, "sha256:" + hex.EncodeToString(plain.Sum(nil)), nil
}

func addJSON(layout, mediaType string, v any) (map[string]any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	name := hex.EncodeToString(sum[:])
	if err := os.WriteFile(filepath.Join(layout, "blobs/sha256", name), text, 0o644); err != nil {
		return nil, err
	}
	return map[string]any{"mediaType": mediaType, "digest": "sha256:" + name, "size": len(text)}, nil
}

// descriptor is what an index or a manifest refers to.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
}

// manifest is an image manifest.
type manifest struct {
	Config descriptor   `json:"config"`
	Layers []descriptor `json:"layers"`
}

// blobPath is where a layout keeps a blob.
func blobPath(layout, digest string) string {
	return filepath.Join(layout, "blobs", strings.Replace(digest, ":", "/", 1))
}

// readIndex reads a layout's index.json.
func readIndex(layout string) ([]descriptor, error) {
	var index struct{ Manifests []descriptor }
	text, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err != nil {
		return nil, err
	}
	return index.Manifests, json.Unmarshal(text, &index)
}

// readManifest finds an image in a layout by the name in its annotations and checks every blob of it against digest and size.
func readManifest(layout, name string) (descriptor, manifest, error) {
	var m manifest
	index, err := readIndex(layout)
	if err != nil {
		return descriptor{}, m, err
	}
	for _, d := range index {
		if d.Annotations["org.opencontainers.image.ref.name"] != name {
			continue
		}
		text, err := readBlob(layout, d)
		if err != nil {
			return d, m, err
		}
		if err := json.Unmarshal(text, &m); err != nil {
			return d, m, err
		}
		for _, part := range append([]descriptor{m.Config}, m.Layers...) {
			if err := checkBlob(layout, part); err != nil {
				return d, m, err
			}
		}
		return d, m, nil
	}
	return descriptor{}, m, fmt.Errorf("%s has no %q among its %d images", layout, name, len(index))
}

func readBlob(layout string, d descriptor) ([]byte, error) {
	if err := checkBlob(layout, d); err != nil {
		return nil, err
	}
	return os.ReadFile(blobPath(layout, d.Digest))
}

func checkBlob(layout string, d descriptor) error {
	f, err := os.Open(blobPath(layout, d.Digest))
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(h.Sum(nil)); got != d.Digest || n != d.Size {
		return fmt.Errorf("blob %s (%d bytes) is really %s (%d bytes)", d.Digest, d.Size, got, n)
	}
	return nil
}

// readConfig gives the config of an image in a layout, indented.
func readConfig(layout, name string) ([]byte, error) {
	_, m, err := readManifest(layout, name)
	if err != nil {
		return nil, err
	}
	text, err := readBlob(layout, m.Config)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Indent(&out, text, "", "  ")
	return append(out.Bytes(), '\n'), err
}

// openLayer opens the tar of an image's layer, counted from 0, or from the end with a negative number. It decompresses gzip only.
func openLayer(layout, name string, n int) (io.ReadCloser, error) {
	_, m, err := readManifest(layout, name)
	if err != nil {
		return nil, err
	}
	if n < 0 {
		n += len(m.Layers)
	}
	if n < 0 || n >= len(m.Layers) {
		return nil, fmt.Errorf("%s has %d layers", name, len(m.Layers))
	}
	f, err := os.Open(blobPath(layout, m.Layers[n].Digest))
	if err != nil || !strings.HasSuffix(m.Layers[n].MediaType, "+gzip") {
		return f, err
	}
	zip, err := gzip.NewReader(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{zip, f}, nil
}

// listLayer describes a layer's entries in the order of the tar: "TYPE MODE UID:GID SIZE NAME [-> TARGET] [XATTR]..."
func listLayer(w io.Writer, layer io.Reader) error {
	types := map[byte]string{
		tar.TypeReg: "file", tar.TypeDir: "dir", tar.TypeSymlink: "symlink", tar.TypeLink: "hardlink",
		tar.TypeChar: "char", tar.TypeBlock: "block", tar.TypeFifo: "fifo",
	}
	r := tar.NewReader(layer)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s %04o %d:%d %d %s", types[h.Typeflag], h.Mode, h.Uid, h.Gid, h.Size, h.Name)
		if h.Linkname != "" {
			fmt.Fprintf(w, " -> %s", h.Linkname)
		}
		for name, value := range h.PAXRecords {
			if x, ok := strings.CutPrefix(name, "SCHILY.xattr."); ok {
				fmt.Fprintf(w, " %s=%x", x, value)
			}
		}
		if h.Uname != "" || h.Gname != "" || !h.AccessTime.IsZero() || !h.ChangeTime.IsZero() {
			fmt.Fprintf(w, " NOT-DETERMINISTIC")
		}
		fmt.Fprintln(w)
	}
}
