package snapshot

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
	"github.com/cairnbuild/cairn/oci/tree"
	"github.com/cairnbuild/cairn/overlay"
)

// StackOptions say what an overlay is made of.
type StackOptions struct {
	// Dir is an empty directory of the caller's in the store.
	Dir string
	// Lower are the layers' directories, the uppermost first.
	Lower []string
	// Points are put over them.
	Points *Points
	// Changes are entries without content that are among the changes from the start; nil for none.
	Changes *index.Index
	// Owners is how directories hold owners.
	Owners owners.Mode
}

// Stack makes the directories of an overlay for one command: the mount points, an upper directory with the attributes of the image's
// root, which it stands for, and the work directory.
func (m *Maker) Stack(ctx context.Context, o StackOptions) (overlay.Stack, error) {
	var none overlay.Stack
	added, err := o.Points.Index()
	if err != nil {
		return none, err
	}
	points := filepath.Join(o.Dir, "points")
	if err := writeEntries(ctx, added, points, o.Owners); err != nil {
		return none, fmt.Errorf("write mount points: %w", err)
	}
	area, err := m.UpperDir(o.Dir)
	if err != nil {
		return none, err
	}
	s := overlay.Stack{Lower: append([]string{points}, o.Lower...), Upper: filepath.Join(area, "upper"), Work: filepath.Join(area, "work")}
	if err := writeEntries(ctx, o.Changes, s.Upper, o.Owners); err != nil {
		return none, fmt.Errorf("make the upper directory: %w", err)
	}
	if err := setRoot(s.Upper, o.Points.below, o.Owners); err != nil {
		return none, fmt.Errorf("make the upper directory: %w", err)
	}
	return s, os.Mkdir(s.Work, 0o700)
}

// writeEntries writes a layer without contents to a new directory; nil is an empty one.
func writeEntries(ctx context.Context, ix *index.Index, dir string, mode owners.Mode) error {
	if err := os.Mkdir(dir, 0o755); err != nil || ix == nil {
		return err
	}
	return layer.Extract(ctx, ix, bytes.NewReader(nil), dir, layer.ReadOptions{Dir: dir, Owners: mode, Table: owners.NewTable()})
}

// setRoot gives a directory what the image says of its root.
func setRoot(dir string, t *tree.Tree, mode owners.Mode) error {
	n, ok := t.Lookup(".")
	if !ok {
		return nil
	}
	if err := mode.SetOwner(dir, n.UID, n.GID); err != nil {
		return err
	}
	if err := os.Chmod(dir, FileMode(n.Mode)); err != nil {
		return err
	}
	at := n.MTime
	if at.Unix() <= 0 {
		at = time.Unix(0, 0)
	}
	return os.Chtimes(dir, time.Time{}, at)
}

// FileMode is the mode of an entry, or of a mount, as package os takes it.
func FileMode(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&bit != 0 {
			mode |= flag
		}
	}
	return mode
}
