package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"github.com/cairnbuild/cairn/oci"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Format is a kind of archive.
type Format int

// The formats. Combined is an oci-archive and a docker-archive in one.
const (
	Combined Format = iota
	OCI
	Docker
)

// WriteOptions says what to write. The zero value is the combined format with manifest.json for the host's platform.
type WriteOptions struct {
	Format Format
	// Platform is whose image manifest.json names where an index has several; the zero value is the host's. Where there is
	// none for it the index's first is named. A docker-archive has room for one only.
	Platform oci.Platform
}

// Write writes images, with all blobs that they refer to, to w. Equal images in equal order give equal bytes. Each blob is
// written once, whoever refers to it. Layers stay compressed as they are. A blob that src does not have is an error.
func Write(ctx context.Context, w io.Writer, images []oci.Named, src oci.BlobSource, o WriteOptions) error {
	if o.Platform.OS == "" {
		o.Platform = oci.HostPlatform()
	}
	p := plan{src: src, o: o, seen: map[digest.Digest]bool{}}
	for _, img := range images {
		if err := p.add(ctx, img); err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
	}
	if err := p.write(ctx, w); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

// plan is what will be in the archive.
type plan struct {
	src   oci.BlobSource
	o     WriteOptions
	index []ispec.Descriptor
	items []item
	blobs []ispec.Descriptor
	seen  map[digest.Digest]bool
}

func (p *plan) add(ctx context.Context, img oci.Named) error {
	if p.o.Format != Docker {
		p.addToIndex(img)
		if err := p.addTree(ctx, img.Descriptor); err != nil {
			return err
		}
	}
	if p.o.Format == OCI {
		return nil
	}
	return p.addItem(ctx, img)
}

func (p *plan) addToIndex(img oci.Named) {
	if len(img.References) == 0 {
		p.index = append(p.index, img.Descriptor)
	}
	for _, r := range img.References {
		p.index = append(p.index, oci.WithName(img.Descriptor, r))
	}
}

// addTree adds a blob and all that it refers to, parents first.
func (p *plan) addTree(ctx context.Context, desc ispec.Descriptor) error {
	if !p.addBlob(desc) {
		return nil
	}
	children, err := oci.Children(ctx, p.src, desc)
	if err != nil {
		return err
	}
	for _, c := range children {
		if err := p.addTree(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (p *plan) addBlob(desc ispec.Descriptor) (added bool) {
	if p.seen[desc.Digest] {
		return false
	}
	p.seen[desc.Digest] = true
	p.blobs = append(p.blobs, desc)
	return true
}

// addItem adds img to manifest.json, unless it has no image but other artifacts.
func (p *plan) addItem(ctx context.Context, img oci.Named) error {
	desc, err := oci.PickManifest(ctx, p.src, img.Descriptor, p.o.Platform)
	var none *oci.PlatformError
	if errors.As(err, &none) {
		var all []ispec.Descriptor
		if all, _, err = oci.Manifests(ctx, p.src, img.Descriptor); err == nil && len(all) > 0 {
			desc = all[0]
		}
	}
	if err != nil {
		return err
	}
	if desc.Digest == "" {
		return p.unlisted(img, oci.ErrNotImage)
	}
	image, err := oci.ReadImage(ctx, p.src, desc)
	if errors.Is(err, oci.ErrNotImage) {
		return p.unlisted(img, err)
	}
	if err != nil {
		return err
	}
	it := item{Config: blobName(image.ConfigDescriptor.Digest), Layers: []string{}}
	for _, r := range img.References {
		if r.Tag() != "" {
			// In full, as podman puts localhost before a short one.
			it.RepoTags = append(it.RepoTags, r.WithDigest("").String())
		}
	}
	p.addBlob(image.ConfigDescriptor)
	for _, l := range image.Layers {
		p.addBlob(l.Descriptor)
		it.Layers = append(it.Layers, blobName(l.Digest))
	}
	p.items = append(p.items, it)
	return nil
}

// unlisted lets an artifact pass where the index can name it.
func (p *plan) unlisted(img oci.Named, err error) error {
	if p.o.Format != Docker {
		return nil
	}
	return fmt.Errorf("%s in a docker-archive: %w", img.Descriptor.Digest, err)
}

func (p *plan) write(ctx context.Context, w io.Writer) error {
	tw := &tarWriter{tw: tar.NewWriter(w), dirs: map[string]bool{}}
	if p.o.Format != Docker {
		err := errors.Join(
			tw.json(ispec.ImageLayoutFile, ispec.ImageLayout{Version: ispec.ImageLayoutVersion}),
			tw.json(ispec.ImageIndexFile, ispec.Index{
				Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ispec.MediaTypeImageIndex, Manifests: p.index,
			}))
		if err != nil {
			return err
		}
	}
	if p.o.Format != OCI {
		if err := tw.json(manifestFile, p.items); err != nil {
			return err
		}
	}
	for _, desc := range p.blobs {
		if err := tw.blob(ctx, p.src, desc); err != nil {
			return err
		}
	}
	return tw.tw.Close()
}

type tarWriter struct {
	tw   *tar.Writer
	dirs map[string]bool
}

func (t *tarWriter) header(name string, kind byte, mode, size int64) error {
	return t.tw.WriteHeader(&tar.Header{Name: name, Typeflag: kind, Mode: mode, Size: size, ModTime: time.Unix(0, 0)})
}

func (t *tarWriter) json(name string, v any) error {
	data, err := oci.Marshal(v)
	if err != nil {
		return err
	}
	if err := t.header(name, tar.TypeReg, 0o644, int64(len(data))); err != nil {
		return err
	}
	_, err = t.tw.Write(data)
	return err
}

// mkdir writes the entries of a blob's directories once.
func (t *tarWriter) mkdir(dir string) error {
	if dir == "." || t.dirs[dir] {
		return nil
	}
	t.dirs[dir] = true
	if err := t.mkdir(path.Dir(dir)); err != nil {
		return err
	}
	return t.header(dir+"/", tar.TypeDir, 0o755, 0)
}

func (t *tarWriter) blob(ctx context.Context, src oci.BlobSource, desc ispec.Descriptor) (err error) {
	rc, err := src.OpenBlob(ctx, desc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	name := blobName(desc.Digest)
	if err := t.mkdir(path.Dir(name)); err != nil {
		return err
	}
	if err := t.header(name, tar.TypeReg, 0o644, desc.Size); err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{t.tw}, ctxReader{ctx, rc}, make([]byte, 256<<10))
	return err
}

// ctxReader ends when its context does.
type ctxReader struct {
	ctx context.Context //nolint:containedctx // lives for one copy
	r   io.Reader
}

func (r ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
