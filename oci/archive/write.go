package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
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
// written once, whoever refers to it. Layers stay compressed as they are, but for those of zstd in the format Docker: Docker
// before version 23 does not know it, so they are unpacked. A blob that src does not have is an error.
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
	blobs []blob
	seen  map[digest.Digest]bool
}

// blob is a file of the archive: a blob as it is, or a layer unpacked to the tar of the given diff id.
type blob struct {
	ispec.Descriptor
	unpacked digest.Digest
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
	p.blobs = append(p.blobs, blob{Descriptor: desc})
	return true
}

// addLayer adds a layer for manifest.json and returns its name.
func (p *plan) addLayer(l oci.Layer) string {
	if p.o.Format != Docker || l.MediaType != ispec.MediaTypeImageLayerZstd {
		p.addBlob(l.Descriptor)
		return blobName(l.Digest)
	}
	if !p.seen[l.DiffID] {
		p.seen[l.DiffID] = true
		p.blobs = append(p.blobs, blob{l.Descriptor, l.DiffID})
	}
	return blobName(l.DiffID)
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
		it.Layers = append(it.Layers, p.addLayer(l))
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
	for _, b := range p.blobs {
		if err := p.writeBlob(ctx, tw, b); err != nil {
			return err
		}
	}
	return tw.tw.Close()
}

func (p *plan) writeBlob(ctx context.Context, tw *tarWriter, b blob) (err error) {
	if b.unpacked != "" {
		return p.writeUnpacked(ctx, tw, b)
	}
	rc, err := p.src.OpenBlob(ctx, b.Descriptor)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	return tw.file(blobName(b.Digest), b.Size, files.Reader(ctx, rc))
}

// writeUnpacked unpacks a layer twice, first for the size that has to stand before it.
func (p *plan) writeUnpacked(ctx context.Context, tw *tarWriter, b blob) error {
	var size int64
	err := p.unpack(ctx, b, func(r io.Reader) (err error) {
		size, err = io.Copy(io.Discard, r)
		return err
	})
	if err != nil {
		return err
	}
	return p.unpack(ctx, b, func(r io.Reader) error {
		want := ispec.Descriptor{Digest: b.unpacked, Size: size}
		return tw.file(blobName(b.unpacked), size, oci.VerifyReader(r, want))
	})
}

func (p *plan) unpack(ctx context.Context, b blob, use func(io.Reader) error) error {
	rc, err := p.src.OpenBlob(ctx, b.Descriptor)
	if err != nil {
		return err
	}
	z, _, err := compress.NewReader(files.Reader(ctx, rc))
	if err == nil {
		err = errors.Join(use(z), z.Close())
	}
	return errors.Join(err, rc.Close())
}
