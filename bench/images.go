package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// The programs that the small base image has, all of them busybox.
const applets = "sh true sleep head sha256sum echo cat gzip mkdir ls"

// maxTreeFile leaves out large files: the workloads are about many small ones.
const maxTreeFile = 192 << 10

// treeSources are the directories of this machine that contexts and base images are made from.
func treeSources() []string {
	return []string{filepath.Join(runtime.GOROOT(), "src"), "/usr/share", "/usr/include", "/usr/lib"}
}

// fillTree copies n regular files of this machine below dst, with their directories; when it has fewer, it takes them once more.
func fillTree(dst string, n int) (size int64, err error) {
	errFull := errors.New("full")
	made := 0
	for round := 0; made < n; round++ {
		before := made
		for _, src := range treeSources() {
			err := filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
				info, ierr := d.Info()
				if err != nil || ierr != nil || !info.Mode().IsRegular() || info.Size() > maxTreeFile {
					return nil //nolint:nilerr // what can't be read is not needed
				}
				rel := filepath.Join(dst, fmt.Sprint(round), strings.TrimPrefix(p, filepath.Dir(src)))
				if err := os.MkdirAll(filepath.Dir(rel), 0o755); err != nil {
					return err
				}
				if copyFile(rel, p) != nil {
					return nil
				}
				size += info.Size()
				if made++; made == n {
					return errFull
				}
				return nil
			})
			if errors.Is(err, errFull) {
				return size, nil
			}
			if err != nil {
				return 0, err
			}
		}
		if made == before {
			return 0, fmt.Errorf("no files in %v", treeSources())
		}
	}
	return size, nil
}

// smallLayer writes a layer with busybox to w.
func smallLayer(w *tar.Writer) error {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("find a static busybox (Debian: busybox-static): %w", err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for _, d := range []string{"bin/", "etc/", "tmp/"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: d, Mode: 0o755}); err != nil {
			return err
		}
	}
	if err := w.WriteHeader(&tar.Header{Name: "bin/busybox", Mode: 0o755, Size: int64(len(content))}); err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return err
	}
	for a := range strings.FieldsSeq(applets) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + a, Linkname: "busybox", Mode: 0o777}); err != nil {
			return err
		}
	}
	return nil
}

// treeLayer writes the files below dir as a layer under usr/ to w.
func treeLayer(w *tar.Writer, dir string) error {
	return filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(p)
		if err != nil {
			return err
		}
		h, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		h.Name, h.Uid, h.Gid, h.Uname, h.Gname = filepath.Join("usr", rel), 0, 0, "", ""
		if info.IsDir() {
			h.Name += "/"
		}
		if err := w.WriteHeader(h); err != nil || info.IsDir() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	})
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// image is one served image: its manifest, and its blobs as files named by their digest.
type image struct {
	manifest []byte
	digest   string
	layers   []string // files
}

// makeImage writes an image with the given layers into dir.
func makeImage(dir string, layers ...func(*tar.Writer) error) (*image, error) {
	img := &image{}
	var diffIDs []string
	var history []map[string]string
	manifest := struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}{SchemaVersion: 2, MediaType: manifestType}
	for _, write := range layers {
		d, diffID, err := makeLayer(dir, write)
		if err != nil {
			return nil, err
		}
		manifest.Layers = append(manifest.Layers, d)
		diffIDs = append(diffIDs, diffID)
		history = append(history, map[string]string{"created_by": "bench"})
		img.layers = append(img.layers, filepath.Join(dir, d.Digest))
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config":  map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": []string{"sh"}},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": diffIDs},
		"history": history,
	})
	if err != nil {
		return nil, err
	}
	manifest.Config = descriptor{MediaType: "application/vnd.oci.image.config.v1+json", Digest: digestOf(config), Size: int64(len(config))}
	if err := os.WriteFile(filepath.Join(dir, manifest.Config.Digest), config, 0o644); err != nil {
		return nil, err
	}
	img.manifest, err = json.Marshal(manifest)
	img.digest = digestOf(img.manifest)
	return img, err
}

func makeLayer(dir string, write func(*tar.Writer) error) (descriptor, string, error) {
	f, err := os.CreateTemp(dir, "layer-")
	if err != nil {
		return descriptor{}, "", err
	}
	defer f.Close()
	blob, diff := sha256.New(), sha256.New()
	zip := gzip.NewWriter(io.MultiWriter(f, blob))
	w := tar.NewWriter(io.MultiWriter(zip, diff))
	if err := errors.Join(write(w), w.Close(), zip.Close()); err != nil {
		return descriptor{}, "", fmt.Errorf("make a base image: %w", err)
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return descriptor{}, "", err
	}
	d := descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: fmt.Sprintf("sha256:%x", blob.Sum(nil)), Size: size}
	return d, fmt.Sprintf("sha256:%x", diff.Sum(nil)), errors.Join(f.Chmod(0o644), os.Rename(f.Name(), filepath.Join(dir, d.Digest)))
}

func digestOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }
