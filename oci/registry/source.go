package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/cairnbuild/cairn/oci"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/regclient/regclient"
	"github.com/regclient/regclient/types/descriptor"
	"github.com/regclient/regclient/types/errs"
	"github.com/regclient/regclient/types/ref"
)

// Resolve asks what r stands for: the descriptor of a manifest or index, as the registry says; a digest in r is what the
// descriptor has. The content is compared with it when it is read through Source. The error may be an *AuthError, a
// *NotFoundError or ErrRateLimited.
func (c *Client) Resolve(ctx context.Context, r oci.Reference) (ispec.Descriptor, error) {
	desc, err := c.resolve(ctx, r)
	if err != nil {
		return ispec.Descriptor{}, fmt.Errorf("resolve %s: %w", r.Familiar(), c.translate(ctx, r, err))
	}
	return desc, nil
}

func (c *Client) resolve(ctx context.Context, r oci.Reference) (ispec.Descriptor, error) {
	rc, err := c.client(ctx, r.Domain())
	if err != nil {
		return ispec.Descriptor{}, err
	}
	desc, err := head(ctx, rc, regRef(r))
	if err != nil && isFinal(err) {
		return ispec.Descriptor{}, err
	}
	if err != nil || oci.CheckDescriptor(desc) != nil || desc.Size == 0 || desc.MediaType == "" {
		desc, err = get(ctx, rc, regRef(r)) // a registry whose HEAD says too little
	}
	if err != nil {
		return ispec.Descriptor{}, err
	}
	if want := r.Digest(); want != "" && desc.Digest != want {
		return ispec.Descriptor{}, fmt.Errorf("the registry answers with %s", desc.Digest)
	}
	if desc.Size > oci.MaxMetadata {
		return ispec.Descriptor{}, fmt.Errorf("manifest of %d bytes is more than the limit of %d", desc.Size, oci.MaxMetadata)
	}
	return desc, nil
}

// isFinal says whether a GET after a failed HEAD would fare no better.
func isFinal(err error) bool {
	for _, final := range []error{errs.ErrNotFound, errs.ErrHTTPUnauthorized, errs.ErrHTTPRateLimit, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, final) {
			return true
		}
	}
	var network *url.Error
	return errors.As(err, &network)
}

func head(ctx context.Context, rc *regclient.RegClient, r ref.Ref) (ispec.Descriptor, error) {
	m, err := rc.ManifestHead(ctx, r)
	if err != nil {
		return ispec.Descriptor{}, err
	}
	d := m.GetDescriptor()
	return ispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}, nil
}

func get(ctx context.Context, rc *regclient.RegClient, r ref.Ref) (ispec.Descriptor, error) {
	m, err := rc.ManifestGet(ctx, r)
	if err != nil {
		return ispec.Descriptor{}, err
	}
	data, err := m.RawBody()
	if err != nil {
		return ispec.Descriptor{}, err
	}
	alg := digest.Canonical
	if d := digest.Digest(r.Digest); d.Validate() == nil {
		alg = d.Algorithm()
	}
	return ispec.Descriptor{MediaType: m.GetDescriptor().MediaType, Digest: alg.FromBytes(data), Size: int64(len(data))}, nil
}

// Source gives the manifests and blobs of r's repository. A reader that the caller does not close holds up other requests to
// the registry.
func (c *Client) Source(r oci.Reference) oci.BlobSource { return &source{c, r} }

type source struct {
	c *Client
	r oci.Reference
}

// OpenBlob implements oci.BlobSource: manifests and indexes come from the registry's manifests by their media type, all else
// from its blobs. URLs in a descriptor are not followed: whoever made the manifest would choose where this machine connects to.
func (s *source) OpenBlob(ctx context.Context, desc ispec.Descriptor) (io.ReadCloser, error) {
	if err := oci.CheckDescriptor(desc); err != nil {
		return nil, fmt.Errorf("pull: %w", err)
	}
	r := s.r.WithTag("").WithDigest(desc.Digest)
	rc, err := s.c.client(ctx, r.Domain())
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", r.Familiar(), err)
	}
	open := func() (io.ReadCloser, error) { return openBlob(ctx, rc, r, desc) }
	if isManifest(desc.MediaType) {
		open = func() (io.ReadCloser, error) { return openManifest(ctx, rc, r) }
	}
	rc1, err := open()
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", r.Familiar(), s.c.translate(ctx, r, err))
	}
	body := &resumer{ctx: ctx, open: open, rc: rc1}
	return struct {
		io.Reader
		io.Closer
	}{oci.VerifyReader(body, desc), body}, nil
}

func isManifest(mediaType string) bool {
	switch mediaType {
	case "application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws":
		return true // so that the reader gets to say what it thinks of them
	}
	return oci.IsManifest(mediaType) || oci.IsIndex(mediaType)
}

func openManifest(ctx context.Context, rc *regclient.RegClient, r oci.Reference) (io.ReadCloser, error) {
	m, err := rc.ManifestGet(ctx, regRef(r))
	if err != nil {
		return nil, err
	}
	data, err := m.RawBody()
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func openBlob(ctx context.Context, rc *regclient.RegClient, r oci.Reference, desc ispec.Descriptor) (io.ReadCloser, error) {
	return rc.BlobGet(ctx, regRef(r), descriptor.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size})
}

// resumes is how often one download may be taken up again without any byte in between.
const resumes = 3

// resumer takes up a download that broke. regclient itself goes on after an early end, with a Range request; what is left is a
// reset connection, after which the blob is asked for again and what was read is skipped.
type resumer struct {
	ctx   context.Context //nolint:containedctx // lives for one download
	open  func() (io.ReadCloser, error)
	rc    io.ReadCloser
	read  int64
	tries int
}

func (r *resumer) Read(p []byte) (int, error) {
	n, err := r.rc.Read(p)
	r.read += int64(n)
	if n > 0 {
		r.tries = 0
	}
	if err == nil || !r.canResume(err) {
		return n, err
	}
	r.tries++
	next, openErr := r.open()
	if openErr != nil {
		return n, err
	}
	if _, skipErr := io.CopyN(io.Discard, next, r.read); skipErr != nil {
		return n, errors.Join(err, next.Close())
	}
	_ = r.rc.Close() // broken already
	r.rc = next
	return n, nil
}

// canResume says whether err is the connection's and not what the registry sent.
func (r *resumer) canResume(err error) bool {
	for _, final := range []error{io.EOF, errs.ErrDigestMismatch, errs.ErrSizeLimitExceeded, errs.ErrShortRead} {
		if errors.Is(err, final) {
			return false
		}
	}
	return r.ctx.Err() == nil && r.tries < resumes
}

func (r *resumer) Close() error { return r.rc.Close() }
