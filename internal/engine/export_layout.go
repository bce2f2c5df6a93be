package engine

import (
	"context"

	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/layout"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// exportLayout writes an image with all its blobs into an OCI layout directory, which may have other images already. The index that
// names it is written last.
func exportLayout(ctx context.Context, dir string, named oci.Named, s *store.Store) error {
	if err := layout.Create(dir); err != nil {
		return err
	}
	l, err := layout.Open(dir)
	if err != nil {
		return err
	}
	if err := copyBlobs(ctx, l, s, named.Descriptor); err != nil {
		return err
	}
	ix, err := l.Index(ctx)
	if err != nil {
		return err
	}
	add := []ispec.Descriptor{oci.WithoutName(named.Descriptor)}
	if len(named.References) > 0 {
		add = add[:0]
		for _, ref := range named.References {
			add = append(add, oci.WithName(named.Descriptor, ref))
		}
	}
	for _, d := range add {
		ix.Manifests = append(withoutSame(ix.Manifests, d), d)
	}
	return l.SetIndex(ctx, ix)
}

// withoutSame drops the entries that d takes the place of: those with its name, or without a name and with its digest.
func withoutSame(all []ispec.Descriptor, d ispec.Descriptor) []ispec.Descriptor {
	name := d.Annotations[ispec.AnnotationRefName]
	out := all[:0:0]
	for _, x := range all {
		if n := x.Annotations[ispec.AnnotationRefName]; n == name && (n != "" || x.Digest == d.Digest) {
			continue
		}
		out = append(out, x)
	}
	return out
}

// copyBlobs copies what desc refers to and then desc itself.
func copyBlobs(ctx context.Context, l *layout.Layout, s *store.Store, desc ispec.Descriptor) error {
	children, err := oci.Children(ctx, s, desc)
	if err != nil {
		return err
	}
	for _, c := range children {
		if err := copyBlobs(ctx, l, s, c); err != nil {
			return err
		}
	}
	if _, ok := l.HasBlob(desc.Digest); ok {
		return nil
	}
	return l.CopyBlob(ctx, s, desc)
}
