package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/layout"
	"github.com/cairnbuild/cairn/oci/registry"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// bases finds base images in the store or in a registry and brings their layers in when somebody needs them.
type bases struct {
	store    *store.Store
	registry *registry.Client
	events   *emitter
	pull     bool
	// extract says that layers can be unpacked here.
	extract bool

	mu      sync.Mutex
	futures map[string]*baseFuture
	found   map[*planner.Base]*baseImage
}

func newBases(s *store.Store, ev *emitter, pull, extract bool) (*bases, error) {
	reg, err := registry.New(registry.Options{UserAgent: "cairn"})
	if err != nil {
		return nil, err
	}
	return &bases{
		store: s, registry: reg, events: ev, pull: pull, extract: extract,
		futures: map[string]*baseFuture{}, found: map[*planner.Base]*baseImage{},
	}, nil
}

type baseFuture struct {
	once  sync.Once
	image *baseImage
	err   error
}

// baseImage is what is known of a base image before any of its layers is read.
type baseImage struct {
	planner.Base
	image oci.Image
	// source has its blobs; remote says that this is a registry.
	source oci.BlobSource
	remote bool

	brought bringing
}

// bringing is an image's way into the store: one for all stages that build on it or copy from it.
type bringing struct {
	once   sync.Once
	layers []*store.Layer
	err    error

	keep sync.Once // for one whose layers are here already
	kept error
}

// ResolveBase implements planner.Bases.
func (b *bases) ResolveBase(ctx context.Context, name string, p oci.Platform) (*planner.Base, error) {
	return b.note(b.resolve(ctx, name, p))
}

// ResolveContext implements planner.Bases.
func (b *bases) ResolveContext(ctx context.Context, c planner.NamedContext, p oci.Platform) (*planner.Base, error) {
	switch c.Kind {
	case planner.ImageContext:
		return b.ResolveBase(ctx, c.Location, p)
	case planner.LayoutContext:
		return b.note(b.readLayout(ctx, c.Name, c.Location, p))
	}
	return nil, fmt.Errorf("named context %s cannot be a base image: use docker-image:// or oci-layout://", c)
}

// note keeps an image, for of to find it.
func (b *bases) note(m *baseImage, err error) (*planner.Base, error) {
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.found[&m.Base] = m
	return &m.Base, nil
}

// of is the image that a plan names, which it has from here.
func (b *bases) of(base *planner.Base) *baseImage {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.found[base]
}

// resolve finds one image once per build.
func (b *bases) resolve(ctx context.Context, name string, p oci.Platform) (*baseImage, error) {
	ref, err := oci.ParseReference(name)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	key := ref.String() + " " + oci.FormatPlatform(p)
	f, ok := b.futures[key]
	if !ok {
		f = &baseFuture{}
		b.futures[key] = f
	}
	b.mu.Unlock()
	f.once.Do(func() { f.image, f.err = b.find(ctx, ref, p) })
	return f.image, f.err
}

func (b *bases) find(ctx context.Context, ref oci.Reference, p oci.Platform) (meta *baseImage, err error) {
	var other *baseImage // what the store has under this name for another platform
	if !b.pull {
		if m, err := b.store.Resolve(ctx, ref.String()); err == nil {
			meta, err := b.read(ctx, ref, m.Image.Descriptor, b.store, p)
			switch {
			case err == nil && !oci.MatchPlatform(p, meta.Config.Platform):
				other = meta
			case err == nil || !errors.Is(err, fs.ErrNotExist):
				return meta, err
			}
		}
	}
	err = b.events.do("[internal] load metadata for "+ref.String(), func(*vertex) error {
		desc, err := b.registry.Resolve(ctx, ref)
		if err != nil {
			return err
		}
		meta, err = b.read(ctx, ref, desc, b.registry.Source(ref), p)
		return err
	})
	if err != nil && other != nil && ctx.Err() == nil {
		return other, nil // an image for one platform alone is taken as it is, and the linter remarks on it
	}
	return meta, err
}

// read loads the manifest and config of the image for one platform.
func (b *bases) read(ctx context.Context, ref oci.Reference, desc ispec.Descriptor, src oci.BlobSource, p oci.Platform) (*baseImage, error) {
	manifest, err := oci.PickManifest(ctx, src, desc, p)
	if err != nil {
		return nil, fmt.Errorf("choose a platform of %s: %w", ref.Familiar(), err)
	}
	img, err := oci.ReadImage(ctx, src, manifest)
	if err != nil {
		return nil, fmt.Errorf("read image %s: %w", ref.Familiar(), err)
	}
	name := ref.String()
	if ref.Digest() == "" {
		name += "@" + string(desc.Digest)
	}
	base := planner.Base{Name: name, Reference: ref, Config: img.Config, Layers: len(img.Layers)}
	return &baseImage{Base: base, image: img, source: src, remote: src != oci.BlobSource(b.store)}, nil
}

// ingest brings all layers of an image into the store, once, and shows it under the title of whoever asks first.
func (b *bases) ingest(ctx context.Context, m *baseImage, title string, extract bool) ([]*store.Layer, error) {
	m.brought.once.Do(func() { m.brought.layers, m.brought.err = b.bring(ctx, m, title, extract) })
	return m.brought.layers, m.brought.err
}

func (b *bases) bring(ctx context.Context, m *baseImage, title string, extract bool) ([]*store.Layer, error) {
	v := b.events.start(title)
	layers, err := b.store.IngestImage(ctx, m.image, m.source, store.IngestImageOptions{Extract: extract && b.extract, OnRead: v.reads()})
	if err == nil && m.remote {
		err = b.keep(ctx, m)
	}
	v.finish(false, err)
	return layers, err
}

// reads shows how far the layers of an image have come, a few times a second.
func (v *vertex) reads() func(l oci.Layer, n int64, done bool) {
	var mu sync.Mutex
	last := map[digest.Digest]time.Time{}
	return func(l oci.Layer, n int64, done bool) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); done || now.Sub(last[l.Digest]) > statusEvery {
			last[l.Digest] = now
			v.status(string(l.Digest), n, l.Size, done)
		}
	}
}

// keepPresent is keep for an image whose layers are here already.
func (b *bases) keepPresent(ctx context.Context, m *baseImage) error {
	m.brought.keep.Do(func() {
		if m.remote {
			m.brought.kept = b.keep(ctx, m)
		}
	})
	return m.brought.kept
}

// keep stores manifest and config of a pulled image and tags it, unless that would take the name from this machine's own, so that the next build finds it without the network.
func (b *bases) keep(ctx context.Context, m *baseImage) error {
	for _, d := range []ispec.Descriptor{m.image.ConfigDescriptor, m.image.Manifest} {
		r, err := m.source.OpenBlob(ctx, d)
		if err != nil {
			return err
		}
		_, err = b.store.PutBlob(ctx, d.Digest, r)
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	if m.Reference.Digest() != "" {
		return nil
	}
	if _, err := b.store.Resolve(ctx, m.Reference.String()); err == nil && !oci.MatchPlatform(oci.HostPlatform(), m.Config.Platform) {
		return b.store.AddImage(ctx, m.image.Manifest) // the name stays with the image for this machine
	}
	return b.store.Tag(ctx, m.Reference, m.image.Manifest)
}

// imageSnapshot is the file system of a FROM: the image's layers. Their diffIDs are known, so nothing is read before somebody asks for more.
func (w *workspace) imageSnapshot(ctx context.Context, op *planner.Image) (*snapshotRef, error) {
	m, s := w.bases.of(op.Base), &snapshotRef{}
	if present := m.present(w); present != nil {
		if !w.dry {
			if err := w.bases.keepPresent(ctx, m); err != nil {
				return nil, err
			}
			w.events.start(w.step.Name).finish(true, nil)
		}
		for i, l := range present {
			r := storedRef(l, createdOf(m, i))
			r.diffID = m.image.Layers[i].DiffID
			s.layers = append(s.layers, r)
		}
		return s, nil
	}
	var once sync.Once
	load := func(ctx context.Context) {
		once.Do(func() {
			var layers []*store.Layer
			err := errMiss // a rehearsal fetches nothing
			if !w.dry {
				layers, err = w.bases.ingest(ctx, m, w.step.Name, w.wantsDirs(m))
			}
			for i, r := range s.layers {
				if err != nil {
					r.settle(nil, err)
					continue
				}
				w.onClose(layers[i].Release)
				r.settle(layers[i], nil)
			}
		})
	}
	for i, l := range m.image.Layers {
		r := newLayerRef()
		r.diffID, r.load, r.created = l.DiffID, load, createdOf(m, i)
		s.layers = append(s.layers, r)
	}
	return s, nil
}

// wantsDirs says whether a RUN will stand on the image.
func (e *engine) wantsDirs(m *baseImage) bool {
	for s := range e.want.dir {
		if op, ok := s.Op.(*planner.Image); ok && op.Base == &m.Base {
			return true
		}
	}
	return false
}

// present returns the image's layers when the store has all of them, else nil.
func (m *baseImage) present(w *workspace) []*store.Layer {
	layers := []*store.Layer{}
	for _, l := range m.image.Layers {
		have, err := w.store.FindLayer(w.packCtx, l.DiffID, layers)
		if err != nil {
			return nil
		}
		w.onClose(have.Release)
		if !w.store.HasBlob(l.Digest) {
			return nil
		}
		layers = append(layers, have)
	}
	return layers
}

// readLayout finds an image in an OCI layout directory, given as PATH, PATH:TAG or PATH@DIGEST.
func (b *bases) readLayout(ctx context.Context, name, where string, p oci.Platform) (*baseImage, error) {
	dir, tag := splitLayout(where)
	l, err := layout.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open layout %s: %w", dir, err)
	}
	desc, err := l.Resolve(ctx, tag)
	if err != nil {
		return nil, fmt.Errorf("find %s in layout %s: %w", tag, dir, err)
	}
	ref, err := oci.ParseReference(name)
	if err != nil {
		return nil, err
	}
	m, err := b.read(ctx, ref, desc, l, p)
	if err == nil {
		m.remote = false
	}
	return m, err
}

// splitLayout takes a layout's directory and the name in it apart. Both may have colons in them: the first split that gives a layout counts.
func splitLayout(where string) (dir, tag string) {
	for i, c := range where {
		if c != ':' && c != '@' {
			continue
		}
		if _, err := os.Stat(filepath.Join(where[:i], "oci-layout")); err == nil {
			return where[:i], where[i+1:]
		}
	}
	return where, ""
}
