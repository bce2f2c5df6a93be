package oci

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Memory is a BlobSource and BlobSink that keeps blobs in memory: for manifests and configs on their way to somewhere, and for
// tests. The zero value is ready; it may be used from several goroutines and must not be copied after first use.
type Memory struct {
	mu    sync.Mutex
	blobs map[digest.Digest][]byte
}

// OpenBlob implements BlobSource.
func (m *Memory) OpenBlob(_ context.Context, desc ispec.Descriptor) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.blobs[desc.Digest]
	if !ok {
		return nil, fmt.Errorf("open blob %s: %w", desc.Digest, fs.ErrNotExist)
	}
	return io.NopCloser(VerifyReader(bytes.NewReader(data), desc)), nil
}

// PutBlob implements BlobSink.
func (m *Memory) PutBlob(_ context.Context, want digest.Digest, r io.Reader) (ispec.Descriptor, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return ispec.Descriptor{}, fmt.Errorf("put blob: %w", err)
	}
	desc := ispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	if want != "" && want != desc.Digest {
		return ispec.Descriptor{}, fmt.Errorf("put blob %s: content has digest %s", want, desc.Digest)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.blobs == nil {
		m.blobs = map[digest.Digest][]byte{}
	}
	m.blobs[desc.Digest] = data
	return desc, nil
}
