// Package layout reads and writes OCI image layout directories (image-spec v1.1, image-layout.md): blobs by digest, and
// index.json, which names the images.
//
// # Names
//
// An entry of index.json that has a name carries two annotations. io.containerd.image.name is the full reference
// (docker.io/me/redis:1), which docker, containerd and podman look at first. org.opencontainers.image.ref.name is the familiar
// one (me/redis:1), the form in which people name it to other tools:
//
//	umoci unpack --image DIR:me/redis:1 bundle
//	skopeo inspect oci:DIR:me/redis:1
//	podman pull oci:DIR:me/redis:1
//
// Both umoci (0.4.7 and the library's v0.6.0) and skopeo (1.9.3) cut DIR off at the first colon, so it must not have
// one, and hold it to the grammar of the specification, which has "/" and ":" in it but not all that a Docker reference may
// have: "__" and "---" in a repository, "_" or "." at the ends of a tag, IPv6 addresses. In those rare names the offending
// bytes are written "0+XX" in hexadecimal (see oci.Reference.RefName); the other annotation is never escaped. A layout that
// others made may have only one of the two; a name without tag means latest there as everywhere.
//
// # Concurrency
//
// Blobs can be read and written by any number of goroutines and processes. SetIndex is atomic but knows nothing of what it
// replaces: who reads the index, changes it and sets it holds a lock meanwhile (the store has one).
package layout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	casdir "github.com/opencontainers/umoci/oci/cas/dir"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/oci"
)

// Layout is an image layout directory. It implements oci.BlobSource and oci.BlobSink. TempDir may be set after Open
// and before the first other call.
type Layout struct {
	// TempDir is where blobs are written before they have their name. It must be on the layout's file system; the default is
	// the layout's own directory, with names that start with ".tmp-".
	TempDir string

	dir string
}

// Create makes dir, with its parents, into an empty layout. One that is there already, whole or cut short by a crash, is
// completed and otherwise left as it is.
func Create(dir string) error {
	if err := create(dir); err != nil {
		return fmt.Errorf("create layout: %w", err)
	}
	return nil
}

func create(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, ispec.ImageBlobsDir, string(digest.Canonical)), 0o755); err != nil {
		return err
	}
	// The file oci-layout comes last: with it the layout is one.
	for _, f := range []struct {
		name    string
		content any
	}{
		{ispec.ImageIndexFile, emptyIndex()},
		{ispec.ImageLayoutFile, ispec.ImageLayout{Version: ispec.ImageLayoutVersion}},
	} {
		path := filepath.Join(dir, f.name)
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		data, err := oci.Marshal(f.content)
		if err != nil {
			return err
		}
		if err := addFile(path, data); err != nil {
			return err
		}
	}
	return files.SyncDir(dir)
}

// addFile makes a file durable under its name, unless another process has put one there meanwhile.
func addFile(path string, data []byte) error {
	p, err := files.Create(filepath.Dir(path), 0o644)
	if err != nil {
		return err
	}
	defer p.Close()
	if _, err := p.Write(data); err != nil {
		return err
	}
	if err := p.Link(path, true); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func emptyIndex() ispec.Index {
	return ispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ispec.MediaTypeImageIndex, Manifests: []ispec.Descriptor{},
	}
}

// Open opens a layout that exists. What is no layout, or one of another version, is an error.
func Open(dir string) (*Layout, error) {
	if info, err := os.Stat(filepath.Join(dir, ispec.ImageLayoutFile)); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open layout %s: %s is not a regular file", dir, ispec.ImageLayoutFile)
	}
	engine, err := casdir.Open(dir) // checks it
	if err != nil {
		return nil, fmt.Errorf("open layout %s: %w", dir, err)
	}
	if err := engine.Close(); err != nil {
		return nil, fmt.Errorf("open layout %s: %w", dir, err)
	}
	return &Layout{dir: dir}, nil
}

// Dir is the layout's directory.
func (l *Layout) Dir() string { return l.dir }

// Index reads index.json.
func (l *Layout) Index(context.Context) (ispec.Index, error) {
	f, err := openRegular(filepath.Join(l.dir, ispec.ImageIndexFile))
	if err != nil {
		return ispec.Index{}, fmt.Errorf("read index: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, oci.MaxMetadata+1))
	if err != nil {
		return ispec.Index{}, fmt.Errorf("read index: %w", err)
	}
	if len(data) > oci.MaxMetadata {
		return ispec.Index{}, fmt.Errorf("read index: %s has more than %d bytes", f.Name(), oci.MaxMetadata)
	}
	var ix ispec.Index
	if err := json.Unmarshal(data, &ix); err != nil {
		return ispec.Index{}, fmt.Errorf("read index: %s: %w", f.Name(), err)
	}
	for _, m := range ix.Manifests {
		if err := oci.CheckDescriptor(m); err != nil {
			return ispec.Index{}, fmt.Errorf("read index: %s: %w", f.Name(), err)
		}
	}
	return ix, nil
}

// SetIndex replaces index.json: other processes see the old one or the new one, also after a crash, and when it returns nil
// the new one is on the disk. Blobs that it refers to must be there before.
func (l *Layout) SetIndex(_ context.Context, ix ispec.Index) error {
	ix.SchemaVersion, ix.MediaType = 2, ispec.MediaTypeImageIndex
	if ix.Manifests == nil {
		ix.Manifests = []ispec.Descriptor{} // the specification wants a list, also an empty one
	}
	data, err := oci.Marshal(ix)
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	o := files.Options{Perm: 0o644, TempDir: l.tempDir(), Durable: true}
	if err := files.Write(filepath.Join(l.dir, ispec.ImageIndexFile), data, o); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

// Resolve finds what name stands for in index.json: an annotation org.opencontainers.image.ref.name exactly, or a reference in
// any form, or a digest. The descriptor is returned as it stands there. A name that is not there is an error for which
// errors.Is(err, fs.ErrNotExist).
func (l *Layout) Resolve(ctx context.Context, name string) (ispec.Descriptor, error) {
	ix, err := l.Index(ctx)
	if err != nil {
		return ispec.Descriptor{}, err
	}
	for _, m := range ix.Manifests {
		if name != "" && m.Annotations[ispec.AnnotationRefName] == name || m.Digest.String() == name {
			return m, nil
		}
	}
	if want, err := oci.ParseReference(name); err == nil {
		for _, m := range ix.Manifests {
			if have, ok := oci.NameOf(m); ok && have == want {
				return m, nil
			}
		}
	}
	return ispec.Descriptor{}, fmt.Errorf("find %q in layout: %w", name, fs.ErrNotExist)
}
