package store

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
)

// work makes this the only one in any process that makes the given form of the layer.
func (l *Layer) work(ctx context.Context, lock string) (done func(), err error) {
	f, err := files.Lock(ctx, filepath.Join(l.s.layerDir(l.st.id), lock), files.LockMode{Exclusive: true, Create: true})
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}

// noContent says why nothing of the layer's content can be read here.
func (l *Layer) noContent() error {
	if m := l.meta(); l.s.host.form == "" && l.anyDir(m) {
		return fmt.Errorf("read layer %s: %w", l.st.id, ErrNeedsNamespace)
	}
	return fmt.Errorf("read layer %s: its content is gone: %w", l.st.id, fs.ErrNotExist)
}

// EnsureDir returns the layer's directory in overlay form for this process's id map, after making it from a blob if it is not
// there. The layers below, base first, are needed only for a layer that
// FindLayer had to be given them for. The directory stays until the layer is released. Outside a user namespace, as a user
// other than root, the error is ErrNeedsNamespace; it is fs.ErrNotExist when there is nothing to make it from.
func (l *Layer) EnsureDir(ctx context.Context, below []*Layer) (string, error) {
	if l.s.host.form == "" {
		return "", fmt.Errorf("make directory of layer %s: %w", l.st.id, ErrNeedsNamespace)
	}
	if dir, ok := l.Dir(l.s.host.form); ok {
		return dir, nil
	}
	if l.meta().Loose {
		n, err := l.s.inChain(ctx, l, On(below...))
		if err != nil {
			return "", err
		}
		l.s.keep(n)
		return n.EnsureDir(ctx, nil)
	}
	done, err := l.work(ctx, dirLock)
	if err != nil {
		return "", fmt.Errorf("make directory of layer %s: %w", l.st.id, err)
	}
	defer done()
	if dir, ok := l.Dir(l.s.host.form); ok { // somebody was faster
		return dir, nil
	}
	if err := l.extract(ctx); err != nil {
		return "", fmt.Errorf("make directory of layer %s: %w", l.st.id, err)
	}
	dir, ok := l.Dir(l.s.host.form)
	if !ok {
		return "", l.noContent()
	}
	return dir, nil
}

// keep makes the Store hold on to a layer until it is closed.
func (s *Store) keep(l *Layer) { l.once.Do(func() {}) }

// extract makes the directory aside and adds it to the layer.
func (l *Layer) extract(ctx context.Context) error {
	ix, err := l.Index()
	if err != nil {
		return err
	}
	t, err := l.s.TempDir("extract")
	if err != nil {
		return err
	}
	defer t.Close()
	o := layer.ReadOptions{Dir: filepath.Join(t.Path(), "dir"), Owners: l.s.ownersMode()}
	if o.Owners == owners.Record {
		o.Table = owners.NewTable()
	}
	if err := os.Mkdir(o.Dir, 0o755); err != nil {
		return err
	}
	if err := l.extractInto(ctx, ix, o); err != nil {
		return err
	}
	err = l.update(ctx, func(m *layerMeta) error {
		m.Boot = l.s.host.boot
		return l.mergeDir(m, &LayerContent{Dir: o.Dir, Table: o.Table})
	})
	if err == nil {
		l.s.added(l.st.id)
	}
	return err
}

// extractInto fills o.Dir from a blob.
func (l *Layer) extractInto(ctx context.Context, ix *index.Index, o layer.ReadOptions) error {
	tar, err := l.openTar(ctx)
	if err != nil {
		return err
	}
	defer tar.Close()
	o.Inherited = l.inheriting(nil)
	if err := layer.Extract(ctx, ix, tar, o.Dir, o); err != nil {
		return tar.blame(err)
	}
	_, err = io.Copy(io.Discard, tar) // the digests are compared at the end
	return err
}

// ownersMode is how this process's id map keeps owners on disk.
func (s *Store) ownersMode() owners.Mode {
	if s.host.form == recordForm {
		return owners.Record
	}
	return owners.Chown
}

// EnsureBlob returns a blob of the layer packed as o says, after packing it from its directory or another blob if there is
// none; a level of 0 is content with any. A layer whose blob others made is only packed anew from that blob: to take theirs as
// it is use Blobs. The blob stays until the Store is closed. The error is ErrNeedsNamespace when the content is only in a
// directory that this process cannot read, and fs.ErrNotExist when it is gone.
func (l *Layer) EnsureBlob(ctx context.Context, o compress.Options) (oci.Layer, error) {
	if b, ok := l.packedAs(o); ok {
		return b, nil
	}
	done, err := l.work(ctx, blobLock)
	if err != nil {
		return oci.Layer{}, fmt.Errorf("pack layer %s: %w", l.st.id, err)
	}
	defer done()
	if _, err := l.refresh(); err != nil {
		return oci.Layer{}, fmt.Errorf("pack layer: %w", err)
	}
	if b, ok := l.packedAs(o); ok { // somebody was faster
		return b, nil
	}
	b, err := l.pack(ctx, o)
	if err != nil {
		return oci.Layer{}, fmt.Errorf("pack layer %s: %w", l.st.id, err)
	}
	return b, nil
}

// packedAs finds a blob of the layer that was packed as o says.
func (l *Layer) packedAs(o compress.Options) (oci.Layer, bool) {
	packing := map[string]string{} // by digest
	for _, b := range l.meta().Blobs {
		packing[b.Digest.String()] = b.Packing
	}
	for _, b := range l.Blobs() {
		if b.MediaType != o.MediaType() {
			continue
		}
		if o.Level == 0 || packing[b.Digest.String()] == o.String() {
			return b, true
		}
	}
	return oci.Layer{}, false
}

// pack makes a blob and adds it to the layer.
func (l *Layer) pack(ctx context.Context, o compress.Options) (oci.Layer, error) {
	w, err := l.s.NewBlob(ctx)
	if err != nil {
		return oci.Layer{}, err
	}
	defer w.Abort()
	src, err := l.cheapSource()
	if err != nil {
		return oci.Layer{}, err
	}
	c := LayerContent{Packing: o}
	if src == nil || l.Foreign() {
		c.DiffID, err = l.repack(ctx, w, o)
	} else {
		err = l.packSource(ctx, w, src, &c)
	}
	if err != nil {
		return oci.Layer{}, err
	}
	if have := l.DiffID(); have != "" && have != c.DiffID {
		return oci.Layer{}, &DamagedError{What: "layer " + l.st.id,
			Err: fmt.Errorf("packed again it has the diffID %s and not %s", c.DiffID, have)}
	}
	if c.Blob, err = w.Commit(o.MediaType(), ""); err != nil {
		return oci.Layer{}, err
	}
	if err := l.addBlob(ctx, &c); err != nil {
		return oci.Layer{}, err
	}
	return oci.Layer{Descriptor: c.Blob, DiffID: c.DiffID}, nil
}

// packSource packs from a directory or Source.
func (l *Layer) packSource(ctx context.Context, w io.Writer, src layer.Source, c *LayerContent) error {
	ix, err := l.Index()
	if err != nil {
		return err
	}
	packed, err := layer.Pack(ctx, w, ix, src, c.Packing)
	if err != nil {
		return err
	}
	c.Index, c.DiffID = packed.Index, packed.DiffID
	return nil
}

// addBlob notes a blob that was just packed, and the index with the offsets in its tar.
func (l *Layer) addBlob(ctx context.Context, c *LayerContent) error {
	err := l.update(ctx, func(m *layerMeta) error {
		if c.Index != nil {
			if err := l.mergeIndex(m, c); err != nil {
				return err
			}
		}
		m.addBlob(blobForm{MediaType: c.Blob.MediaType, Digest: c.Blob.Digest, Size: c.Blob.Size, Packing: c.Packing.String()})
		m.Boot = l.s.host.boot
		return nil
	})
	if err != nil {
		return err
	}
	l.s.added(l.st.id)
	return l.s.setNames(l)
}

// EnsureDigests returns the layer's index with the digest of every file, after reading the content once if that was never
// done. The errors are those of Source.
func (l *Layer) EnsureDigests(ctx context.Context) (*index.Index, error) {
	ix, err := l.Index()
	if err != nil || ix.Complete() {
		return ix, err
	}
	done, err := l.work(ctx, digestsLock)
	if err != nil {
		return nil, fmt.Errorf("hash layer %s: %w", l.st.id, err)
	}
	defer done()
	if ix, err = l.s.readIndex(l.st.id); err != nil {
		return nil, fmt.Errorf("hash layer: %w", err)
	}
	if !ix.Complete() {
		if ix, err = l.hashed(ctx, ix); err != nil {
			return nil, fmt.Errorf("hash layer %s: %w", l.st.id, err)
		}
		if err := l.replaceIndex(ix); err != nil {
			return nil, fmt.Errorf("hash layer %s: %w", l.st.id, err)
		}
	}
	l.st.mu.Lock()
	defer l.st.mu.Unlock()
	l.st.index = ix
	return ix, nil
}
