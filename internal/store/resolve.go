package store

import (
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
	// Digests are the manifests or indexes that it could mean.
	Digests []digest.Digest
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q is the beginning of %d image IDs", e.ID, len(e.Digests))
}

// idPrefix is what can be the beginning of an ID.
var idPrefix = regexp.MustCompile(`^(sha256:)?[0-9a-f]{1,64}$`)

// Resolve finds an image as users name it: by a whole ID or digest, by a reference, or by the beginning of an ID or digest, in
// this order. The Reference is zero when it was found by ID. The error is fs.ErrNotExist when there is none, and an
// *AmbiguousError when there are several.
func (s *Store) Resolve(ctx context.Context, name string) (Descriptor, oci.Reference, error) {
	images, err := s.Images(ctx)
	if err != nil {
		return Descriptor{}, oci.Reference{}, err
	}
	id := strings.TrimPrefix(name, "sha256:")
	whole := idPrefix.MatchString(name) && len(id) == 64
	if !whole {
		if desc, ref, ok := byReference(images, name); ok {
			return desc, ref, nil
		}
	}
	if idPrefix.MatchString(name) {
		found := s.byID(ctx, images, id)
		if len(found) == 1 {
			return found[0], oci.Reference{}, nil
		}
		if len(found) > 1 {
			e := &AmbiguousError{ID: name}
			for _, d := range found {
				e.Digests = append(e.Digests, d.Digest)
			}
			return Descriptor{}, oci.Reference{}, e
		}
	}
	return Descriptor{}, oci.Reference{}, fmt.Errorf("find image %q: %w", name, fs.ErrNotExist)
}

// byReference finds an image by name, or by the digest in the reference.
func byReference(images []oci.Named, name string) (Descriptor, oci.Reference, bool) {
	want, err := oci.ParseReference(name)
	if err != nil {
		return Descriptor{}, oci.Reference{}, false
	}
	for _, img := range images {
		if want.Digest() != "" {
			if img.Descriptor.Digest == want.Digest() { // from wherever it came, it is this
				return img.Descriptor, want, true
			}
			continue
		}
		if slices.Contains(img.References, want) {
			return img.Descriptor, want, true
		}
	}
	return Descriptor{}, oci.Reference{}, false
}

// byID finds the images whose manifest's or config's digest begins so.
func (s *Store) byID(ctx context.Context, images []oci.Named, id string) []Descriptor {
	var found []Descriptor
	for _, img := range images {
		match := strings.HasPrefix(img.Descriptor.Digest.Encoded(), id)
		if !match {
			// An image that cannot be read has no ID by which it could be meant.
			image, err := s.Image(ctx, img.Descriptor)
			match = err == nil && strings.HasPrefix(image.ConfigDescriptor.Digest.Encoded(), id)
		}
		if match {
			found = append(found, img.Descriptor)
		}
	}
	return found
}
