package container

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/snapshot"
	"github.com/cairnbuild/cairn/oci/tree"
	"github.com/cairnbuild/cairn/sandbox"
)

// snapshots is how root file systems are made.
func (o *Options) snapshots() *snapshot.Maker {
	if o.Snapshots != nil {
		return o.Snapshots
	}
	return &snapshot.Maker{Kind: snapshot.Overlay}
}

// copyRoot makes the root file system as a copy of the layers: the container's own, in root/.
func (c *container) copyRoot(ctx context.Context, l *imageLayers, p *snapshot.Points, spec *sandbox.Spec) error {
	open := func(ctx context.Context, n tree.Node) (io.ReadCloser, error) {
		return l.layers[n.Layer].OpenFile(ctx, n.LinkPath)
	}
	root, err := snapshot.Write(ctx, c.path("root"), l.tree, snapshot.WriteOptions{Open: open, Owners: ownersMode(), Sub: "."})
	if err != nil {
		return err
	}
	ix, err := p.Index()
	if err != nil {
		return err
	}
	if err := root.Add(ix, true); err != nil {
		return err
	}
	spec.Root = mount.Mount{Type: mount.Bind, Source: root.Dir}
	spec.Owners.Upper = root.Table
	if sandbox.CurrentIsolation() == sandbox.IsolationChroot {
		spec.Mounts, err = c.writeFiles(root.Dir, spec.Mounts)
	}
	return err
}

// writeFiles puts the files that are the container's own into its copy, for want of mounts, and returns the mounts that are
// then left.
func (c *container) writeFiles(dir string, mounts []mount.Mount) ([]mount.Mount, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var left []mount.Mount
	for _, m := range mounts {
		if filepath.Dir(m.Source) != c.path() {
			left = append(left, m)
			continue
		}
		data, err := os.ReadFile(m.Source)
		if err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(m.Target, "/")
		if err := root.RemoveAll(name); err != nil {
			return nil, fmt.Errorf("write %s: %w", m.Target, err)
		}
		if err := root.WriteFile(name, data, 0o644); err != nil {
			return nil, fmt.Errorf("write %s: %w", m.Target, err)
		}
	}
	return left, nil
}
