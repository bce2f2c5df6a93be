package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/archive"
	"github.com/cairnbuild/cairn/oci/layout"
	"github.com/cairnbuild/cairn/oci/rootfs"
	"github.com/cairnbuild/cairn/oci/tree"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Result is what a build made.
type Result struct {
	// Images are one per platform; empty when only a file system was exported.
	Images []oci.Image
	// Descriptor is what the tags point at: a manifest, or an index when there are several platforms.
	Descriptor store.Descriptor

	built []*builtImage
}

// name is what the summary calls the result.
func (r *Result) name() string {
	if r.Descriptor.Digest == "" {
		return ""
	}
	if len(r.Images) == 1 {
		return r.Images[0].ConfigDescriptor.Digest.String()
	}
	return r.Descriptor.Digest.String()
}

// save writes manifests and configs into the store and sets the tags. Order: blobs, then the index that names them.
func (r *Result) save(ctx context.Context, s *store.Store, opts *Options, ev *emitter) error {
	if !opts.keepsImage() {
		return nil
	}
	var written []ispec.Descriptor
	for i, b := range r.built {
		img, err := oci.WriteImage(ctx, s, b.image)
		if err != nil {
			return fmt.Errorf("write image: %w", err)
		}
		r.Images[i] = img
		d := img.Manifest
		if opts.makesIndex() {
			p := img.Config.Platform
			d.Platform = &p
			d.Annotations = opts.Output.DescriptorAnnotations
		}
		written = append(written, d)
	}
	r.Descriptor = written[0]
	if opts.makesIndex() {
		d, err := writeIndex(ctx, s, written, opts.Output.IndexAnnotations)
		if err != nil {
			return err
		}
		r.Descriptor = d
	}
	if len(opts.Output.Tags) == 0 {
		return s.AddImage(ctx, r.Descriptor)
	}
	for _, ref := range opts.Output.Tags {
		err := ev.do("naming to "+ref.String(), func(*vertex) error { return s.Tag(ctx, ref, r.Descriptor) })
		if err != nil {
			return fmt.Errorf("tag %s: %w", ref.Familiar(), err)
		}
	}
	return nil
}

// makesIndex reports whether the result is an index: with several platforms, or when BUILDKIT_MULTI_PLATFORM asks for it.
func (o *Options) makesIndex() bool {
	if len(o.Platforms) > 1 {
		return true
	}
	multi, err := strconv.ParseBool(o.Args["BUILDKIT_MULTI_PLATFORM"])
	return err == nil && multi
}

func writeIndex(ctx context.Context, s *store.Store, manifests []ispec.Descriptor, annotations map[string]string) (ispec.Descriptor, error) {
	ix := ispec.Index{MediaType: ispec.MediaTypeImageIndex, Manifests: manifests, Annotations: annotations}
	ix.SchemaVersion = 2
	data, err := json.Marshal(ix)
	if err != nil {
		return ispec.Descriptor{}, err
	}
	d, err := s.PutBlob(ctx, "", bytes.NewReader(data))
	d.MediaType = ispec.MediaTypeImageIndex
	return d, err
}

// export writes every -o.
func (r *Result) export(ctx context.Context, s *store.Store, opts *Options, ev *emitter) error {
	for _, x := range opts.Output.Exports {
		what := x.Dest
		if what == "-" {
			what = "standard output"
		}
		err := ev.do(fmt.Sprintf("exporting to %s (%s)", what, x.Type), func(*vertex) error { return r.exportOne(ctx, s, opts, x) })
		if err != nil {
			return fmt.Errorf("export to %s: %w", what, err)
		}
	}
	return nil
}

func (r *Result) exportOne(ctx context.Context, s *store.Store, opts *Options, x Export) error {
	named := oci.Named{Descriptor: r.Descriptor, References: opts.Output.Tags}
	switch x.Type {
	case "oci", "docker":
		if x.Type == "oci" && !x.Tar {
			return layout.Add(ctx, x.Dest, s, []oci.Named{named})
		}
		format := archive.OCI
		if x.Type == "docker" {
			format = archive.Combined
		}
		return writeTo(x, func(w io.Writer) error {
			return archive.Write(ctx, w, []oci.Named{named}, s, archive.WriteOptions{Format: format})
		})
	case "tar", "local":
		if len(r.built) > 1 {
			return fmt.Errorf("type=%s takes one platform", x.Type)
		}
		t, open, err := r.built[0].files(ctx)
		if err != nil {
			return err
		}
		if x.Type == "local" {
			return rootfs.WriteDir(ctx, x.Dest, t, open)
		}
		return writeTo(x, func(w io.Writer) error { return rootfs.WriteTar(ctx, w, t, open) })
	}
	return fmt.Errorf("unknown output type %q", x.Type)
}

// files are the merged tree of the image and how to open a file in it.
func (b *builtImage) files(ctx context.Context) (*tree.Tree, rootfs.Opener, error) {
	t, err := b.final.Tree(ctx)
	if err != nil {
		return nil, nil, err
	}
	return t, b.final.Open, nil
}

// writeTo writes the file that the export names, or the standard output.
func writeTo(x Export, write func(io.Writer) error) error {
	if x.Dest == "-" || x.Dest == "" {
		return write(x.Writer)
	}
	return files.Output(x.Dest, write)
}
