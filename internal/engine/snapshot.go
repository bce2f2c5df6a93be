package engine

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
	"github.com/opencontainers/go-digest"
)

// layerRef is a layer that a step made, found or will find. What is known early is there at once; the rest is waited
// for.
type layerRef struct {
	// diffID names a layer of a base image from the start; empty for ours.
	diffID digest.Digest
	// quick is the index without digests that a RUN leaves before its files are hashed; nil otherwise.
	quick *index.Index
	// dir is where a RUN's directory lies until its layer is stored. A link stays there when it moves.
	dir string
	// table has the owners that files in dir cannot have recorded.
	table *owners.Table
	// created is when the step ran, for the history.
	created time.Time

	load    func(context.Context) // fetches a base layer, once; nil otherwise
	ready   chan struct{}         // closed when layer or err is set
	layer   *store.Layer
	content digest.Digest
	err     error
}

func newLayerRef() *layerRef { return &layerRef{ready: make(chan struct{})} }

// storedRef is a layer that is already in the store.
func storedRef(l *store.Layer, created time.Time) *layerRef {
	r := newLayerRef()
	r.created = created
	r.settle(l, nil)
	return r
}

// settle says how it ended. Called once.
func (r *layerRef) settle(l *store.Layer, err error) {
	r.layer, r.err = l, err
	if l != nil {
		r.content = l.ContentID()
	}
	close(r.ready)
}

// settled reports whether the content id is known without waiting.
func (r *layerRef) settled() bool {
	if r.diffID != "" {
		return true
	}
	select {
	case <-r.ready:
		return true
	default:
		return false
	}
}

// stored waits until the layer is in the store.
func (r *layerRef) stored(ctx context.Context) (*store.Layer, error) {
	if r.load != nil {
		r.load(ctx)
	}
	select {
	case <-r.ready:
		return r.layer, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *layerRef) contentID(ctx context.Context) (digest.Digest, error) {
	if r.diffID != "" {
		return r.diffID, nil
	}
	if _, err := r.stored(ctx); err != nil {
		return "", err
	}
	return r.content, nil
}

// index returns the layer's index, without digests when they would have to be waited for.
func (r *layerRef) index(ctx context.Context) (*index.Index, error) {
	if r.quick != nil {
		return r.quick, nil
	}
	l, err := r.stored(ctx)
	if err != nil {
		return nil, err
	}
	return l.Index()
}

// snapshotRef is a snapshot of layers that are there or come: a stack of layerRefs, the lowest first.
type snapshotRef struct {
	layers []*layerRef

	mu     sync.Mutex
	merged *tree.Tree
}

var emptySnapshot = &snapshotRef{}

// with is the snapshot with one more layer on top.
func (s *snapshotRef) with(r *layerRef) *snapshotRef {
	return &snapshotRef{layers: append(slices.Clip(slices.Clone(s.layers)), r)}
}

// settled reports whether chain will not wait.
func (s *snapshotRef) settled() bool {
	for _, r := range s.layers {
		if !r.settled() {
			return false
		}
	}
	return true
}

// chain names the snapshot by content.
func (s *snapshotRef) chain(ctx context.Context) (digest.Digest, error) {
	ids := make([]digest.Digest, 0, len(s.layers))
	for _, r := range s.layers {
		id, err := r.contentID(ctx)
		if err != nil {
			return "", err
		}
		ids = append(ids, id)
	}
	return chainID(ids), nil
}

// Tree is the merged tree; files of layers that are still being hashed have no digests in it.
func (s *snapshotRef) Tree(ctx context.Context) (*tree.Tree, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.merged != nil {
		return s.merged, nil
	}
	indexes := make([]*index.Index, 0, len(s.layers))
	for _, r := range s.layers {
		ix, err := r.index(ctx)
		if err != nil {
			return nil, err
		}
		indexes = append(indexes, ix)
	}
	s.merged = tree.New(indexes...)
	return s.merged, nil
}

// Open reads a regular file of the Tree.
func (s *snapshotRef) Open(ctx context.Context, n tree.Node) (io.ReadCloser, error) {
	l, err := s.layers[n.Layer].stored(ctx)
	if err != nil {
		return nil, err
	}
	return l.OpenFile(ctx, n.LinkPath)
}

// fetched waits for the layers of base images that are not here yet.
func (s *snapshotRef) fetched(ctx context.Context) error {
	for _, r := range s.layers {
		if r.load == nil {
			continue
		}
		if _, err := r.stored(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Dirs makes sure that every layer has a directory and returns them, the uppermost first. No step waits here for the
// hashing of the one before it.
func (s *snapshotRef) Dirs(ctx context.Context) ([]string, error) {
	out := make([]string, len(s.layers))
	var below []*store.Layer
	for i, r := range s.layers {
		at := len(s.layers) - 1 - i
		if r.dir != "" {
			out[at] = r.dir
			below = append(below, nil)
			continue
		}
		l, err := r.stored(ctx)
		if err != nil {
			return nil, err
		}
		if out[at], err = l.EnsureDir(ctx, below); err != nil {
			return nil, err
		}
		below = append(below, l)
	}
	return out, nil
}

// Owners is the owner table of one of the Dirs.
func (s *snapshotRef) Owners(dir string) (*owners.Table, error) {
	for _, r := range s.layers {
		if r.dir == dir {
			return r.table, nil
		}
	}
	return store.DirOwners(dir)
}
