package snapshot

import (
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
)

// Points collects the mount points that an image lacks. They become a layer of their own between the image and the changes, their
// parents as in the image: so the kernel finds them, and nothing that the command did not do appears among its changes.
type Points struct {
	below *tree.Tree
	added *tree.Builder
}

// NewPoints collects for the image that t is the tree of.
func NewPoints(t *tree.Tree) *Points { return &Points{t, tree.NewBuilder(t)} }

// Need sees to it that target, an absolute path, is there as a directory or as a file, and returns the path once links are followed.
func (p *Points) Need(target string, dir bool) (string, error) {
	rel := strings.TrimPrefix(path.Clean("/"+target), "/")
	if rel == "" {
		return "", fmt.Errorf("mount on %s: the root itself is no mount point", target)
	}
	real, exists, err := p.added.ResolveNew(rel)
	if err != nil {
		return "", fmt.Errorf("find mount point %s: %w", target, err)
	}
	if exists {
		if n, ok := p.added.Lookup(real); real == "." || ok && (n.Type == index.Directory) != dir {
			return "", fmt.Errorf("mount point %s: is not a %s in the image", target, kindOf(dir))
		}
		return "/" + real, nil
	}
	if err := p.add(real, dir); err != nil {
		return "", fmt.Errorf("make mount point %s: %w", target, err)
	}
	return "/" + real, nil
}

func (p *Points) add(real string, dir bool) error {
	parent := path.Dir(real)
	if dir {
		parent = real
	}
	never := time.Unix(0, 0).UTC()
	if parent != "." {
		if _, err := p.added.MkdirAll(parent, 0o755, 0, 0, never); err != nil {
			return err
		}
	}
	if dir {
		return nil
	}
	return p.added.Put(index.Entry{Path: real, Type: index.Regular, Mode: 0o644, MTime: never, Offset: -1})
}

func kindOf(dir bool) string {
	if dir {
		return "directory"
	}
	return "file"
}

// Index is the layer of the mount points.
func (p *Points) Index() (*index.Index, error) { return p.added.Index() }
