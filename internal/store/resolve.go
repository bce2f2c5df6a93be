package store

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/cairnbuild/cairn/oci"
)

// AmbiguousError says that the beginning of an ID is that of several images.
type AmbiguousError struct {
	ID string
	// IDs are the images that it could mean.
	IDs []digest.Digest
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q is the beginning of %d image IDs", e.ID, len(e.IDs))
}

// Match is what Resolve found for a name.
type Match struct {
	// Image is what the name stands for: a manifest or an index, and all names that it has. Where several have the ID, it is one
	// with a name rather than one without, and a manifest rather than an index.
	Image oci.Named
	// Reference is what was looked for; zero when Image was found by an ID or digest without a repository.
	Reference oci.Reference
	// Same are the others with the same ID, when the ID was looked for: what differs is an annotation, the compression of a
	// layer, or the index around it.
	Same []oci.Named
}

// idPrefix is what can be the beginning of an ID.
var idPrefix = regexp.MustCompile(`^(sha256:)?[0-9a-f]{1,64}$`)

// Resolve finds an image as users name it: by a whole ID or digest, by a reference, or by the beginning of an ID or digest, in
// this order. The ID is the digest of the config, as docker shows it, so several manifests may have the same. The error is
// fs.ErrNotExist when there is none, and an *AmbiguousError when there are several with different IDs.
func (s *Store) Resolve(ctx context.Context, name string) (Match, error) {
	images, err := s.Images(ctx)
	if err != nil {
		return Match{}, err
	}
	hex := strings.TrimPrefix(name, "sha256:")
	isID := idPrefix.MatchString(name)
	if !isID || len(hex) < 64 {
		if m, ok := byReference(images, name); ok {
			return m, nil
		}
	}
	if isID {
		return s.byID(ctx, images, name, hex)
	}
	return Match{}, notFound(name)
}

func notFound(name string) error { return fmt.Errorf("find image %q: %w", name, fs.ErrNotExist) }

// byReference finds an image by name, or by the digest in the reference.
func byReference(images []oci.Named, name string) (Match, bool) {
	want, err := oci.ParseReference(name)
	if err != nil {
		return Match{}, false
	}
	for _, img := range images {
		if want.Digest() != "" {
			if img.Descriptor.Digest == want.Digest() { // from wherever it came, it is this
				return Match{Image: img, Reference: want}, true
			}
			continue
		}
		if slices.Contains(img.References, want) {
			return Match{Image: img, Reference: want}, true
		}
	}
	return Match{}, false
}

// byID finds the images whose manifest's or config's digest is, or begins with, hex.
func (s *Store) byID(ctx context.Context, images []oci.Named, name, hex string) (Match, error) {
	var found []oci.Named
	ids := map[digest.Digest]bool{}
	for _, img := range images {
		if img.Descriptor.Digest.Encoded() == hex {
			return Match{Image: img}, nil
		}
		id := s.imageID(ctx, img.Descriptor)
		if strings.HasPrefix(id.Encoded(), hex) || strings.HasPrefix(img.Descriptor.Digest.Encoded(), hex) {
			found = append(found, img)
			ids[id] = true
		}
	}
	switch len(ids) {
	case 0:
		return Match{}, notFound(name)
	case 1:
	default:
		e := &AmbiguousError{ID: name}
		for id := range ids {
			e.IDs = append(e.IDs, id)
		}
		slices.Sort(e.IDs)
		return Match{}, e
	}
	slices.SortStableFunc(found, func(a, b oci.Named) int { return cmp.Compare(rank(a), rank(b)) })
	return Match{Image: found[0], Same: found[1:]}, nil
}

// rank orders images with the same ID: those with a name first, then manifests before indexes.
func rank(img oci.Named) int {
	r := 0
	if len(img.References) == 0 {
		r += 2
	}
	if oci.IsIndex(img.Descriptor.MediaType) {
		r++
	}
	return r
}

// imageID is the digest of an image's config, for an index that of the image which Image gives; of an image that cannot be read
// it is the manifest's, the only one by which it can be meant.
func (s *Store) imageID(ctx context.Context, desc Descriptor) digest.Digest {
	img, err := s.Image(ctx, desc, oci.HostPlatform())
	if err != nil {
		return desc.Digest
	}
	return img.ConfigDescriptor.Digest
}
