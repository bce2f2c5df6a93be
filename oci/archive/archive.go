// Package archive reads and writes images as one tar: the oci-archive (an OCI image layout in a tar) and the docker-archive
// (what docker save writes and docker load reads: manifest.json with paths of configs and layers).
//
// Write's default is both at once over the same blobs, which docker load, podman load, and skopeo's oci-archive: and
// docker-archive: all read. Read takes any of them as a stream, also when the whole file is compressed, and the docker-archives
// of older programs, whose layers are files named <id>/layer.tar or links between them.
package archive

import (
	"errors"
	"strings"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Names of files in an archive, beside those of the OCI layout.
const (
	manifestFile = "manifest.json"
	blobsPrefix  = ispec.ImageBlobsDir + "/"
)

// ErrNotArchive says that what was read is no image archive: neither index.json nor manifest.json is in it.
var ErrNotArchive = errors.New("not an image archive: it has neither index.json nor manifest.json")

// item is one image of a docker-archive's manifest.json.
type item struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// blobName is the path of a blob in the archive.
func blobName(d digest.Digest) string {
	return blobsPrefix + d.Algorithm().String() + "/" + d.Encoded()
}

// blobDigest is the reverse of blobName; empty when name is not a blob's.
func blobDigest(name string) digest.Digest {
	rest, ok := strings.CutPrefix(name, blobsPrefix)
	if !ok {
		return ""
	}
	alg, hex, _ := strings.Cut(rest, "/")
	d := digest.Digest(alg + ":" + hex)
	if d.Validate() != nil {
		return ""
	}
	return d
}
