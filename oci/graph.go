package oci

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/image-spec/specs-go"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxNesting is how deep indexes may stand in indexes, maxDocuments how many manifests and indexes are read for one listing:
// a hostile index can refer to one document a hundred thousand times.
const (
	maxNesting   = 4
	maxDocuments = 1000
)

// ReadIndex reads an OCI image index or Docker manifest list.
func ReadIndex(ctx context.Context, src BlobSource, desc ispec.Descriptor) (ispec.Index, error) {
	if !IsIndex(desc.MediaType) {
		return ispec.Index{}, fmt.Errorf("read index %s: its media type is %q", desc.Digest, desc.MediaType)
	}
	d, err := readDocument(ctx, src, desc)
	if err != nil {
		return ispec.Index{}, err
	}
	return ispec.Index{
		Versioned: d.Versioned, MediaType: d.MediaType, ArtifactType: d.ArtifactType,
		Manifests: d.Manifests, Subject: d.Subject, Annotations: d.Annotations,
	}, nil
}

// WriteIndex stores an OCI image index of the given descriptors, in their order, and returns its descriptor.
func WriteIndex(ctx context.Context, sink BlobSink, manifests []ispec.Descriptor) (ispec.Descriptor, error) {
	desc, err := writeJSON(ctx, sink, ispec.MediaTypeImageIndex, ispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ispec.MediaTypeImageIndex, Manifests: manifests,
	})
	if err != nil {
		return ispec.Descriptor{}, fmt.Errorf("write index: %w", err)
	}
	return desc, nil
}

// Children returns what a manifest or index refers to directly: the config and layers, or the manifests; for any other media
// type nothing. A subject is no child: it is what the manifest is about, not a part of it.
func Children(ctx context.Context, src BlobSource, desc ispec.Descriptor) ([]ispec.Descriptor, error) {
	if !IsIndex(desc.MediaType) && !IsManifest(desc.MediaType) {
		return nil, nil
	}
	d, err := readDocument(ctx, src, desc)
	if err != nil {
		return nil, err
	}
	if IsIndex(desc.MediaType) {
		return d.Manifests, nil
	}
	if err := CheckDescriptor(d.Config); err != nil {
		return nil, fmt.Errorf("read manifest %s: config: %w", desc.Digest, err)
	}
	return append([]ispec.Descriptor{d.Config}, d.Layers...), nil
}

// PickManifest finds the manifest for a platform: desc itself when it is a manifest, whatever its platform, and the best match
// when it is an index. Attestations and other artifacts are no candidates. When nothing matches the error is a *PlatformError.
func PickManifest(ctx context.Context, src BlobSource, desc ispec.Descriptor, want Platform) (ispec.Descriptor, error) {
	if !IsIndex(desc.MediaType) {
		return desc, nil
	}
	found, have, err := Manifests(ctx, src, desc)
	if err != nil {
		return ispec.Descriptor{}, err
	}
	i := bestPlatform(want, have)
	if i < 0 {
		return ispec.Descriptor{}, &PlatformError{Want: want, Have: have}
	}
	return found[i], nil
}

// Manifests lists the images that desc leads to, with their platforms: desc itself when it is a manifest, and else all of the
// index and of the indexes in it, without attestations and other artifacts. Where an index names no platform it is read from
// the image's config.
func Manifests(ctx context.Context, src BlobSource, desc ispec.Descriptor) ([]ispec.Descriptor, []Platform, error) {
	w := lister{src: src}
	if err := w.list(ctx, desc, 0); err != nil {
		return nil, nil, err
	}
	return w.found, w.platforms, nil
}

type lister struct {
	src       BlobSource
	found     []ispec.Descriptor
	platforms []Platform
	read      int
}

// document reads a manifest or index within the limit.
func (w *lister) document(ctx context.Context, desc ispec.Descriptor) (document, error) {
	if w.read++; w.read > maxDocuments {
		return document{}, fmt.Errorf("read index: it leads to more than %d manifests", maxDocuments)
	}
	return readDocument(ctx, w.src, desc)
}

func (w *lister) list(ctx context.Context, desc ispec.Descriptor, depth int) error {
	switch {
	case IsIndex(desc.MediaType):
		if depth == maxNesting {
			return fmt.Errorf("read index %s: indexes nested more than %d deep", desc.Digest, maxNesting)
		}
		d, err := w.document(ctx, desc)
		if err != nil {
			return err
		}
		for _, m := range d.Manifests {
			if err := w.list(ctx, m, depth+1); err != nil {
				return err
			}
		}
		return nil
	case !IsManifest(desc.MediaType) || isAttestation(desc):
		return nil
	case desc.Platform != nil && desc.Platform.OS != "":
		w.add(desc, *desc.Platform)
		return nil
	}
	return w.addByConfig(ctx, desc)
}

func (w *lister) add(desc ispec.Descriptor, p Platform) {
	w.found = append(w.found, desc)
	w.platforms = append(w.platforms, p)
}

// addByConfig adds an image whose index says no platform, if it is one.
func (w *lister) addByConfig(ctx context.Context, desc ispec.Descriptor) error {
	d, err := w.document(ctx, desc)
	if err != nil {
		return err
	}
	if checkImage(d) != nil {
		return nil // another artifact
	}
	data, err := ReadBlob(ctx, w.src, d.Config)
	if err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	var p Platform
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("read config %s: %w", d.Config.Digest, err)
	}
	w.add(desc, p)
	return nil
}

// isAttestation knows the manifests that BuildKit puts beside an image: their platform is unknown/unknown.
func isAttestation(desc ispec.Descriptor) bool {
	if desc.Annotations["vnd.docker.reference.type"] != "" {
		return true
	}
	return desc.Platform != nil && desc.Platform.OS == "unknown" && desc.Platform.Architecture == "unknown"
}
