package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/snapshot"
	"github.com/cairnbuild/cairn/internal/store"
)

// leaseCaches takes the step's cache mounts, in the order of their names and not in the one in which they were written: two steps that
// lock the same caches would wait for each other for ever. A cache that is mounted twice is taken once.
func (w *workspace) leaseCaches(ctx context.Context, op *runOp, tmp string) error {
	w.leases = map[string]*store.CacheLease{}
	type use struct {
		mount planner.Mount
		id    string
		dir   string
	}
	var uses []use
	for i, m := range op.Mounts {
		if m.Type == dockerfile.MountCache {
			uses = append(uses, use{m, w.cacheID(m), mountDir(tmp, i)})
		}
	}
	sort.SliceStable(uses, func(i, j int) bool { return uses[i].id < uses[j].id })
	taken := map[string]*store.CacheLease{}
	for _, u := range uses {
		if l := taken[u.id]; l != nil && u.mount.Sharing != dockerfile.SharingPrivate {
			w.leases[u.dir] = l
			continue
		}
		l, err := w.store.CacheMount(ctx, u.id, string(u.mount.Sharing), func() (string, error) { return w.newCache(ctx, u.mount, u.dir) })
		if err != nil {
			return fmt.Errorf("RUN --mount=type=cache: %w", err)
		}
		w.onStepEnd(l.Release)
		w.leases[u.dir], taken[u.id] = l, l
	}
	return nil
}

// cacheID names the directory of a cache in the store.
func (w *workspace) cacheID(m planner.Mount) string {
	sum := sha256.Sum256([]byte(m.ID + "\x00" + m.From + "\x00" + m.Source + "\x00" + m.Namespace))
	return hex.EncodeToString(sum[:16])
}

// newCache makes a cache in dir with its owner and mode, and what from= says it starts with.
func (w *workspace) newCache(ctx context.Context, m planner.Mount, dir string) (string, error) {
	cache, err := w.cacheContent(ctx, m, dir)
	if err != nil {
		return "", err
	}
	uid, gid, mode := 0, 0, uint32(0o755)
	if m.UID != nil {
		uid = int(*m.UID)
	}
	if m.GID != nil {
		gid = int(*m.GID)
	}
	if m.Mode != nil {
		mode = *m.Mode
	}
	if uid != 0 || gid != 0 {
		if err := w.ownersMode().SetOwner(cache, uid, gid); err != nil {
			return "", err
		}
	}
	return cache, os.Chmod(cache, snapshot.FileMode(mode))
}

// cacheContent is an empty directory, or a copy of what from= names.
func (w *workspace) cacheContent(ctx context.Context, m planner.Mount, dir string) (string, error) {
	if m.Origin.Kind == planner.OriginNothing {
		cache := filepath.Join(dir, "cache")
		return cache, os.MkdirAll(cache, 0o755)
	}
	from, err := w.copySource(ctx, m.Origin)
	if err != nil {
		return "", err
	}
	cache, err := w.contextMount(ctx, from, inside(m.Source), dir)
	if err != nil {
		return "", fmt.Errorf("fill the cache from %s: %w", m.From, err)
	}
	st, err := os.Lstat(cache)
	if err == nil && !st.IsDir() {
		err = fmt.Errorf("fill the cache from %s: %s is no directory", m.From, m.Source)
	}
	return cache, err
}
