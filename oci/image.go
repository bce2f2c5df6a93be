package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrNotImage says that a manifest is no container image's: some other artifact, or an attestation.
var ErrNotImage = errors.New("not a container image")

// ErrSchema1 says that a manifest is of Docker's schema 1, which no current builder writes and this program does not read.
var ErrSchema1 = errors.New("Docker manifest schema 1 is not supported")

// document is all that a manifest or an index may hold, to tell them apart before one is believed.
type document struct {
	ispec.Manifest
	Manifests []ispec.Descriptor `json:"manifests"`
	FSLayers  []any              `json:"fsLayers"`
}

// parseDocument decodes a manifest or index and refuses one that says it is something else than its descriptor does, or that
// could be read as both (GHSA-77vh-xpmg-72qh).
func parseDocument(data []byte, mediaType string) (document, error) {
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return d, err
	}
	if d.SchemaVersion == 1 || d.FSLayers != nil {
		return d, ErrSchema1
	}
	if d.MediaType != "" && d.MediaType != mediaType {
		return d, fmt.Errorf("it says of itself %q, its descriptor %q", d.MediaType, mediaType)
	}
	isManifest := d.Config.Digest != "" || d.Layers != nil
	if isManifest && d.Manifests != nil || IsIndex(mediaType) && isManifest || IsManifest(mediaType) && d.Manifests != nil {
		return d, errors.New("it is both a manifest and an index, or not the one that its descriptor says")
	}
	for _, list := range [][]ispec.Descriptor{d.Layers, d.Manifests} {
		for _, desc := range list {
			if err := CheckDescriptor(desc); err != nil {
				return d, err
			}
		}
	}
	return d, nil
}

func readDocument(ctx context.Context, src BlobSource, desc ispec.Descriptor) (document, error) {
	switch desc.MediaType {
	case mediaTypeDockerSchema1, mediaTypeDockerSchema1Signed:
		return document{}, fmt.Errorf("read manifest %s: %w", desc.Digest, ErrSchema1)
	}
	if !IsManifest(desc.MediaType) && !IsIndex(desc.MediaType) {
		return document{}, fmt.Errorf("read manifest %s: %w: media type %q", desc.Digest, ErrNotImage, desc.MediaType)
	}
	data, err := ReadBlob(ctx, src, desc)
	if err != nil {
		return document{}, fmt.Errorf("read manifest: %w", err)
	}
	d, err := parseDocument(data, desc.MediaType)
	if err != nil {
		return d, fmt.Errorf("read manifest %s: %w", desc.Digest, err)
	}
	return d, nil
}

// ReadImage reads the manifest and config of one image, OCI or Docker schema 2. It fails with ErrNotImage for another kind of
// artifact and with ErrSchema1 for what it says, and where manifest and config do not fit together; what it returns is
// consistent. Layers are not opened.
func ReadImage(ctx context.Context, src BlobSource, manifest ispec.Descriptor) (Image, error) {
	if IsIndex(manifest.MediaType) {
		return Image{}, fmt.Errorf("read manifest %s: it is an index of several", manifest.Digest)
	}
	d, err := readDocument(ctx, src, manifest)
	if err != nil {
		return Image{}, err
	}
	if err := checkImage(d); err != nil {
		return Image{}, fmt.Errorf("read manifest %s: %w", manifest.Digest, err)
	}
	data, err := ReadBlob(ctx, src, d.Config)
	if err != nil {
		return Image{}, fmt.Errorf("read config: %w", err)
	}
	img, err := assemble(d, data)
	if err != nil {
		return Image{}, fmt.Errorf("read config %s: %w", d.Config.Digest, err)
	}
	img.Manifest = manifest
	return img, nil
}

// checkImage says whether a manifest is an image's.
func checkImage(d document) error {
	if err := CheckDescriptor(d.Config); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if !IsConfig(d.Config.MediaType) {
		return fmt.Errorf("%w: its config is of type %q", ErrNotImage, d.Config.MediaType)
	}
	for i, l := range d.Layers {
		if !IsLayer(l.MediaType) {
			return fmt.Errorf("%w: layer %d is of type %q", ErrNotImage, i+1, l.MediaType)
		}
	}
	return nil
}

// assemble makes the Image of a checked manifest and its config.
func assemble(d document, config []byte) (Image, error) {
	img := Image{ConfigDescriptor: d.Config, Annotations: d.Annotations}
	if err := json.Unmarshal(config, &img.Config); err != nil {
		return Image{}, err
	}
	ids := img.Config.RootFS.DiffIDs
	if len(ids) != len(d.Layers) {
		return Image{}, fmt.Errorf("%d diff ids for the manifest's %d layers", len(ids), len(d.Layers))
	}
	for i, l := range d.Layers {
		if err := ids[i].Validate(); err != nil {
			return Image{}, fmt.Errorf("diff id %d: %w", i+1, err)
		}
		img.Layers = append(img.Layers, Layer{Descriptor: l, DiffID: ids[i]})
	}
	return img, nil
}

// WriteImage stores the config and an OCI manifest for the image's layers, and returns the image with Manifest,
// ConfigDescriptor and Config.RootFS filled in from what was stored. Docker's layer media types become OCI's. The same image
// gives the same bytes. Layer blobs are not looked at: they have to be in the sink, or come there, by other ways.
func WriteImage(ctx context.Context, sink BlobSink, img Image) (Image, error) {
	layers := make([]Layer, len(img.Layers))
	descs := make([]ispec.Descriptor, len(img.Layers))
	diffIDs := make([]digest.Digest, len(img.Layers))
	for i, l := range img.Layers {
		mediaType, ok := ociLayer(l.MediaType)
		if !ok {
			return Image{}, fmt.Errorf("write image: layer %d is of type %q", i+1, l.MediaType)
		}
		if err := errors.Join(CheckDescriptor(l.Descriptor), l.DiffID.Validate()); err != nil {
			return Image{}, fmt.Errorf("write image: layer %d: %w", i+1, err)
		}
		l.MediaType = mediaType
		layers[i], descs[i], diffIDs[i] = l, l.Descriptor, l.DiffID
	}
	img.Layers = layers
	img.Config.RootFS.Type = "layers"
	img.Config.RootFS.DiffIDs = diffIDs

	var err error
	if img.ConfigDescriptor, err = writeJSON(ctx, sink, ispec.MediaTypeImageConfig, img.Config); err != nil {
		return Image{}, fmt.Errorf("write config: %w", err)
	}
	img.Manifest, err = writeJSON(ctx, sink, ispec.MediaTypeImageManifest, ispec.Manifest{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   ispec.MediaTypeImageManifest,
		Config:      img.ConfigDescriptor,
		Layers:      descs,
		Annotations: img.Annotations,
	})
	if err != nil {
		return Image{}, fmt.Errorf("write manifest: %w", err)
	}
	return img, nil
}
