package layout

import (
	"context"
	"fmt"
	"slices"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cairnbuild/cairn/oci"
)

// Add writes images, with all that they lead to, into the layout at dir, which is made when it is not there. Each name is
// taken from the image that has it. The index that names the images is written last, so that who reads the layout meanwhile
// finds each of them whole or not at all. Two calls for one directory at a time may lose the names that one of them adds.
func Add(ctx context.Context, dir string, src oci.BlobSource, images []oci.Named) error {
	if err := Create(dir); err != nil {
		return err
	}
	l, err := Open(dir)
	if err != nil {
		return err
	}
	ix, err := l.Index(ctx)
	if err != nil {
		return fmt.Errorf("open layout %s: %w", dir, err)
	}
	for _, n := range images {
		if err := l.copyImage(ctx, src, n.Descriptor); err != nil {
			return fmt.Errorf("write layout %s: %w", dir, err)
		}
		ix.Manifests = addEntries(ix.Manifests, n)
	}
	if err := l.SetIndex(ctx, ix); err != nil {
		return fmt.Errorf("write layout %s: %w", dir, err)
	}
	return nil
}

// addEntries adds an entry per name and takes the names away from what had them before.
func addEntries(manifests []ispec.Descriptor, n oci.Named) []ispec.Descriptor {
	bare := oci.WithoutName(n.Descriptor)
	for _, ref := range n.References {
		manifests = slices.DeleteFunc(manifests, func(d ispec.Descriptor) bool {
			have, ok := oci.NameOf(d)
			return ok && have == ref
		})
		manifests = append(manifests, oci.WithName(bare, ref))
	}
	known := slices.ContainsFunc(manifests, func(d ispec.Descriptor) bool { return d.Digest == bare.Digest })
	if len(n.References) == 0 && !known {
		manifests = append(manifests, bare)
	}
	return manifests
}

// copyImage copies what a manifest or index refers to, and then the document itself. A blob that is here in the size it should
// have is taken for right: who reads it checks its digest.
func (l *Layout) copyImage(ctx context.Context, src oci.BlobSource, desc ispec.Descriptor) error {
	children, err := oci.Children(ctx, src, desc)
	if err != nil {
		return err
	}
	for _, c := range children {
		if err := l.copyImage(ctx, src, c); err != nil {
			return err
		}
	}
	if size, ok := l.HasBlob(desc.Digest); ok && size == desc.Size {
		return nil
	}
	return l.CopyBlob(ctx, src, desc)
}
