package emulate

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/owners"
)

// inode tells a file from all others, also from a later one that gets its number: by when it was made. The device is left
// out, as overlayfs shows a lower file under one of several.
type inode struct {
	number  uint64
	seconds int64
	nanos   uint32
}

const inodeMask = unix.STATX_INO | unix.STATX_BTIME | unix.STATX_TYPE

func inodeOf(st *unix.Statx_t) inode { return inode{st.Ino, st.Btime.Sec, st.Btime.Nsec} }

// side holds the records of files that cannot have an extended attribute. It may be used from several goroutines.
type side struct {
	count atomic.Int64 // of what was ever put in: 0 saves looking
	mu    sync.Mutex
	m     map[inode]owners.Owner
	below map[inode]bool // files of lower layers, which a copy-up gives another inode
	upper int            // the directory that copies appear in, -1 for none
}

func (s *side) get(i inode) (owners.Owner, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.m[i]
	return o, ok
}

func (s *side) isBelow(i inode) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.below[i]
}

func (s *side) set(i inode, o owners.Owner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[i] = o
	s.count.Add(1)
}

// load takes in the records of a directory of the stack.
func (s *side) load(dir string, records map[string]owners.Owner, below bool) {
	for path, o := range records {
		var st unix.Statx_t
		name := filepath.Join(dir, path)
		if unix.Statx(unix.AT_FDCWD, name, unix.AT_SYMLINK_NOFOLLOW, inodeMask, &st) != nil {
			continue // a record too many
		}
		s.set(inodeOf(&st), o)
		if below {
			s.below[inodeOf(&st)] = true
		}
	}
}

// collect finds the recorded files of a directory by their paths in it.
func (s *side) collect(dir string) (map[string]owners.Owner, error) {
	found := map[string]owners.Owner{}
	if s.count.Load() == 0 {
		return found, nil
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Type().IsRegular() {
			return err
		}
		var st unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, inodeMask, &st); err != nil {
			return &os.PathError{Op: "statx", Path: path, Err: err}
		}
		if o, ok := s.get(inodeOf(&st)); ok && !o.IsZero() {
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			found[rel] = o
		}
		return nil
	})
	return found, err
}

// xattrName is the attribute's name as system calls take it.
var xattrName = [...]byte{'u', 's', 'e', 'r', '.', 'r', 'o', 'o', 't', 'l', 'e', 's', 's', 'c', 'o', 'n', 't', 'a', 'i', 'n', 'e', 'r', 's', 0}

// record reads what is recorded about a file; ok is false when nothing is, or the file cannot be reached. This is what
// most notifications come down to: one system call.
func (w *worker) record(t target) (o owners.Owner, ok bool) {
	call := uintptr(unix.SYS_LGETXATTR)
	if t.follow {
		call = unix.SYS_GETXATTR
	}
	buf := w.xattr[:]
	n, _, errno := unix.RawSyscall6(call, uintptr(unsafe.Pointer(&t.path[0])), uintptr(unsafe.Pointer(&xattrName[0])),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0)
	if errno == 0 {
		o, err := owners.Decode(buf[:n])
		return o, err == nil
	}
	if w.s.side.count.Load() == 0 {
		return owners.Owner{}, false
	}
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, t.name(), t.statFlags(), inodeMask, &st) != nil {
		return owners.Owner{}, false
	}
	return w.s.side.get(inodeOf(&st))
}

// recordFD reads what is recorded about an open file, which may be open with O_PATH.
func (w *worker) recordFD(fd int) owners.Owner {
	path := append([]byte(fdPath(fd)), 0)
	o, _ := w.record(target{path: path[:len(path)-1], follow: true})
	return o
}

// fdPath leads from the working directory of the worker, /proc, to one of its descriptors.
func fdPath(fd int) string { return "self/fd/" + itoa(fd) }

// setRecord records an open file's owner in its attribute, or beside it where it can't have one. fd may be open with O_PATH.
func (w *worker) setRecord(fd int, o owners.Owner) unix.Errno {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, inodeMask, &st); err != nil {
		return failed(err).errno
	}
	if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFREG || kind == unix.S_IFDIR {
		var err error
		if o.IsZero() {
			err = unix.Removexattr(fdPath(fd), owners.Xattr)
		} else {
			err = unix.Setxattr(fdPath(fd), owners.Xattr, o.Encode(), 0)
		}
		switch err {
		case nil, unix.ENODATA:
			return 0
		case unix.ENOTSUP: // this file system has none
		default:
			return failed(err).errno
		}
	}
	w.setBeside(fd, inodeOf(&st), o)
	return 0
}

// setBeside also records the inode that the file has in the upper directory: overlayfs may show the one it was copied from
// for as long as it remembers that.
func (w *worker) setBeside(fd int, seen inode, o owners.Owner) {
	s := &w.s.side
	s.set(seen, o)
	if s.upper < 0 {
		return
	}
	path, err := os.Readlink(fdPath(fd))
	if err != nil {
		return
	}
	var st unix.Statx_t
	err = unix.Statx(s.upper, "."+path, unix.AT_SYMLINK_NOFOLLOW, inodeMask, &st)
	if err == nil && st.Btime == (unix.StatxTimestamp{Sec: seen.seconds, Nsec: seen.nanos}) {
		s.set(inodeOf(&st), o)
	}
}
