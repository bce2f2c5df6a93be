package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/oci/index"
)

// Scan reads a directory in overlay form as an index, without reading contents (but Data): Digests are empty.
//
// With o.Below it is what a RUN left in an overlay's upper directory, and nobody else uses it any more. Then the index is
// reduced to what changed: whiteouts stand only where the layers below have the name, opaque directories become explicit
// whiteouts, directories that are as below and have no change inside are left out, as are sockets. The directory is brought
// into agreement with the index, so that it is that layer's form on any layers below: mtimes get whole seconds (and at most
// o.Epoch), left-out directories the mtime they have below, opaque directories whiteouts instead, and useless whiteouts and
// sockets are removed. Without o.Below only mtimes are changed.
//
// The root itself is no part of the index: as in BuildKit, a RUN cannot change its attributes. A name that a reader of the
// layer would take for a whiteout is a *index.NameError.
func Scan(ctx context.Context, dir string, o ScanOptions) (*index.Index, error) {
	root, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("scan layer directory: %w", err)
	}
	defer root.Close()
	s := newScanner(root, o)
	if _, err := s.dir(ctx, ".", false); err != nil {
		return nil, fmt.Errorf("scan layer directory: %w", err)
	}
	return s.b.Build()
}

type inode struct{ dev, ino uint64 }

type scanner struct {
	root    *os.File
	o       ScanOptions
	limit   int64 // the latest mtime, when limited
	limited bool
	inodes  map[inode]string // of files with more than one name: the name met first
	b       *index.Builder
}

func newScanner(root *os.File, o ScanOptions) *scanner {
	s := &scanner{root: root, o: o, inodes: make(map[inode]string), b: index.NewBuilder()}
	if o.Epoch != nil {
		s.limit, s.limited = o.Epoch.Unix(), true
	}
	return s
}

// found is one name of a directory as it stands on the disk.
type found struct {
	name string
	st   unix.Stat_t
	diskXattrs
}

func (f *found) kind() uint32 { return f.st.Mode & unix.S_IFMT }

// absent reports whether the name is a whiteout.
func (f *found) absent() bool {
	return f.kind() == unix.S_IFCHR && f.st.Rdev == 0 || f.kind() == unix.S_IFREG && f.st.Size == 0 && f.whiteout
}

// dir adds what is in the directory at path. hidden says that nothing of the layers below is seen in
// it. It reports whether anything in it is changed.
func (s *scanner) dir(ctx context.Context, path string, hidden bool) (changed bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	below := s.below(path)
	files, gone, err := s.list(path, below, hidden)
	if err != nil {
		return false, err
	}
	for _, f := range files {
		at, diff := index.Join(path, f.name), true
		if f.kind() == unix.S_IFDIR {
			diff, err = s.subdirectory(ctx, at, f, below[f.name], hidden)
		} else {
			err = s.file(at, f)
		}
		if err != nil {
			return false, err
		}
		changed = changed || diff
	}
	for _, name := range gone {
		changed = true
		if err := s.b.Add(index.Entry{Path: index.Join(path, name), Type: index.Whiteout}); err != nil {
			return false, err
		}
	}
	return changed, nil
}

// below returns what the layers below have at path, by name; nothing when nobody knows.
func (s *scanner) below(path string) map[string]index.Entry {
	if s.o.Below == nil {
		return nil
	}
	names := make(map[string]index.Entry)
	for _, e := range s.o.Below.ReadDir(path) {
		names[index.Base(e.Path)] = e
	}
	return names
}

// list reads a directory: the files it has, sorted by name, and the names that are whited out. It tidies what it reads.
func (s *scanner) list(path string, below map[string]index.Entry, hidden bool) (files []found, gone []string, err error) {
	f, err := sys.OpenBeneath(s.root, path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, nil, fmt.Errorf("read directory %q: %w", path, err)
	}
	slices.Sort(names)
	fd := sys.FD(f.Fd())
	self, err := sys.StatAt(fd, ".")
	if err != nil {
		return nil, nil, err
	}
	var others []found // whiteouts and sockets
	for _, name := range names {
		entry, err := s.look(fd, name)
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("%q: %w", index.Join(path, name), err)
		case entry.absent() || entry.kind() == unix.S_IFSOCK:
			others = append(others, entry)
		default:
			files = append(files, entry)
		}
	}
	if s.o.Below == nil {
		for _, o := range others {
			if o.absent() {
				gone = append(gone, o.name)
			}
		}
		return files, gone, nil
	}
	t := tidier{fd: fd, others: others, gone: missing(files, others, below, hidden)}
	if err := t.tidy(hidden); err != nil {
		return nil, nil, fmt.Errorf("tidy directory %q: %w", path, err)
	}
	if t.changed {
		return files, t.gone, sys.SetTimes(fd, path, s.mtime(&self))
	}
	return files, t.gone, nil
}

// look reads one name, and cuts its mtime.
func (s *scanner) look(dir sys.FD, name string) (f found, err error) {
	f.name = name
	if f.st, err = sys.StatAt(dir, name); err != nil {
		return f, err
	}
	if k := f.kind(); k == unix.S_IFREG || k == unix.S_IFDIR { // nothing else can have any
		xattrs, err := sys.XattrsAt(dir, name)
		if err != nil {
			return f, err
		}
		if f.diskXattrs, err = sortXattrs(xattrs); err != nil {
			return f, err
		}
	}
	if sec := s.mtime(&f.st); !f.absent() && (f.st.Mtim.Nsec != 0 || f.st.Mtim.Sec != sec) {
		return f, sys.SetTimesAt(dir, name, sec)
	}
	return f, nil
}

// mtime is what the index has as the mtime of a file.
func (s *scanner) mtime(st *unix.Stat_t) int64 {
	if s.limited {
		return min(st.Mtim.Sec, s.limit)
	}
	return st.Mtim.Sec
}

// subdirectory adds a directory and what is in it, unless nothing there differs from below.
func (s *scanner) subdirectory(ctx context.Context, path string, f found, old index.Entry, hidden bool) (changed bool, err error) {
	changed, err = s.dir(ctx, path, hidden || f.opaque)
	if err != nil {
		return false, err
	}
	e := s.entry(path, f)
	e.Type = index.Directory
	if s.o.Below == nil {
		e.Opaque = f.opaque
		return true, s.b.Add(e)
	}
	if !changed && sameDirectory(e, old) {
		return false, s.restoreTime(e, old)
	}
	return true, s.b.Add(e)
}

// restoreTime gives a directory that is left out of the index the mtime it has without it.
func (s *scanner) restoreTime(e, old index.Entry) error {
	if e.MTime.Equal(old.MTime) {
		return nil
	}
	f, err := sys.OpenBeneath(s.root, index.Parent(e.Path), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer f.Close()
	return sys.SetTimesAt(sys.FD(f.Fd()), index.Base(e.Path), old.MTime.Unix())
}

// sameDirectory compares what of a directory is worth a layer entry. Its mtime is not: something made and removed again
// leaves no trace.
func sameDirectory(a, b index.Entry) bool {
	return b.Type == index.Directory && a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && maps.Equal(a.Xattrs, b.Xattrs)
}

// entry returns what all types have in common.
func (s *scanner) entry(path string, f found) index.Entry {
	e := index.Entry{
		Path: path, Mode: f.st.Mode & 0o7777, UID: int(f.st.Uid), GID: int(f.st.Gid), Xattrs: f.image,
		MTime: time.Unix(s.mtime(&f.st), 0).UTC(), Offset: -1,
	}
	if s.o.Owners == owners.Record {
		owner := f.owner
		if f.kind() != unix.S_IFREG && f.kind() != unix.S_IFDIR {
			owner = s.o.Table.Get(path)
		}
		e.UID, e.GID = owner.UID, owner.GID
	}
	return e
}

// file adds what is no directory.
func (s *scanner) file(path string, f found) error {
	if f.st.Nlink > 1 {
		id := inode{f.st.Dev, f.st.Ino}
		if first, ok := s.inodes[id]; ok {
			return s.b.Add(index.Entry{Path: path, Type: index.Hardlink, Link: first})
		}
		s.inodes[id] = path
	}
	e := s.entry(path, f)
	switch f.kind() {
	case unix.S_IFREG:
		e.Type, e.Size = index.Regular, f.st.Size
		if f.owner.Device != nil {
			setDevice(&e, *f.owner.Device)
		}
	case unix.S_IFLNK:
		e.Type = index.Symlink
	case unix.S_IFIFO:
		e.Type = index.FIFO
	case unix.S_IFCHR, unix.S_IFBLK:
		rdev := uint64(f.st.Rdev)
		setDevice(&e, owners.Device{Block: f.kind() == unix.S_IFBLK, Major: unix.Major(rdev), Minor: unix.Minor(rdev)})
	}
	if err := s.content(&e); err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	return s.b.Add(e)
}

func setDevice(e *index.Entry, d owners.Device) {
	e.Type, e.Size = index.CharDevice, 0
	if d.Block {
		e.Type = index.BlockDevice
	}
	e.Major, e.Minor = d.Major, d.Minor
}

// content fills in a link's target, and Data.
func (s *scanner) content(e *index.Entry) error {
	keep := e.Type == index.Regular && keepsData(e.Path, e.Size)
	if e.Type != index.Symlink && !keep {
		return nil
	}
	dir, err := sys.OpenBeneath(s.root, index.Parent(e.Path), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close()
	if !keep {
		e.Link, err = sys.ReadlinkAt(dir, index.Base(e.Path))
		return err
	}
	f, err := sys.OpenBeneath(dir, index.Base(e.Path), unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer f.Close()
	e.Data = make([]byte, e.Size)
	if _, err := io.ReadFull(f, e.Data); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &ChangedError{e.Path}
	}
	return err
}
