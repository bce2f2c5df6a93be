package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/oci"
)

// indexCopy, at the root, is the last index.json that this program wrote, for the case that another one damages it.
const indexCopy = "index.copy"

// readIndexJSON reads index.json; should it be damaged or gone, what this program last wrote there.
func (s *Store) readIndexJSON(ctx context.Context) (ispec.Index, error) {
	ix, err := s.layout.Index(ctx)
	if err == nil {
		return ix, nil
	}
	data, copyErr := os.ReadFile(s.path(indexCopy))
	if copyErr != nil || json.Unmarshal(data, &ix) != nil {
		return ispec.Index{}, err
	}
	return ix, nil
}

// changeIndex replaces index.json by what fn makes of it, under the lock. fn returns false to leave it as it is.
func (s *Store) changeIndex(ctx context.Context, fn func(ix *ispec.Index) (bool, error)) error {
	unlock, err := s.lockIndex(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	ix, err := s.readIndexJSON(ctx)
	if err != nil {
		return err
	}
	before := len(ix.Manifests)
	changed, err := fn(&ix)
	if err != nil || !changed {
		return err
	}
	return s.writeIndexJSON(ctx, ix, len(ix.Manifests) < before)
}

// writeIndexJSON writes index.json and its copy. The caller holds the lock. One that has become smaller can be written on a full
// disk, too: by that room is made.
func (s *Store) writeIndexJSON(ctx context.Context, ix ispec.Index, smaller bool) error {
	err := s.setIndex(ctx, ix)
	if smaller && errors.Is(err, syscall.ENOSPC) && os.Remove(s.path(reserveFile)) == nil {
		err = s.setIndex(ctx, ix)
	}
	if err != nil {
		return err
	}
	data, err := json.Marshal(ix)
	if err != nil {
		return err
	}
	// A copy that is old or missing is no reason to fail after the fact.
	_ = s.writeFile(data, false, indexCopy)
	return nil
}

func (s *Store) setIndex(ctx context.Context, ix ispec.Index) error {
	scratch, err := s.scratchDir()
	if err != nil {
		return err
	}
	l := *s.layout
	l.TempDir = scratch
	return l.SetIndex(ctx, ix)
}

// reserveFile holds reserveSize bytes of disk for the moment when there are no others.
const (
	reserveFile = "reserve"
	reserveSize = 128 << 10
)

// makeReserve makes the reserve if it is not there or was cut off. On a full disk it cannot.
func (s *Store) makeReserve() {
	path := s.path(reserveFile)
	if info, err := os.Stat(path); err == nil && info.Size() == reserveSize {
		return
	}
	data := make([]byte, reserveSize)
	rand.Read(data) // some file systems do not store zeros
	if err := os.WriteFile(path, data, 0o600); err != nil {
		os.Remove(path)
	}
}

// restoreIndexJSON puts what this program last wrote in the place of an index.json that is gone. The caller holds the lock.
func (s *Store) restoreIndexJSON() error {
	path := s.path("oci", ispec.ImageIndexFile)
	if !files.Missing(path) || files.Missing(s.path(indexCopy)) {
		return nil
	}
	data, err := os.ReadFile(s.path(indexCopy))
	if err != nil {
		return err
	}
	return s.writeFile(data, true, "oci", ispec.ImageIndexFile)
}

// Tag makes ref stand for the image desc, a manifest or an index. Everything that it leads to must be in the store, and is
// made durable first: the error is fs.ErrNotExist when something is missing. What ref stood for before stays in the store
// without that name until it is collected. Any number of processes may tag at once.
func (s *Store) Tag(ctx context.Context, ref oci.Reference, desc Descriptor) error {
	if ref.IsZero() || ref.Tag() == "" {
		return fmt.Errorf("tag image: %q has no tag", ref.String())
	}
	if err := s.enter(ctx, desc, ref); err != nil {
		return fmt.Errorf("tag image %s: %w", ref.Familiar(), err)
	}
	return nil
}

// AddImage makes the image desc one of the store's without a name. Otherwise it is like Tag.
func (s *Store) AddImage(ctx context.Context, desc Descriptor) error {
	if err := s.enter(ctx, desc, oci.Reference{}); err != nil {
		return fmt.Errorf("add image: %w", err)
	}
	return nil
}

// enter puts an image into index.json, with the name ref unless that is zero.
func (s *Store) enter(ctx context.Context, desc Descriptor, ref oci.Reference) error {
	desc = oci.WithoutName(desc)
	if ref != (oci.Reference{}) {
		ref = ref.WithDigest("")
	}
	ix, err := s.readIndexJSON(ctx)
	if err != nil {
		return err
	}
	if !entered(ix, desc, ref) {
		if err := s.settle(ctx, desc); err != nil {
			return err
		}
	}
	return s.changeIndex(ctx, func(ix *ispec.Index) (bool, error) {
		if entered(*ix, desc, ref) {
			return false, nil
		}
		// Pinned by settle; a collection between that and the lock would have had to wait for the lock.
		if !s.HasBlob(desc.Digest) {
			return false, fmt.Errorf("blob %s: %w", desc.Digest, fs.ErrNotExist)
		}
		enterInto(ix, desc, ref)
		return true, nil
	})
}

// entered says whether the index has the image under that name, or with any or none for a zero ref.
func entered(ix ispec.Index, desc Descriptor, ref oci.Reference) bool {
	for _, m := range ix.Manifests {
		name, _ := oci.NameOf(m)
		if m.Digest == desc.Digest && (ref.IsZero() || name == ref) {
			return true
		}
	}
	return false
}

// enterInto adds the image, takes the name from the one that has it, and drops the image's entry without a name.
func enterInto(ix *ispec.Index, desc Descriptor, ref oci.Reference) {
	if ref.IsZero() {
		ix.Manifests = append(ix.Manifests, desc)
		return
	}
	unname(ix, ref, true)
	ix.Manifests = slices.DeleteFunc(ix.Manifests, func(m Descriptor) bool {
		_, named := oci.NameOf(m)
		return m.Digest == desc.Digest && !named
	})
	ix.Manifests = append(ix.Manifests, oci.WithName(desc, ref))
}

// unname takes the name away, and the entry too if the image has other names or shall not be kept without one. It says whether
// there was one.
func unname(ix *ispec.Index, ref oci.Reference, keep bool) bool {
	found := false
	for i := 0; i < len(ix.Manifests); i++ {
		m := ix.Manifests[i]
		if name, ok := oci.NameOf(m); !ok || name != ref {
			continue
		}
		found = true
		others := slices.ContainsFunc(ix.Manifests, func(o Descriptor) bool {
			name, _ := oci.NameOf(o)
			return o.Digest == m.Digest && name != ref
		})
		if keep && !others {
			ix.Manifests[i] = oci.WithoutName(m)
			continue
		}
		ix.Manifests = slices.Delete(ix.Manifests, i, i+1)
		i--
	}
	return found
}

// Untag takes a name away; an image that has no other name is no longer in the store (its blobs go when garbage is collected).
// The error is fs.ErrNotExist when there is no such name.
func (s *Store) Untag(ctx context.Context, ref oci.Reference) error {
	ref = ref.WithDigest("")
	err := s.changeIndex(ctx, func(ix *ispec.Index) (bool, error) {
		if !unname(ix, ref, false) {
			return false, fs.ErrNotExist
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("untag image %s: %w", ref.Familiar(), err)
	}
	return nil
}

// RemoveImage takes an image out of the store with all its names. The error is fs.ErrNotExist when it is not there.
func (s *Store) RemoveImage(ctx context.Context, d digest.Digest) error {
	err := s.changeIndex(ctx, func(ix *ispec.Index) (bool, error) {
		before := len(ix.Manifests)
		ix.Manifests = slices.DeleteFunc(ix.Manifests, func(m Descriptor) bool { return m.Digest == d })
		if len(ix.Manifests) == before {
			return false, fs.ErrNotExist
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("remove image %s: %w", d, err)
	}
	return nil
}

// Images lists the store's images, each once with all its names; one without names has lost them to others or never had any.
func (s *Store) Images(ctx context.Context) ([]oci.Named, error) {
	ix, err := s.readIndexJSON(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	return oci.GroupByImage(ix.Manifests), nil
}

// Image reads an image: of an index the one that fits the platform best, and where none does the first that is in the store. The
// error is fs.ErrNotExist when a part of it is missing or damaged.
func (s *Store) Image(ctx context.Context, desc Descriptor, want oci.Platform) (oci.Image, error) {
	if !oci.IsIndex(desc.MediaType) {
		return oci.ReadImage(ctx, s, desc)
	}
	manifest, err := oci.PickManifest(ctx, s, desc, want)
	if err == nil {
		var img oci.Image
		if img, err = oci.ReadImage(ctx, s, manifest); err == nil {
			return img, nil
		}
	}
	all, _, listErr := oci.Manifests(ctx, s, desc)
	if listErr != nil {
		return oci.Image{}, err
	}
	for _, m := range all {
		if files.Missing(s.blobPath(m.Digest)) {
			continue // a pull for one platform leaves the others out
		}
		return oci.ReadImage(ctx, s, m)
	}
	return oci.Image{}, err
}

// settle locks everything that an image leads to against collection, and makes it durable. A manifest of an index that is not
// in the store is left out, as a pull for one platform leaves it; at least one must be there.
func (s *Store) settle(ctx context.Context, desc Descriptor) error {
	blobs, err := s.reach(ctx, desc)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4) // several flushes of a disk at once cost hardly more than one
	dirs := map[string]bool{}
	for _, b := range blobs {
		size, err := s.pin(b.Digest)
		if err == nil && size != b.Size {
			err = &DamagedError{What: "blob " + b.Digest.String(), Err: &oci.MismatchError{Want: b, Size: size}}
		}
		if err != nil {
			return errors.Join(err, group.Wait())
		}
		dirs[b.Digest.Algorithm().String()] = true
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return s.makeDurable(b.Digest)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for dir := range dirs {
		if err := files.SyncDir(s.path("oci", "blobs", dir)); err != nil {
			return err
		}
	}
	return nil
}

// reach lists the blobs that desc leads to, itself included, without the manifests of an index that are not there.
func (s *Store) reach(ctx context.Context, desc Descriptor) ([]Descriptor, error) {
	if err := oci.CheckDescriptor(desc); err != nil {
		return nil, err
	}
	children, err := oci.Children(ctx, s, desc)
	if err != nil {
		return nil, err
	}
	all := []Descriptor{desc}
	missing := 0
	for _, child := range children {
		if !oci.IsIndex(desc.MediaType) {
			all = append(all, child)
			continue
		}
		if files.Missing(s.blobPath(child.Digest)) {
			missing++
			continue
		}
		more, err := s.reach(ctx, child)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	if missing > 0 && missing == len(children) {
		return nil, fmt.Errorf("index %s: none of its manifests is in the store: %w", desc.Digest, fs.ErrNotExist)
	}
	return all, nil
}
