package container

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/cairnbuild/cairn/internal/bundle"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
	"github.com/cairnbuild/cairn/sandbox"
)

// imageLayers are an image's layers in use: they stay while it is not released. They are bundle.Layers.
type imageLayers struct {
	layers []*store.Layer
	dirs   []string // base first
	tree   *tree.Tree
}

// openLayers gets hold of the image's layers, with directories in directory form. The result must be released even when
// there is an error.
func openLayers(ctx context.Context, st *store.Store, img oci.Image, directories bool) (*imageLayers, error) {
	layers, err := st.IngestImage(ctx, img, st, store.IngestImageOptions{Extract: directories})
	l := &imageLayers{layers: layers}
	if err != nil {
		return l, err
	}
	var indexes []*index.Index
	for i, layer := range layers {
		if directories {
			dir, err := layer.EnsureDir(ctx, layers[:i])
			if err != nil {
				return l, fmt.Errorf("layer %s: %w", img.Layers[i].Digest, err)
			}
			l.dirs = append(l.dirs, dir)
		}
		ix, err := layer.Index()
		if err != nil {
			return l, fmt.Errorf("layer %s: %w", img.Layers[i].Digest, err)
		}
		indexes = append(indexes, ix)
	}
	l.tree = tree.New(indexes...)
	return l, nil
}

func (l *imageLayers) release() {
	for _, layer := range l.layers {
		if layer != nil {
			layer.Release()
		}
	}
}

// Tree is the image's merged tree.
func (l *imageLayers) Tree(context.Context) (*tree.Tree, error) { return l.tree, nil }

// Dirs are the layers' directories, the uppermost first.
func (l *imageLayers) Dirs(context.Context) ([]string, error) {
	dirs := slices.Clone(l.dirs)
	slices.Reverse(dirs)
	return dirs, nil
}

// Owners is the owner table of one of the Dirs.
func (l *imageLayers) Owners(dir string) (*owners.Table, error) { return store.DirOwners(dir) }

// Open reads a regular file of the Tree.
func (l *imageLayers) Open(ctx context.Context, n tree.Node) (io.ReadCloser, error) {
	return l.layers[n.Layer].OpenFile(ctx, n.LinkPath)
}

// hostname is the one asked for; with the network of the host it is the machine's otherwise, as with docker, and the
// container's short id else.
func (c *container) hostname(n NetworkOptions) (string, error) {
	switch {
	case n.Hostname != "":
		return n.Hostname, nil
	case n.Mode == sandbox.NetworkHost || n.Mode == "":
		return os.Hostname()
	}
	return shortID(c.id), nil
}

// mounts are the file that says where the container is and the volumes, in order of their targets' depth. One over such
// a file hides it.
func mounts(hostname string, volumes []Volume) []bundle.Mount {
	content := bundle.File{Content: []byte(hostname + "\n"), Attr: bundle.Attr{Mode: 0o644}}
	list := []bundle.Mount{{Target: "/etc/hostname", Source: content, Name: "mount the host name"}}
	volumes = slices.Clone(volumes)
	slices.SortStableFunc(volumes, func(a, b Volume) int {
		return strings.Count(path.Clean(a.Target), "/") - strings.Count(path.Clean(b.Target), "/")
	})
	for _, v := range volumes {
		list = append(list, bundle.Mount{
			Target: v.Target, ReadOnly: v.ReadOnly, Source: bundle.Outside(v.Source), Name: "mount " + v.Source,
		})
	}
	return list
}

// checkVolumes refuses two volumes with one target.
func checkVolumes(volumes []Volume) error {
	taken := map[string]bool{}
	for _, v := range volumes {
		target := path.Clean(v.Target)
		if taken[target] {
			return fmt.Errorf("mount %s: two volumes have this target", v.Target)
		}
		taken[target] = true
	}
	return nil
}
