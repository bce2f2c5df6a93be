package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/index"
)

// ErrNeedsNamespace says that content is only in a directory that was made by root in the user's namespace, and this process
// is not that.
var ErrNeedsNamespace = errors.New("needs the user namespace that its files were made in")

// Layer is a layer of the store in use: it cannot be collected before Release. Its methods may be called from several
// goroutines.
type Layer struct {
	s    *Store
	st   *layerState
	once sync.Once
}

// layerState is what all Layers of one Store and id share.
type layerState struct {
	id   string
	lock *os.File // shared, on the layer's directory
	refs atomic.Int32

	mu    sync.Mutex
	meta  layerMeta
	index *index.Index

	tarMu sync.Mutex
	tar   *os.File // the uncompressed tar, spooled
}

func (st *layerState) close() {
	st.lock.Close()
	st.tarMu.Lock()
	defer st.tarMu.Unlock()
	if st.tar != nil {
		st.tar.Close()
	}
}

// Layer opens a layer by its id. The caller releases it. The error is fs.ErrNotExist when it is not there or damaged; that its
// index is damaged is found by Index.
func (s *Store) Layer(id string) (*Layer, error) {
	if !validID(id) {
		return nil, fmt.Errorf("open layer %q: malformed id: %w", id, fs.ErrNotExist)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if st := s.layers[id]; st != nil {
		st.refs.Add(1)
		return &Layer{s: s, st: st}, nil
	}
	lock, err := files.TryLock(s.layerDir(id), files.LockMode{})
	if err == nil && lock == nil {
		err = fs.ErrNotExist // a collector removes it
	}
	if err != nil {
		return nil, fmt.Errorf("open layer %s: %w", id, err)
	}
	meta, err := s.readMeta(id)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("open layer: %w", err)
	}
	st := &layerState{id: id, lock: lock, meta: meta}
	st.refs.Store(1)
	s.layers[id] = st
	return &Layer{s: s, st: st}, nil
}

// Release ends the use of the layer. It may be called twice. What was got from the Layer (its Index, a Source) stays valid,
// but directories may go away.
func (l *Layer) Release() {
	l.once.Do(func() {
		l.s.mu.Lock()
		defer l.s.mu.Unlock()
		if l.st.refs.Add(-1) == 0 && l.s.layers[l.st.id] == l.st {
			delete(l.s.layers, l.st.id)
			l.st.close()
		}
	})
}

// retain keeps a layer until the Store is closed, if it can be used.
func (s *Store) retain(id string) bool {
	l, err := s.Layer(id)
	if err != nil {
		return false
	}
	if _, err := l.Index(); err != nil || !l.usable() {
		l.Release()
		return false
	}
	return true // the reference is the Store's
}

// usable says whether the layer has content that can be read here or, if this is no namespace, in the user's.
func (l *Layer) usable() bool {
	return l.HasContent() || l.s.host.form == "" && l.anyDir(l.meta())
}

// anyDir says whether there is a directory of any form.
func (l *Layer) anyDir(m layerMeta) bool {
	for _, d := range m.Dirs {
		if m.dir(d.Form, l.s.host.boot) {
			return true
		}
	}
	return false
}

// HasContent says whether this process can read the layer's content: from a blob or a directory of its form.
func (l *Layer) HasContent() bool {
	if _, ok := l.Dir(l.s.host.form); ok {
		return true
	}
	return len(l.Blobs()) > 0
}

// meta is the layer's state as last read or written here; refresh is the state on disk.
func (l *Layer) meta() layerMeta {
	l.st.mu.Lock()
	defer l.st.mu.Unlock()
	return l.st.meta
}

func (l *Layer) refresh() (layerMeta, error) {
	m, err := l.s.readMeta(l.st.id)
	if err != nil {
		return m, err
	}
	l.st.mu.Lock()
	defer l.st.mu.Unlock()
	if m.Gen >= l.st.meta.Gen {
		l.st.meta = m
	}
	return m, nil
}

// update changes the layer's meta, on disk and here.
func (l *Layer) update(ctx context.Context, fn func(m *layerMeta) error) error {
	m, err := l.s.updateMeta(ctx, l.st.id, fn)
	if err != nil {
		return err
	}
	l.st.mu.Lock()
	defer l.st.mu.Unlock()
	l.st.meta = m
	return nil
}

// ID is the layer's name in the store: 64 hexadecimal digits. It is the digest of the index, mtimes included; for a layer
// whose blob others made it is its diffID, or a digest of that and the layers below where the tar cannot be understood
// without them.
func (l *Layer) ID() string { return l.st.id }

// ContentID is what goes into cache keys: the digest of the index without mtimes, or for a layer whose blob others made its
// diffID (and for one that depends on the layers below, a digest of both).
func (l *Layer) ContentID() digest.Digest { return l.meta().ContentID }

// DiffID is the digest of the uncompressed tar, empty as long as the layer was never packed.
func (l *Layer) DiffID() digest.Digest { return l.meta().DiffID }

// Foreign says that the layer's blob was made by others and is never made anew.
func (l *Layer) Foreign() bool { return l.meta().Foreign }

// Index returns the layer's index. It stays valid as long as the process lives. The error is fs.ErrNotExist when it is damaged.
func (l *Layer) Index() (*index.Index, error) {
	l.st.mu.Lock()
	defer l.st.mu.Unlock()
	if l.st.index != nil {
		return l.st.index, nil
	}
	ix, err := l.s.readIndex(l.st.id)
	if err != nil {
		return nil, err
	}
	l.st.index = ix
	return ix, nil
}

// readIndex maps a layer's index.
func (s *Store) readIndex(id string) (*index.Index, error) {
	ix, err := index.Open(filepath.Join(s.layerDir(id), indexFile))
	if errors.Is(err, index.ErrCorrupt) || errors.Is(err, fs.ErrNotExist) {
		return nil, &DamagedError{What: "layer " + id, Err: err}
	}
	return ix, err
}

// Blobs are the layer's blobs that are in the store, in the order in which they were added; each stays until the Store is
// closed. A layer whose blob others made has theirs first.
func (l *Layer) Blobs() []oci.Layer {
	m := l.meta()
	if l.s.hasNone(m.Blobs) {
		if fresh, err := l.refresh(); err == nil {
			m = fresh
		}
	}
	var found []oci.Layer
	for _, b := range m.Blobs {
		if size, err := l.s.pin(b.Digest); err == nil && size == b.Size {
			found = append(found, b.layer(m.DiffID))
		}
	}
	return found
}

// hasNone says whether none of these blobs is in the store.
func (s *Store) hasNone(blobs []blobForm) bool {
	for _, b := range blobs {
		if s.HasBlob(b.Digest) {
			return false
		}
	}
	return true
}

// Dir returns the layer's directory in overlay form that was made under the given id map (see Store.Form), if there is one.
func (l *Layer) Dir(form string) (path string, ok bool) {
	if form == "" {
		return "", false
	}
	m := l.meta()
	if !m.dir(form, l.s.host.boot) {
		var err error
		if m, err = l.refresh(); err != nil || !m.dir(form, l.s.host.boot) {
			return "", false
		}
	}
	return filepath.Join(l.s.layerDir(l.st.id), dirName(form)), l.hasDir(m, form)
}

// hasDir says whether m has a directory of the form, and it is there.
func (l *Layer) hasDir(m layerMeta, form string) bool {
	if !m.dir(form, l.s.host.boot) {
		return false
	}
	info, err := os.Stat(filepath.Join(l.s.layerDir(l.st.id), dirName(form)))
	return err == nil && info.IsDir()
}

// Owners returns the records of what the directory of form "record" could not keep in extended attributes; empty if there are
// none. It is the caller's.
func (l *Layer) Owners() (*owners.Table, error) {
	return DirOwners(filepath.Join(l.s.layerDir(l.st.id), dirName(recordForm)))
}

// DirOwners is Owners for a directory that EnsureDir returned.
func DirOwners(dir string) (*owners.Table, error) {
	t, err := owners.LoadTable(filepath.Join(filepath.Dir(dir), ownersFile))
	if errors.Is(err, fs.ErrNotExist) {
		return owners.NewTable(), nil
	}
	return t, err
}

// LayerByDiffID finds the layer whose uncompressed tar has this digest. One that depends on the layers below it is not found:
// see FindLayer. The caller releases it.
func (s *Store) LayerByDiffID(diffID digest.Digest) (*Layer, bool) {
	return s.layerByName(diffID, func(m layerMeta) bool { return m.DiffID == diffID && !m.Loose })
}

// LayerByContentID finds a layer with this content id, whatever its mtimes; the one that was added first, if it is still
// there. The caller releases it.
func (s *Store) LayerByContentID(id digest.Digest) (*Layer, bool) {
	return s.layerByName(id, func(m layerMeta) bool { return m.ContentID == id && !m.Loose })
}

// LayerByBlob finds the layer that has this blob, if the blob is in the store. The caller releases it.
func (s *Store) LayerByBlob(blob digest.Digest) (*Layer, bool) {
	if !s.HasBlob(blob) {
		return nil, false
	}
	return s.layerByName(blob, func(m layerMeta) bool { return !m.Loose && hasBlob(m, blob) })
}

func hasBlob(m layerMeta, blob digest.Digest) bool {
	for _, b := range m.Blobs {
		if b.Digest == blob {
			return true
		}
	}
	return false
}

func (s *Store) layerByName(d digest.Digest, is func(layerMeta) bool) (*Layer, bool) {
	id := s.idByName(d)
	if id == "" {
		return nil, false
	}
	l, err := s.Layer(id)
	if err != nil {
		return nil, false
	}
	m, err := l.refresh()
	if err == nil && is(m) {
		if _, err = l.Index(); err == nil {
			return l, true
		}
	}
	l.Release()
	return nil, false
}

// layerBoot returns the boot that a record naming this layer must carry: empty when the layer is durable.
func (s *Store) layerBoot(id string) (string, error) {
	l, err := s.Layer(id)
	if err != nil {
		return "", err
	}
	defer l.Release()
	m, err := l.refresh()
	if err != nil || m.Boot == "" {
		return "", err
	}
	s.mu.Lock()
	s.fresh.layers[id] = true // whoever began it may never sync it
	s.mu.Unlock()
	return s.host.boot, nil
}
