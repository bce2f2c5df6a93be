package oci

import (
	"bytes"
	"context"
	_ "crypto/sha256" // the digests of the specification
	_ "crypto/sha512" // as above
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxMetadata is the largest manifest, index or config in bytes that is read into memory.
const MaxMetadata = 16 << 20

// ReadBlob reads a small blob whole and checks its size and digest whatever src did. A blob larger than MaxMetadata, by its
// descriptor or in fact, is an error.
func ReadBlob(ctx context.Context, src BlobSource, desc ispec.Descriptor) (_ []byte, err error) {
	if err := CheckDescriptor(desc); err != nil {
		return nil, err
	}
	if desc.Size > MaxMetadata {
		return nil, fmt.Errorf("read blob %s: %d bytes are more than the limit of %d", desc.Digest, desc.Size, MaxMetadata)
	}
	rc, err := src.OpenBlob(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	data, err := io.ReadAll(io.LimitReader(VerifyReader(rc, desc), MaxMetadata+1))
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", desc.Digest, err)
	}
	return data, nil
}

// CheckDescriptor says what is wrong with a descriptor: a digest that is malformed or of an algorithm not compiled in, or a
// negative size.
func CheckDescriptor(desc ispec.Descriptor) error {
	if err := desc.Digest.Validate(); err != nil {
		return fmt.Errorf("descriptor with digest %q: %w", desc.Digest, err)
	}
	if desc.Size < 0 {
		return fmt.Errorf("descriptor of %s: negative size %d", desc.Digest, desc.Size)
	}
	return nil
}

// MismatchError says that a blob is not what its descriptor says.
type MismatchError struct {
	Want ispec.Descriptor
	// Digest is what the content has, empty when the size alone already told.
	Digest digest.Digest
	// Size is the content's length in bytes; when larger than Want.Size it is only a lower bound, as reading stopped there.
	Size int64
}

func (e *MismatchError) Error() string {
	switch {
	case e.Size > e.Want.Size:
		return fmt.Sprintf("blob %s is longer than the %d bytes of its descriptor", e.Want.Digest, e.Want.Size)
	case e.Size < e.Want.Size:
		return fmt.Sprintf("blob %s ends after %d of %d bytes", e.Want.Digest, e.Size, e.Want.Size)
	}
	return fmt.Sprintf("blob %s has content of digest %s", e.Want.Digest, e.Digest)
}

// VerifyReader passes on what r gives, and gives a *MismatchError in place of io.EOF when the content's digest or size is not
// that of desc, or as soon as there is more than desc.Size. desc must have passed CheckDescriptor.
func VerifyReader(r io.Reader, desc ispec.Descriptor) io.Reader {
	return &verifier{r: r, want: desc, digester: desc.Digest.Algorithm().Digester()}
}

type verifier struct {
	r        io.Reader
	want     ispec.Descriptor
	digester digest.Digester
	size     int64
	err      error
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.r.Read(p)
	v.size += int64(n)
	if v.size > v.want.Size {
		v.err = &MismatchError{Want: v.want, Size: v.size}
		return 0, v.err
	}
	v.digester.Hash().Write(p[:n]) // a Hash never fails
	if errors.Is(err, io.EOF) {
		err = io.EOF
		if got := v.digester.Digest(); v.size != v.want.Size || got != v.want.Digest {
			err = &MismatchError{Want: v.want, Digest: got, Size: v.size}
		}
	}
	v.err = err
	return n, err
}

// Marshal gives the JSON that this program writes: keys in the order of the structs, no HTML escapes, no white space, no
// newline at the end.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// writeJSON stores v and returns its descriptor with the given media type.
func writeJSON(ctx context.Context, sink BlobSink, mediaType string, v any) (ispec.Descriptor, error) {
	data, err := Marshal(v)
	if err != nil {
		return ispec.Descriptor{}, err
	}
	desc, err := sink.PutBlob(ctx, digest.FromBytes(data), bytes.NewReader(data))
	desc.MediaType = mediaType
	return desc, err
}
