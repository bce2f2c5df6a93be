package oci

import (
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Docker's media types of the image manifest version 2, schema 2, and of the schema 1 that went before it.
const (
	MediaTypeDockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeDockerConfig       = "application/vnd.docker.container.image.v1+json"
	MediaTypeDockerLayer        = "application/vnd.docker.image.rootfs.diff.tar"
	MediaTypeDockerLayerGzip    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	MediaTypeDockerLayerZstd    = "application/vnd.docker.image.rootfs.diff.tar.zstd"
	MediaTypeDockerForeignLayer = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

	mediaTypeDockerSchema1       = "application/vnd.docker.distribution.manifest.v1+json"
	mediaTypeDockerSchema1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// IsIndex says whether mediaType is that of an OCI image index or of a Docker manifest list.
func IsIndex(mediaType string) bool {
	return mediaType == ispec.MediaTypeImageIndex || mediaType == MediaTypeDockerManifestList
}

// IsManifest says whether mediaType is that of an OCI image manifest or of a Docker schema 2 manifest.
func IsManifest(mediaType string) bool {
	return mediaType == ispec.MediaTypeImageManifest || mediaType == MediaTypeDockerManifest
}

// IsConfig says whether mediaType is that of an image's config, not of some other artifact's.
func IsConfig(mediaType string) bool {
	return mediaType == ispec.MediaTypeImageConfig || mediaType == MediaTypeDockerConfig
}

// IsLayer says whether mediaType is that of a file system layer, compressed or not, OCI's or Docker's.
func IsLayer(mediaType string) bool {
	_, ok := ociLayer(mediaType)
	return ok
}

// ociLayer gives the OCI name of a layer's media type.
func ociLayer(mediaType string) (string, bool) {
	switch mediaType {
	case ispec.MediaTypeImageLayer, ispec.MediaTypeImageLayerGzip, ispec.MediaTypeImageLayerZstd,
		ispec.MediaTypeImageLayerNonDistributable, ispec.MediaTypeImageLayerNonDistributableGzip, //nolint:staticcheck // images have them
		ispec.MediaTypeImageLayerNonDistributableZstd: //nolint:staticcheck // as above
		return mediaType, true
	case MediaTypeDockerLayer:
		return ispec.MediaTypeImageLayer, true
	case MediaTypeDockerLayerGzip:
		return ispec.MediaTypeImageLayerGzip, true
	case MediaTypeDockerLayerZstd:
		return ispec.MediaTypeImageLayerZstd, true
	case MediaTypeDockerForeignLayer:
		return ispec.MediaTypeImageLayerNonDistributableGzip, true //nolint:staticcheck // as above
	}
	return "", false
}
