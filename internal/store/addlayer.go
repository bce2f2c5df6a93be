package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/oci/index"
)

// LayerContent is a layer to be added, in the forms that are there.
type LayerContent struct {
	// Index is strict, and complete unless Foreign.
	Index *index.Index
	// Dir is the directory in overlay form, below a Temp of this Store, to be moved away; empty for none. It stays in the Temp
	// if the layer has one already. It was made under the id map of this process.
	Dir string
	// Table has the owner records that Dir's files could not keep; nil for none.
	Table *owners.Table
	// DiffID is the digest of the uncompressed tar, if known. Blob is a blob of it that is in the store, zero for none, and
	// Packing how we packed it.
	DiffID  digest.Digest
	Blob    Descriptor
	Packing compress.Options
	// Foreign says that others made Blob; then DiffID must be set.
	Foreign bool
}

// AddLayer stores a layer and returns it in use. Where the store has it already, the forms that are new are added to it. A
// layer without blob and directory is as good as lost when the Store is closed.
func (s *Store) AddLayer(ctx context.Context, c LayerContent) (*Layer, error) {
	if c.Foreign {
		if err := c.DiffID.Validate(); err != nil {
			return nil, fmt.Errorf("add layer: diffID %q: %w", c.DiffID, err)
		}
		return s.addLayer(ctx, c.DiffID, layerMeta{ContentID: c.DiffID}, c)
	}
	id := c.Index.ID()
	if id == "" || c.Index.Loose() {
		return nil, errors.New("add layer: its index is not complete and strict")
	}
	return s.addLayer(ctx, id, layerMeta{ContentID: c.Index.ContentID()}, c)
}

// addLayer stores a layer under an id; want has what its meta says beside the forms.
func (s *Store) addLayer(ctx context.Context, id digest.Digest, want layerMeta, c LayerContent) (*Layer, error) {
	if c.Dir != "" && s.host.form == "" {
		return nil, errors.New("add layer: a directory from outside any user namespace")
	}
	want.Version, want.ID = metaVersion, id.Encoded()
	want.Foreign = c.Foreign
	l, err := s.findOrCreate(ctx, want, &c)
	if err != nil {
		return nil, fmt.Errorf("add layer: %w", err)
	}
	err = l.merge(ctx, want, &c)
	if err == nil {
		err = s.setNames(l)
	}
	if err != nil {
		l.Release()
		return nil, fmt.Errorf("add layer: %w", err)
	}
	return l, nil
}

// findOrCreate opens the layer, after making it with its index alone if it is not there. The forms are merged in later, which
// a layer that exists needs anyway.
func (s *Store) findOrCreate(ctx context.Context, want layerMeta, c *LayerContent) (*Layer, error) {
	for {
		l, err := s.Layer(want.ID)
		var damaged *DamagedError
		switch {
		case err == nil:
			return l, nil
		case errors.As(err, &damaged):
			err = s.repairMeta(ctx, want)
		case errors.Is(err, fs.ErrNotExist):
			var lock *os.File
			if lock, err = s.createLayer(want, c.Index); err == nil {
				defer lock.Close()
			}
		}
		if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// createLayer makes the layer's directory aside and renames it into place. It is locked shared from before it has its name, so
// no collector can come between. The error is fs.ErrExist when somebody was faster.
func (s *Store) createLayer(want layerMeta, ix *index.Index) (lock *os.File, err error) {
	scratch, err := s.scratchDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(scratch, "layer-"+files.RandomName())
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	if err := writeIndex(ix, filepath.Join(dir, indexFile)); err != nil {
		return nil, err
	}
	want.Boot = s.host.boot
	data, err := json.Marshal(want)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, metaFile), data, 0o600); err != nil {
		return nil, err
	}
	if lock, err = files.TryLock(dir, files.LockMode{}); err != nil {
		return nil, err
	}
	if err := renameInto(dir, s.layerDir(want.ID)); err != nil {
		lock.Close()
		return nil, err
	}
	s.added(want.ID)
	return lock, nil
}

// repairMeta gives a layer whose layer.json is damaged a new one. Its directories are lost: nothing says what they are.
func (s *Store) repairMeta(ctx context.Context, want layerMeta) error {
	lock, err := files.Lock(ctx, s.layerDir(want.ID), files.LockMode{})
	if err != nil {
		return err
	}
	defer lock.Close()
	_, err = s.updateMeta(ctx, want.ID, func(m *layerMeta) error {
		if m.Gen == 0 { // else somebody was faster
			*m = want
		}
		return nil
	})
	return err
}

// writeIndex writes an index file. It is not synced: it has a checksum.
func writeIndex(ix *index.Index, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = ix.WriteTo(f)
	return errors.Join(err, f.Close())
}

// replaceIndex puts ix in the place of the layer's index on disk and here.
func (l *Layer) replaceIndex(ix *index.Index) error {
	dir, err := l.s.scratchDir()
	if err != nil {
		return err
	}
	temp := filepath.Join(dir, "index-"+files.RandomName())
	defer os.Remove(temp)
	if err := writeIndex(ix, temp); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(l.s.layerDir(l.st.id), indexFile)); err != nil {
		return err
	}
	l.st.mu.Lock()
	defer l.st.mu.Unlock()
	l.st.index = ix
	return nil
}

// errUnchanged ends an update of a layer's meta that has nothing to write.
var errUnchanged = errors.New("nothing to change")

// merge adds the forms in c that the layer does not have yet.
func (l *Layer) merge(ctx context.Context, want layerMeta, c *LayerContent) error {
	err := l.update(ctx, func(m *layerMeta) error {
		old, err := json.Marshal(m)
		if err != nil {
			return err
		}
		m.ContentID, m.Foreign, m.Loose = want.ContentID, m.Foreign || want.Foreign, want.Loose
		m.Chain, m.Inherited = want.Chain, want.Inherited
		if err := l.mergeIndex(m, c); err != nil {
			return err
		}
		if c.Blob.Digest != "" {
			b := blobForm{MediaType: c.Blob.MediaType, Digest: c.Blob.Digest, Size: c.Blob.Size}
			if !c.Foreign {
				b.Packing = c.Packing.String()
			}
			m.addBlob(b)
		}
		if err := l.mergeDir(m, c); err != nil {
			return err
		}
		if now, err := json.Marshal(m); err != nil || string(now) == string(old) {
			return errors.Join(err, errUnchanged)
		}
		m.Boot = l.s.host.boot
		return nil
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	if err == nil {
		l.s.added(l.st.id)
	}
	return err
}

// mergeIndex sees to it that the index on disk is whole and has the offsets in the tar with the layer's diffID.
func (l *Layer) mergeIndex(m *layerMeta, c *LayerContent) error {
	_, err := l.Index()
	packed := c.DiffID != "" && c.DiffID != m.DiffID
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case err == nil && !packed:
		return nil
	case packed && m.DiffID != "" && m.Foreign:
		return fmt.Errorf("layer %s has the diffID %s, not %s", m.ID, m.DiffID, c.DiffID)
	}
	if m.DiffID != c.DiffID {
		m.DiffID, m.Blobs = c.DiffID, nil // blobs of another tar, which the new index's offsets do not fit
	}
	return l.replaceIndex(c.Index)
}

// mergeDir moves c.Dir into the layer, unless it has a directory of that form.
func (l *Layer) mergeDir(m *layerMeta, c *LayerContent) error {
	form := l.s.host.form
	if c.Dir == "" || l.hasDir(*m, form) {
		return nil
	}
	if err := l.placeDir(form, c.Dir, c.Table); err != nil {
		return err
	}
	m.addDir(form, l.s.host.boot)
	return nil
}

// setNames makes the layer findable by its diffID, content id and blobs.
func (s *Store) setNames(l *Layer) error {
	m := l.meta()
	if m.Chain {
		return nil // it is found by way of the loose one
	}
	err := errors.Join(s.setName(m.ContentID, m.ID, true), s.setName(m.DiffID, m.ID, m.Foreign))
	for _, b := range m.Blobs {
		err = errors.Join(err, s.setName(b.Digest, m.ID, m.Foreign))
	}
	return err
}

// added notes that the layer has something that is not durable.
func (s *Store) added(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fresh.dirty = true
	s.fresh.layers[id] = true
}
