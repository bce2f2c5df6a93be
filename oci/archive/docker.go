package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// fromItems makes OCI manifests for the images of a docker-archive.
func (a *contents) fromItems(ctx context.Context, items []item) ([]oci.Named, error) {
	var entries []ispec.Descriptor
	for _, it := range items {
		desc, err := a.convert(ctx, it)
		if err != nil {
			return nil, err
		}
		refs, err := parseTags(it.RepoTags)
		if err != nil {
			return nil, err
		}
		if len(refs) == 0 {
			entries = append(entries, desc)
		}
		for _, r := range refs {
			entries = append(entries, oci.WithName(desc, r))
		}
	}
	return oci.GroupByImage(entries), nil
}

func parseTags(tags []string) ([]oci.Reference, error) {
	var refs []oci.Reference
	for _, tag := range tags {
		r, err := oci.ParseReference(tag)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", manifestFile, err)
		}
		refs = append(refs, r)
	}
	return refs, nil
}

// convert stores an OCI manifest for one image.
func (a *contents) convert(ctx context.Context, it item) (ispec.Descriptor, error) {
	conf, err := a.lookup(it.Config)
	if err != nil {
		return ispec.Descriptor{}, err
	}
	var config oci.Config
	if err := json.Unmarshal(a.metadata[conf.digest], &config); err != nil {
		return ispec.Descriptor{}, fmt.Errorf("config %s: %w", it.Config, err)
	}
	diffIDs := config.RootFS.DiffIDs
	if len(diffIDs) != len(it.Layers) {
		return ispec.Descriptor{}, fmt.Errorf("config %s has %d diff ids for %d layers", it.Config, len(diffIDs), len(it.Layers))
	}
	manifest := ispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ispec.MediaTypeImageManifest, Layers: []ispec.Descriptor{},
		Config: ispec.Descriptor{MediaType: ispec.MediaTypeImageConfig, Digest: conf.digest, Size: conf.size},
	}
	for i, name := range it.Layers {
		layer, err := a.layer(name, diffIDs[i])
		if err != nil {
			return ispec.Descriptor{}, err
		}
		manifest.Layers = append(manifest.Layers, layer)
	}
	return a.putManifest(ctx, manifest)
}

func (a *contents) layer(name string, diffID digest.Digest) (ispec.Descriptor, error) {
	f, err := a.lookup(name)
	if err != nil {
		return ispec.Descriptor{}, err
	}
	switch f.alg {
	case compress.None:
		if f.digest != diffID {
			return ispec.Descriptor{}, fmt.Errorf("layer %s has digest %s, not the config's diff id %s", name, f.digest, diffID)
		}
	case compress.Gzip, compress.Zstd:
	default:
		return ispec.Descriptor{}, fmt.Errorf("layer %s: compressed with %s, for which layers have no media type", name, f.alg)
	}
	return ispec.Descriptor{MediaType: compress.Options{Algorithm: f.alg}.MediaType(), Digest: f.digest, Size: f.size}, nil
}

func (a *contents) putManifest(ctx context.Context, manifest ispec.Manifest) (ispec.Descriptor, error) {
	data, err := oci.Marshal(manifest)
	if err != nil {
		return ispec.Descriptor{}, err
	}
	desc, err := a.sink.PutBlob(ctx, digest.FromBytes(data), bytes.NewReader(data))
	desc.MediaType = ispec.MediaTypeImageManifest
	return desc, err
}

// nameByItems gives the images of an index that has no name for them those of manifest.json, by config.
func (a *contents) nameByItems(ctx context.Context, named []oci.Named, items []item) []oci.Named {
	for i, n := range named {
		if len(n.References) > 0 || !oci.IsManifest(n.Descriptor.MediaType) {
			continue
		}
		children, err := oci.Children(ctx, a, n.Descriptor)
		if err != nil {
			continue
		}
		for _, it := range items {
			conf, err := a.lookup(it.Config)
			if err != nil || conf.digest != children[0].Digest {
				continue
			}
			if refs, err := parseTags(it.RepoTags); err == nil {
				named[i].References = append(named[i].References, refs...)
			}
		}
	}
	return named
}
