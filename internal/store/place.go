package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/sys"
)

// placeDir moves a directory, and the records of its owners, into the layer. What stands in its place is from a crash.
func (l *Layer) placeDir(form, dir string, table *owners.Table) error {
	path := filepath.Join(l.s.layerDir(l.st.id), dirName(form))
	if err := l.s.trash(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if form == recordForm {
		if err := l.writeOwners(table); err != nil {
			return err
		}
	}
	return moveWithLink(dir, path)
}

// moveWithLink moves a directory and leaves a link to it in its old place, in one step: a RUN that is just being started on top of a
// layer finds it under the name that it was given, whenever that was.
func moveWithLink(from, to string) error {
	if err := os.Symlink(to, to); err != nil {
		return err
	}
	err := sys.Exchange(from, to)
	if err == nil {
		return nil
	}
	if rerr := os.Remove(to); rerr != nil {
		return errors.Join(err, rerr)
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return os.Symlink(to, from)
}

func (l *Layer) writeOwners(table *owners.Table) error {
	scratch, err := l.s.scratchDir()
	if err != nil {
		return err
	}
	path := filepath.Join(l.s.layerDir(l.st.id), ownersFile)
	if table == nil {
		return errIgnoring(os.Remove(path), fs.ErrNotExist)
	}
	temp := filepath.Join(scratch, "owners-"+files.RandomName())
	defer os.Remove(temp)
	if err := table.Save(temp); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// trash moves a directory of the store to tmp and removes it there, as far as this process may.
func (s *Store) trash(path string) error {
	gone := s.path("tmp", "trash-"+files.RandomName())
	if err := os.Rename(path, gone); err != nil {
		return err
	}
	err := files.RemoveAll(gone)
	if errors.Is(err, fs.ErrPermission) {
		s.foreign.Store(true)
		return nil
	}
	return err
}

func errIgnoring(err, ignored error) error {
	if errors.Is(err, ignored) {
		return nil
	}
	return err
}
