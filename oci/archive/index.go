package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cairnbuild/cairn/oci"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Limits on what one index.json may lead to: an index can name another many times.
const (
	maxNesting   = 4
	maxDocuments = 10_000
)

// blobs is where an OCI layout's blobs are once they were found: an archive that was read, or a directory.
type blobs interface {
	oci.BlobSource // of manifests and indexes at least
	oci.BlobSink
	// size is that of a blob that is there, in bytes.
	size(d digest.Digest) (int64, bool)
}

// fromIndex reads index.json and checks that what it names is there.
func fromIndex(ctx context.Context, b blobs, data []byte) ([]oci.Named, error) {
	var ix ispec.Index
	if err := json.Unmarshal(data, &ix); err != nil {
		return nil, fmt.Errorf("%s: %w", ispec.ImageIndexFile, err)
	}
	n := narrower{blobs: b}
	for i, entry := range ix.Manifests {
		kept, err := n.narrow(ctx, entry, 0)
		if err != nil {
			return nil, err
		}
		kept.Annotations = entry.Annotations // the name stays with what it leads to
		ix.Manifests[i] = kept
	}
	return oci.GroupByImage(ix.Manifests), nil
}

// missingError says that a blob is not in the archive.
type missingError struct{ desc ispec.Descriptor }

func (e *missingError) Error() string { return fmt.Sprintf("blob %s is not there", e.desc.Digest) }
func (e *missingError) Unwrap() error { return fs.ErrNotExist }

type narrower struct {
	blobs
	read int
}

// narrow returns desc when all that it refers to is there, and for an index of which only some is there a new one of that.
func (n *narrower) narrow(ctx context.Context, desc ispec.Descriptor, depth int) (ispec.Descriptor, error) {
	if err := n.there(desc); err != nil {
		return desc, err
	}
	if n.read++; depth > maxNesting || n.read > maxDocuments {
		return desc, fmt.Errorf("%s leads to too many manifests", ispec.ImageIndexFile)
	}
	children, err := oci.Children(ctx, n, desc)
	if err != nil {
		return desc, err
	}
	if oci.IsIndex(desc.MediaType) {
		return n.narrowIndex(ctx, desc, children, depth)
	}
	for _, c := range children {
		if err := n.there(c); err != nil {
			return desc, err
		}
	}
	return desc, nil
}

func (n *narrower) narrowIndex(ctx context.Context, desc ispec.Descriptor, children []ispec.Descriptor, depth int) (ispec.Descriptor, error) {
	var kept []ispec.Descriptor
	var missing *missingError
	changed := false
	for _, c := range children {
		narrow, err := n.narrow(ctx, c, depth+1)
		if errors.As(err, &missing) {
			changed = true
			continue
		}
		if err != nil {
			return desc, err
		}
		changed = changed || narrow.Digest != c.Digest
		narrow.Platform, narrow.Annotations = c.Platform, c.Annotations
		kept = append(kept, narrow)
	}
	switch {
	case !changed:
		return desc, nil
	case len(kept) == 0:
		return desc, missing
	case len(kept) == 1:
		return kept[0], nil
	}
	return oci.WriteIndex(ctx, n, kept)
}

func (n *narrower) there(desc ispec.Descriptor) error {
	if err := oci.CheckDescriptor(desc); err != nil {
		return err
	}
	size, ok := n.size(desc.Digest)
	if !ok {
		return &missingError{desc}
	}
	if size != desc.Size {
		return &oci.MismatchError{Want: desc, Size: size}
	}
	return nil
}

// OpenBlob gives back the manifests and indexes of the archive.
func (a *contents) OpenBlob(_ context.Context, desc ispec.Descriptor) (io.ReadCloser, error) {
	data, ok := a.metadata[desc.Digest]
	if !ok {
		return nil, fmt.Errorf("open blob %s: it is no JSON, or too large: %w", desc.Digest, fs.ErrInvalid)
	}
	return io.NopCloser(oci.VerifyReader(bytes.NewReader(data), desc)), nil
}

// PutBlob stores what is made while reading.
func (a *contents) PutBlob(ctx context.Context, want digest.Digest, r io.Reader) (ispec.Descriptor, error) {
	return a.sink.PutBlob(ctx, want, r)
}

func (a *contents) size(d digest.Digest) (int64, bool) {
	size, ok := a.have[d]
	return size, ok
}
