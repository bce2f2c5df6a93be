// Package oci says what an image is: the config with Docker's extra fields, its layers, and the two one-method interfaces
// through which blobs are read and written. Values of this package are plain data; nothing here touches the disk.
//
// Media types and JSON forms are those of the OCI image specification v1.1 and, for the extra config fields (Healthcheck,
// OnBuild, Shell, ArgsEscaped), of the Docker image specification v1.2.
package oci

import (
	"context"
	"io"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Config is an image's config: the OCI fields and Docker's.
type Config = dockerspec.DockerOCIImage

// Healthcheck is Docker's health check as it stands in a Config.
type Healthcheck = dockerspec.HealthcheckConfig

// Layer is one layer blob of an image: the descriptor of the (compressed) blob and the digest of its uncompressed tar.
type Layer struct {
	ispec.Descriptor
	DiffID digest.Digest
}

// Image is an image for one platform as a value: editing one means making another.
type Image struct {
	// Manifest is the descriptor of the manifest that the image was read from; zero for an image that was not written yet.
	Manifest ispec.Descriptor
	// ConfigDescriptor is the descriptor of the config blob; its digest is what Docker calls the image ID.
	ConfigDescriptor ispec.Descriptor
	Config           Config
	// Layers are ordered from the base up. len(Layers) == len(Config.RootFS.DiffIDs).
	Layers []Layer
	// Annotations are those of the manifest.
	Annotations map[string]string
}

// BlobSource opens blobs by descriptor.
type BlobSource interface {
	// OpenBlob returns the blob's bytes. The reader verifies digest and size: it gives an error instead of io.EOF when
	// they differ. The caller closes it. A blob that is not there is an error for which errors.Is(err, fs.ErrNotExist).
	// It may be called from several goroutines.
	OpenBlob(ctx context.Context, desc ispec.Descriptor) (io.ReadCloser, error)
}

// BlobSink stores blobs by content.
type BlobSink interface {
	// PutBlob stores all of r and returns its digest and size (the descriptor has no media type). When want is not empty
	// the content must have that digest, or nothing is stored and an error is returned. Storing what is already there is
	// no error. It may be called from several goroutines.
	PutBlob(ctx context.Context, want digest.Digest, r io.Reader) (ispec.Descriptor, error)
}

// Named is a manifest or index descriptor with the references that point at it, as an archive or a layout carries it.
type Named struct {
	Descriptor ispec.Descriptor
	References []Reference
}
