package bundle

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/snapshot"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
	"github.com/cairnbuild/cairn/oci/tree"
	"github.com/cairnbuild/cairn/sandbox"
)

// Layers are a stack of layers in the store.
type Layers interface {
	// Tree is the merged tree.
	Tree(ctx context.Context) (*tree.Tree, error)
	// Dirs are the layers' directories, the uppermost first. The same one may be there more than once, and under two
	// names.
	Dirs(ctx context.Context) ([]string, error)
	// Owners are the owners that the files in one of the Dirs can't have recorded; nil for none.
	Owners(dir string) (*owners.Table, error)
	// Open reads a regular file of the Tree.
	Open(ctx context.Context, n tree.Node) (io.ReadCloser, error)
}

// Options say what to make.
type Options struct {
	// Dir is a directory of the caller's in the store. What the Bundle consists of is in it: points, upper, work, root,
	// resolv.conf, hosts, mount-*, aside-*. It is removed by the caller, after Close.
	Dir string
	// Layers are what the root file system has at first.
	Layers Layers
	// Copy, when not nil, is a root file system that has exactly the Layers in it, from another Bundle's Changes. It is
	// used up. With an overlay it is ignored.
	Copy *snapshot.Root
	// WorkingDir is made when the Layers lack it, and belongs to the changes (docs/semantics.md 75).
	WorkingDir string
	// Mounts are made in this order.
	Mounts   []Mount
	Hostname string
	Network  Network
	Limits   sandbox.Limits
	// Insecure and ReadonlyRoot are as in sandbox.Spec.
	Insecure, ReadonlyRoot bool
	// Now is the mtime of what is made in the root.
	Now time.Time
	// OnCopy is called before files of layers are copied, and what it returns afterwards, with their size. nil is not
	// called.
	OnCopy func() (done func(bytes int64))
}

// Network is what a command sees of the network.
type Network struct {
	Mode sandbox.Network
	// Private is for sandbox.NetworkPrivate, and stays the caller's.
	Private *sandbox.PrivateNetwork
	// Hosts are lines of /etc/hosts, as sandbox.Hosts takes them.
	Hosts []string
}

// Bundle is a root file system in which processes can be run. It must be closed. It is not for several goroutines at
// once.
type Bundle struct {
	spec    sandbox.Spec
	machine Machine
	tree    *tree.Tree
	upper   string         // of the overlay
	copied  *snapshot.Root // nil for an overlay
	// covered are the targets of all mounts in a copy; placed is what was moved to them where nothing can be mounted.
	covered []string
	placed  []placed
	ends    []func()
}

// Make prepares a root file system and everything around it. Nothing is left when it fails but files in Dir.
func Make(ctx context.Context, m Machine, o Options) (*Bundle, error) {
	return newMaker(m, o).make(ctx)
}

// Spec is what sandbox.Run needs to run the process in the Bundle. Its streams and signals are for the caller to set.
func (b *Bundle) Spec(p sandbox.Process) sandbox.Spec {
	spec := b.spec
	spec.Process = p
	return spec
}

// Changes are what was done to a root file system.
type Changes struct {
	// Index is the layer that they are, without digests.
	Index *index.Index
	// Dir has the contents of the Index's files, and Owners the owners that they can't have recorded. It is the
	// overlay's upper directory, or the whole root file system.
	Dir    string
	Owners *owners.Table
	// Copy is the whole root file system, with the layer in it, for another Bundle; nil where it was an overlay.
	Copy *snapshot.Root
}

// Changes finds out what was changed. No process may run in the Bundle now, or later. epoch is as in layer.ScanOptions.
func (b *Bundle) Changes(ctx context.Context, epoch *time.Time) (Changes, error) {
	if err := b.putBack(); err != nil {
		return Changes{}, err
	}
	c := Changes{Dir: b.upper, Owners: b.spec.Owners.Upper, Copy: b.copied}
	o := layer.ScanOptions{Below: below{b.tree}, Epoch: epoch, Owners: b.machine.Owners(), Table: c.Owners}
	var err error
	if b.copied != nil {
		c.Dir = b.copied.Dir
		c.Index, err = b.copied.Changes(ctx, o, b.covered)
	} else {
		c.Index, err = layer.Scan(ctx, c.Dir, o)
	}
	if err != nil {
		return Changes{}, fmt.Errorf("read what the command changed: %w", err)
	}
	return c, nil
}

// Close detaches, releases and stops what the Bundle has outside of its directory. The changes stay.
func (b *Bundle) Close() error {
	err := b.putBack()
	for i := len(b.ends) - 1; i >= 0; i-- {
		b.ends[i]()
	}
	b.ends = nil
	return err
}

// onClose has f called by Close.
func (b *Bundle) onClose(f func()) { b.ends = append(b.ends, f) }

// below is a tree as layer.Below.
type below struct{ t *tree.Tree }

func (b below) ReadDir(path string) []index.Entry {
	nodes := b.t.ReadDir(path)
	out := make([]index.Entry, 0, len(nodes))
	for _, n := range nodes {
		out = append(out, n.Entry)
	}
	return out
}

// attacher mounts in this process's own mount namespace.
type attacher interface {
	attach(m mount.Mount, at string) error
	detach(at string) error
}

// kernel is the attacher outside of tests.
type kernel struct{}

func (kernel) attach(m mount.Mount, at string) error { return m.Attach(at) }
func (kernel) detach(at string) error                { return mount.Detach(at) }
