package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cairnbuild/cairn/oci"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/regclient/regclient"
	"github.com/regclient/regclient/types/descriptor"
	"github.com/regclient/regclient/types/manifest"
	"golang.org/x/sync/errgroup"
)

// parallelUploads is how many blobs are uploaded at once.
const parallelUploads = 3

// Progress says how far the upload of one blob is.
type Progress struct {
	Descriptor ispec.Descriptor
	// Done is how many bytes were sent. It may go back when an upload is started again.
	Done int64
	// Exists says that the registry had the blob already, so that nothing is sent.
	Exists bool
}

// Push uploads the manifest or index desc, with all that it refers to, and lets r's tag, or digest alone, name it. Blobs that
// the repository has are not sent. What an index or manifest refers to goes before it, so that a push that ends early leaves
// nothing incomplete under a name. onProgress may be nil; it is called from several goroutines, one at a time.
func (c *Client) Push(ctx context.Context, r oci.Reference, desc ispec.Descriptor, src oci.BlobSource, onProgress func(Progress)) error {
	rc, err := c.client(ctx, r.Domain())
	if err != nil {
		return fmt.Errorf("push %s: %w", r.Familiar(), err)
	}
	p := &pusher{rc: rc, r: r, src: src, report: onProgress}
	if r.Tag() != "" {
		err = p.pushManifest(ctx, desc, r.WithDigest(""))
	} else {
		err = p.pushManifest(ctx, desc, r.WithDigest(desc.Digest))
	}
	if err != nil {
		return fmt.Errorf("push %s: %w", r.Familiar(), c.translate(ctx, r, err))
	}
	return nil
}

type pusher struct {
	rc  *regclient.RegClient
	r   oci.Reference
	src oci.BlobSource

	mu     sync.Mutex
	report func(Progress)
}

func (p *pusher) progress(pr Progress) {
	if p.report == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report(pr)
}

// pushManifest uploads what desc refers to and then desc itself, under the tag or digest of name.
func (p *pusher) pushManifest(ctx context.Context, desc ispec.Descriptor, name oci.Reference) error {
	children, err := oci.Children(ctx, p.src, desc)
	if err != nil {
		return err
	}
	if err := p.pushChildren(ctx, children); err != nil {
		return err
	}
	data, err := oci.ReadBlob(ctx, p.src, desc)
	if err != nil {
		return err
	}
	m, err := manifest.New(
		manifest.WithRaw(data),
		manifest.WithDesc(descriptor.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}))
	if err != nil {
		return err
	}
	return p.rc.ManifestPut(ctx, regRef(name), m)
}

func (p *pusher) pushChildren(ctx context.Context, children []ispec.Descriptor) error {
	group, blobCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallelUploads)
	for _, d := range children {
		if !isManifest(d.MediaType) {
			group.Go(func() error { return p.pushBlob(blobCtx, d) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, d := range children {
		if !isManifest(d.MediaType) {
			continue
		}
		if err := p.pushManifest(ctx, d, p.r.WithTag("").WithDigest(d.Digest)); err != nil {
			return err
		}
	}
	return nil
}

func (p *pusher) pushBlob(ctx context.Context, desc ispec.Descriptor) error {
	d := descriptor.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}
	if rd, err := p.rc.BlobHead(ctx, regRef(p.r), d); err == nil {
		_ = rd.Close() // has no body
		p.progress(Progress{Descriptor: desc, Done: desc.Size, Exists: true})
		return nil
	}
	p.progress(Progress{Descriptor: desc})
	u := &upload{open: func() (io.ReadCloser, error) { return p.src.OpenBlob(ctx, desc) }}
	u.progress = func(done int64) { p.progress(Progress{Descriptor: desc, Done: done}) }
	_, err := p.rc.BlobPut(ctx, regRef(p.r), d, u)
	closeErr := u.Close()
	if u.err != nil { // the source's own error says more than the broken request
		return u.err
	}
	return errors.Join(err, closeErr)
}

// upload reads a blob for BlobPut, which seeks to the start to try again; the blob is then opened anew.
type upload struct {
	open     func() (io.ReadCloser, error)
	progress func(done int64)

	mu   sync.Mutex // an abandoned request may still read
	rc   io.ReadCloser
	done int64
	err  error
}

func (u *upload) Read(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.rc == nil {
		rc, err := u.open()
		if err != nil {
			u.err = err
			return 0, err
		}
		u.rc = rc
	}
	n, err := u.rc.Read(p)
	u.done += int64(n)
	if n > 0 {
		u.progress(u.done)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		u.err = err
	}
	return n, err
}

// Seek goes back to the start and nowhere else.
func (u *upload) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekStart {
		return 0, errors.ErrUnsupported
	}
	return 0, u.Close()
}

// Close closes the blob; Read opens it again.
func (u *upload) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.done = 0
	if u.rc == nil {
		return nil
	}
	rc := u.rc
	u.rc = nil
	return rc.Close()
}
