package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/snapshot"
)

// placed is a file or directory that was moved into a copied root, where there would be a mount if anything could be
// mounted.
type placed struct {
	target string // in the copy's parent directory, as are the others
	aside  string // what was there
	home   string // absolute: where it belongs; "" for an empty directory of its own
}

// place moves what would be mounted into the copy, and what is there out of its way. Everything lies in the store's
// file system. The names below the copy are the image's: they are never resolved outside of the directory that holds
// it. id is unique among the Bundles that use the copy.
func (b *Bundle) place(mounts []mount.Mount, id string) error {
	if len(mounts) == 0 {
		return nil
	}
	area, err := os.OpenRoot(filepath.Dir(b.copied.Dir))
	if err != nil {
		return err
	}
	defer area.Close()
	for i, m := range mounts {
		p := placed{
			target: path.Join(filepath.Base(b.copied.Dir), m.Target),
			aside:  fmt.Sprintf("aside-%s-%d", id, i),
		}
		err := snapshot.KeepTime(area, path.Dir(p.target), func() error { return p.put(area, m) })
		if err != nil {
			return fmt.Errorf("put something at %s: %w", m.Target, err)
		}
		b.placed = append(b.placed, p)
	}
	return nil
}

func (p *placed) put(area *os.Root, m mount.Mount) error {
	if err := area.MkdirAll(path.Dir(p.target), 0o755); err != nil { // below /dev nothing is there yet
		return err
	}
	if err := area.Rename(p.target, p.aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if m.Type == mount.Tmpfs {
		if err := area.Mkdir(p.target, 0o700); err != nil {
			return err
		}
		return area.Chmod(p.target, 0o777|fs.ModeSticky)
	}
	p.home = m.Source
	hop := p.aside + "-in"
	if err := os.Rename(m.Source, filepath.Join(area.Name(), hop)); err != nil {
		return err
	}
	return area.Rename(hop, p.target)
}

// putBack undoes place. What the command has removed stays removed.
func (b *Bundle) putBack() error {
	if len(b.placed) == 0 {
		return nil
	}
	area, err := os.OpenRoot(filepath.Dir(b.copied.Dir))
	if err != nil {
		return err
	}
	defer area.Close()
	var errs []error
	for i := len(b.placed) - 1; i >= 0; i-- {
		p := b.placed[i]
		errs = append(errs, snapshot.KeepTime(area, path.Dir(p.target), func() error { return p.takeOut(area) }))
	}
	b.placed = nil
	return errors.Join(errs...)
}

func (p *placed) takeOut(area *os.Root) error {
	hop := p.aside + "-out"
	err := area.Rename(p.target, hop)
	switch {
	case err == nil && p.home == "":
		err = area.RemoveAll(hop)
	case err == nil:
		err = os.Rename(filepath.Join(area.Name(), hop), p.home)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("take %s out of the root: %w", p.target, err)
	}
	err = area.Rename(p.aside, p.target)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("put %s back: %w", p.target, err)
	}
	return nil
}
