package container

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/snapshot"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
	"github.com/cairnbuild/cairn/sandbox"
)

// imageLayers are an image's layers in use: they stay while it is not released.
type imageLayers struct {
	layers []*store.Layer
	dirs   []string // base first
	tree   *tree.Tree
}

// openLayers gets hold of the image's layers, with directories in directory form. The result must be released even when there is
// an error.
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

// spec makes the root file system and everything around it.
func (c *container) spec(ctx context.Context, l *imageLayers, process sandbox.Process, o Options) (sandbox.Spec, error) {
	spec := sandbox.Spec{
		Process: process, Network: o.Network.Mode, Hostname: o.Network.Hostname,
		Limits:   sandbox.Limits{ShmSize: o.Process.ShmSize, Rlimits: o.Process.Rlimits, Resources: o.Process.Resources},
		Insecure: o.Process.Privileged, ReadonlyRoot: o.ReadOnly,
		Stdin: o.Streams.Stdin, Stdout: o.Streams.Stdout, Stderr: o.Streams.Stderr, Signals: o.Streams.Signals,
	}
	if err := c.setHostname(&spec); err != nil {
		return spec, err
	}
	if !slices.ContainsFunc(process.Env, func(kv string) bool { return strings.HasPrefix(kv, "HOSTNAME=") }) {
		spec.Process.Env = append(slices.Clone(process.Env), "HOSTNAME="+spec.Hostname)
	}
	p := snapshot.NewPoints(l.tree)
	for _, dir := range []string{"/proc", "/sys", "/dev", process.Dir} {
		if dir == "/" {
			continue
		}
		if _, err := p.Need(dir, true); err != nil {
			return spec, err
		}
	}
	var err error
	if spec.Mounts, err = c.mounts(p, spec.Hostname, o); err != nil {
		return spec, err
	}
	if o.snapshots().Kind == snapshot.Copy {
		return spec, c.copyRoot(ctx, l, p, &spec)
	}
	stack, err := o.snapshots().Stack(ctx, snapshot.StackOptions{Dir: c.path(), Lower: l.stack(), Points: p, Owners: ownersMode()})
	if err != nil {
		return spec, err
	}
	spec.Root = stack.Mount()
	spec.Owners, err = l.owners()
	return spec, err
}

// owners are what the layers' directories cannot say of their files themselves.
func (l *imageLayers) owners() (sandbox.Owners, error) {
	o := sandbox.Owners{Lower: map[string]*owners.Table{}}
	if ownersMode() == owners.Chown {
		return o, nil
	}
	for _, dir := range l.dirs {
		t, err := store.DirOwners(dir)
		if err != nil {
			return o, err
		}
		o.Lower[dir] = t
	}
	return o, nil
}

// setHostname: with the network of the host the name is the machine's too, as docker does.
func (c *container) setHostname(spec *sandbox.Spec) error {
	switch {
	case spec.Hostname != "":
		return nil
	case spec.Network == sandbox.NetworkHost || spec.Network == "":
		name, err := os.Hostname()
		spec.Hostname = name
		return err
	}
	spec.Hostname = shortID(c.id)
	return nil
}

// stack are the layers' directories, the uppermost first. A layer that occurs twice in the image counts where it is uppermost:
// there it hides what the lower one could show, and overlayfs takes a directory only once.
func (l *imageLayers) stack() []string {
	var lower []string
	for _, dir := range slices.Backward(l.dirs) {
		if !slices.Contains(lower, dir) {
			lower = append(lower, dir)
		}
	}
	return lower
}

// ownersMode is how directories hold owners under this process's id map.
func ownersMode() owners.Mode {
	if sandbox.CurrentIDs().Mode == sandbox.MapOne {
		return owners.Record
	}
	return owners.Chown
}

// mounts are the volumes and the files that say who and where the container is. A volume over such a file wins.
func (c *container) mounts(p *snapshot.Points, hostname string, o Options) ([]mount.Mount, error) {
	volumes := slices.Clone(o.Volumes)
	slices.SortStableFunc(volumes, func(a, b Volume) int {
		return strings.Count(path.Clean(a.Target), "/") - strings.Count(path.Clean(b.Target), "/")
	})
	taken := map[string]bool{}
	var list []mount.Mount
	for _, v := range volumes {
		info, err := os.Stat(v.Source)
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", v.Source, err)
		}
		target, err := p.Need(v.Target, info.IsDir())
		if err != nil {
			return nil, err
		}
		if taken[target] {
			return nil, fmt.Errorf("mount %s: two volumes have this target", v.Target)
		}
		taken[target] = true
		list = append(list, mount.Mount{Type: mount.Bind, Source: v.Source, Target: target, ReadOnly: v.ReadOnly})
	}
	files, err := c.files(hostname, o)
	if err != nil {
		return nil, err
	}
	var own []mount.Mount
	for _, name := range []string{"hostname", "hosts", "resolv.conf"} {
		target, err := p.Need("/etc/"+name, false)
		if err != nil {
			return nil, err
		}
		if taken[target] {
			continue
		}
		if err := os.WriteFile(c.path(name), files[name], 0o644); err != nil {
			return nil, err
		}
		own = append(own, mount.Mount{Type: mount.Bind, Source: c.path(name), Target: target})
	}
	return append(own, list...), nil
}

// files are the contents of the files in /etc that are the container's own.
func (c *container) files(hostname string, o Options) (map[string][]byte, error) {
	resolv, err := sandbox.ResolvConf(o.Network.Mode == sandbox.NetworkHost || o.Network.Mode == "")
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		"hostname":    []byte(hostname + "\n"),
		"hosts":       sandbox.Hosts(hostname, o.Network.Hosts),
		"resolv.conf": resolv,
	}, nil
}
