package layer

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/oci/index"
)

// ChangesOptions say what a whole root file system is compared with.
type ChangesOptions struct {
	// ScanOptions with Below, which is what the directory was made from.
	ScanOptions
	// Since is when the directory had been made: what was there has an older change time (ctime), what was touched later has
	// not.
	Since time.Time
	// Covered names paths at which something else stood meanwhile: what they are now is of no interest, nor what is in them.
	// Nil is none.
	Covered func(path string) bool
	// Made names directories that were not made by whoever changed the rest: they count only for what is in them. Nil is none.
	Made func(path string) bool
}

// Changes is Scan for a directory that is no overlay's upper one but a copy of all that is below, with the changes in it: the
// index of the layer that turns the one into the other. A file counts as changed when it was touched, as an overlay would have
// copied it up. The directory is only brought to whole seconds.
func Changes(ctx context.Context, dir string, o ChangesOptions) (*index.Index, error) {
	root, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("compare directory: %w", err)
	}
	defer root.Close()
	never := func(string) bool { return false }
	if o.Covered == nil {
		o.Covered = never
	}
	if o.Made == nil {
		o.Made = never
	}
	c := &comparison{scanner: newScanner(root, o.ScanOptions), o: o}
	if _, err := c.dir(ctx, "."); err != nil {
		return nil, fmt.Errorf("compare directory: %w", err)
	}
	return c.b.Build()
}

type comparison struct {
	*scanner
	o ChangesOptions
}

// dir adds what is changed in the directory at path, and reports whether anything is.
func (c *comparison) dir(ctx context.Context, path string) (changed bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	f, err := sys.OpenBeneath(c.root, path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return false, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return false, fmt.Errorf("read directory %q: %w", path, err)
	}
	slices.Sort(names)
	below := c.below(path)
	for _, name := range names {
		old, had := below[name]
		delete(below, name)
		if !had {
			old = index.Entry{}
		}
		diff, err := c.name(ctx, sys.FD(f.Fd()), index.Join(path, name), old)
		if err != nil {
			return false, err
		}
		changed = changed || diff
	}
	for name := range below {
		at := index.Join(path, name)
		if c.o.Covered(at) {
			continue
		}
		changed = true
		if err := c.b.Add(index.Entry{Path: at, Type: index.Whiteout}); err != nil {
			return false, err
		}
	}
	return changed, nil
}

// name adds one name of a directory if it is not what old, zero where nothing was, says.
func (c *comparison) name(ctx context.Context, dir sys.FD, path string, old index.Entry) (changed bool, err error) {
	if c.o.Covered(path) {
		return false, nil
	}
	st, err := sys.StatAt(dir, index.Base(path))
	if err != nil {
		return false, err
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && old.Path != "" && c.untouched(&st, path, old) {
		return false, nil
	}
	f, err := c.look(dir, index.Base(path))
	switch {
	case err != nil:
		return false, fmt.Errorf("%q: %w", path, err)
	case f.absent() || kind == unix.S_IFSOCK: // nothing that a layer could hold
		if old.Path == "" {
			return false, nil
		}
		return true, c.b.Add(index.Entry{Path: path, Type: index.Whiteout})
	case kind != unix.S_IFDIR:
		return true, c.file(path, f)
	}
	changed, err = c.dir(ctx, path)
	if err != nil {
		return false, err
	}
	e := c.entry(path, f)
	e.Type = index.Directory
	if !changed && (sameDirectory(e, old) || c.o.Made(path)) {
		return false, nil
	}
	return true, c.b.Add(e)
}

// untouched reports whether a file is as it was made. The recorded owner of one without extended attributes can change
// without a trace in the file.
func (c *comparison) untouched(st *unix.Stat_t, path string, old index.Entry) bool {
	if !time.Unix(st.Ctim.Unix()).Before(c.o.Since) || old.Type == index.Directory {
		return false
	}
	if c.o.Owners == owners.Record && st.Mode&unix.S_IFMT != unix.S_IFREG {
		owner := c.o.Table.Get(path)
		return owner.UID == old.UID && owner.GID == old.GID
	}
	return true
}
