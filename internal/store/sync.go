package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
)

// pending is what one Sync will make durable, as it was before it.
type pending struct {
	gens  map[string]layerMeta
	steps []digest.Digest
	blobs []digest.Digest
}

// Sync makes everything that this Store has added durable, with one syncfs for all of it, and then says so in the layers and
// records, which until now counted only until the machine stops. A Store that has added nothing does nothing. After an error
// some or all of it still counts for this boot only.
func (s *Store) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, ok := s.pending()
	if !ok {
		return nil
	}
	if err := s.syncAll(); err != nil {
		return fmt.Errorf("sync store: %w", err) // an error is given only once: what was to be synced is not, for this boot
	}
	var failed error
	for _, d := range p.blobs {
		// What a power cut makes of this change alone is either of the two modes, and both are true.
		failed = errors.Join(failed, s.markDurable(d))
	}
	for id, before := range p.gens {
		failed = errors.Join(failed, s.settleLayer(ctx, id, before))
	}
	for _, key := range p.steps {
		failed = errors.Join(failed, s.settleStep(key))
	}
	if failed != nil {
		return fmt.Errorf("note what is synced: %w", failed)
	}
	return nil
}

// pending takes what is to be synced out of the session. Its metas are read before the sync: what comes to a layer later
// changes its Gen.
func (s *Store) pending() (pending, bool) {
	s.mu.Lock()
	fresh := s.fresh
	s.fresh = session{layers: map[string]bool{}, steps: map[digest.Digest]bool{}}
	p := pending{gens: map[string]layerMeta{}, steps: slices.Collect(maps.Keys(fresh.steps))}
	if fresh.dirty {
		p.blobs = slices.Collect(maps.Keys(s.pins))
	}
	s.mu.Unlock()
	for id := range fresh.layers {
		if m, err := s.readMeta(id); err == nil {
			p.gens[id] = m
		}
	}
	return p, fresh.dirty || len(fresh.layers) > 0
}

// settleLayer notes that what the layer was before is durable. A layer that has changed meanwhile is left to who changed it.
func (s *Store) settleLayer(ctx context.Context, id string, before layerMeta) error {
	if before.Boot == "" {
		return nil
	}
	l, err := s.Layer(id)
	if err != nil {
		return errIgnoring(err, fs.ErrNotExist)
	}
	defer l.Release()
	err = l.update(ctx, func(m *layerMeta) error {
		if m.Gen != before.Gen {
			return errUnchanged
		}
		m.Boot = ""
		dirs := m.Dirs
		m.Dirs = nil
		for _, d := range dirs {
			if d.Boot == "" || d.Boot == s.host.boot { // one of another boot was never synced
				m.Dirs = append(m.Dirs, dirForm{Form: d.Form})
			}
		}
		return nil
	})
	return errIgnoring(err, errUnchanged)
}

// settleStep takes the boot off a record whose layer is durable now.
func (s *Store) settleStep(key digest.Digest) error {
	r, err := s.readRecord(key)
	if err != nil {
		return errIgnoring(err, fs.ErrNotExist)
	}
	if r.Boot == "" {
		return nil
	}
	m, err := s.readMeta(r.Layer)
	if err != nil || m.Boot != "" {
		return errIgnoring(err, fs.ErrNotExist)
	}
	r.Boot = ""
	return s.writeRecord(r)
}
