package contextdir

import (
	"context"
	"errors"
	"io/fs"
	"runtime"
	"slices"
	"strings"

	"github.com/cairnbuild/cairn/oci/index"
	"golang.org/x/sync/errgroup"
)

// list reads the directory n once. c.mu is held.
func (c *Context) list(n *node) error {
	if n.listed {
		return nil
	}
	infos, err := c.from.list(n.Path, func(name string, isDir bool) bool { return c.visible(index.Join(n.Path, name), isDir) })
	if err != nil {
		return err
	}
	n.children = make([]*node, 0, len(infos))
	nodes := make([]node, len(infos))
	for i, in := range infos {
		ch := &nodes[i]
		ch.info, ch.hashed = in, in.Digest != ""
		if ch.Type == index.Directory && c.ignore != nil && c.ignore.Match(ch.Path, true) {
			// Hidden itself, it is there only as the parent of what an exception lets through.
			if err := c.list(ch); err != nil {
				return err
			}
			if len(ch.children) == 0 {
				continue
			}
		}
		n.children = append(n.children, ch)
	}
	slices.SortFunc(n.children, func(a, b *node) int { return strings.Compare(a.Path, b.Path) }) // below one directory: as by name
	n.listed = true
	return nil
}

func (c *Context) visible(p string, isDir bool) bool {
	if c.ignore == nil || !c.ignore.Match(p, isDir) {
		return true
	}
	return isDir && c.ignore.MayMatchBelow(p)
}

// Hidden says whether path is there but hidden by the ignore patterns, and by which of them. It explains why a source was
// not found. When the path leads through a hidden directory or link, the pattern is that one's.
func (c *Context) Hidden(p string) (pattern string, hidden bool) {
	if c.ignore == nil {
		return "", false
	}
	if _, err := c.whole(p); !errors.Is(err, fs.ErrNotExist) {
		return "", false
	}
	f, err := newContext(c.from, nil).whole(p)
	if err != nil {
		return "", false
	}
	if pattern, hidden = c.ignore.Reason(f.Path); !hidden {
		pattern, hidden = c.ignore.Reason(p)
	}
	return pattern, hidden
}

// Fill completes the regular files among files: their digests and those of their attributes that only opening them shows.
// Several files are read at once. The entries are then as Open will serve them.
func (c *Context) Fill(ctx context.Context, files []File) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(min(8, 2*runtime.GOMAXPROCS(0)))
	for i := range files {
		f := &files[i]
		if f.Type != index.Regular || f.Digest != "" {
			continue
		}
		n, now, err := c.find(f.Path, false)
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		if now.Digest != "" {
			*f = now
			continue
		}
		g.Go(func() error {
			in, err := c.hashed(ctx, n)
			if err != nil {
				return err
			}
			*f = in.File
			return nil
		})
		if ctx.Err() != nil {
			break
		}
	}
	return g.Wait()
}

// hashed returns n's info with its digest, made once.
func (c *Context) hashed(ctx context.Context, n *node) (info, error) {
	n.hashing.Lock()
	defer n.hashing.Unlock()
	if n.hashed {
		return n.info, nil
	}
	if err := ctx.Err(); err != nil {
		return info{}, err
	}
	in := n.info
	if err := c.from.hash(ctx, &in); err != nil {
		return info{}, err
	}
	c.mu.Lock()
	n.info, n.hashed = in, true
	c.mu.Unlock()
	return in, nil
}
