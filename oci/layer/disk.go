package layer

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/oci/index"
)

// disk writes a layer's directory form. Every path it is given has only real directories above it, made by itself before: it
// follows no link. Directories get their attributes last, by finish.
type disk struct {
	root     *os.File
	owners   owners.Mode
	table    *owners.Table
	uid, gid int // what a new file has without being asked
	buf      []byte

	marked bool // whiteouts are marked files here

	at     *os.File // the directory used last
	atPath string
}

func newDisk(o ReadOptions) (*disk, error) {
	root, err := os.OpenFile(o.Dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open layer directory: %w", err)
	}
	table := o.Table
	if table == nil {
		table = owners.NewTable()
	}
	return &disk{root: root, owners: o.Owners, table: table, uid: os.Geteuid(), gid: os.Getegid()}, nil
}

func (d *disk) close() {
	d.forget()
	d.root.Close()
}

// forget closes the directory used last: it may be gone.
func (d *disk) forget() {
	if d.at != nil {
		d.at.Close()
	}
	d.at, d.atPath = nil, ""
}

// dir returns a handle on a directory, which stays d's.
func (d *disk) dir(path string) (sys.FD, error) {
	if path == "." {
		return sys.FD(d.root.Fd()), nil
	}
	if d.at == nil || d.atPath != path {
		f, err := sys.OpenBeneath(d.root, path, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return sys.NoFD, err
		}
		d.forget()
		d.at, d.atPath = f, path
	}
	return sys.FD(d.at.Fd()), nil
}

// parent returns the directory of path, and its last component.
func (d *disk) parent(path string) (sys.FD, string, error) {
	dir, err := d.dir(index.Parent(path))
	return dir, index.Base(path), err
}

// mkdir makes a directory that only we may enter, until finish.
func (d *disk) mkdir(path string) error {
	dir, name, err := d.parent(path)
	if err != nil {
		return err
	}
	return sys.MkdirAt(dir, name, 0o700)
}

// file makes a Regular with the content of r, which has e.Size bytes.
func (d *disk) file(e index.Entry, r io.Reader) error {
	dir, name, err := d.parent(e.Path)
	if err != nil {
		return err
	}
	f, err := sys.OpenAt(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := d.fill(f, e.Size, r); err != nil {
		return err
	}
	return d.finishFile(f, dir, name, e)
}

// fileFrom is file with a whole file of e's content, whose blocks are shared where the file system can. r reads it otherwise.
func (d *disk) fileFrom(e index.Entry, from *os.File, r io.Reader) error {
	dir, name, err := d.parent(e.Path)
	if err != nil {
		return err
	}
	f, err := sys.OpenAt(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if unix.IoctlFileClone(int(f), int(from.Fd())) != nil || unix.Fstat(int(f), &st) != nil || st.Size != e.Size {
		if err := d.fill(f, e.Size, r); err != nil {
			return err
		}
	}
	return d.finishFile(f, dir, name, e)
}

func (d *disk) finishFile(f, dir sys.FD, name string, e index.Entry) error {
	if e.Xattrs == nil && d.owners == owners.Chown {
		return d.finishOpen(f, e)
	}
	return d.attributes(dir, name, e, nil)
}

// finishOpen gives an open file owner, mode and time.
func (d *disk) finishOpen(f sys.FD, e index.Entry) error {
	if e.UID != d.uid || e.GID != d.gid {
		if err := unix.Fchown(int(f), e.UID, e.GID); err != nil {
			return d.chownError(e, &os.PathError{Op: "chown", Path: e.Path, Err: err})
		}
	}
	if err := unix.Fchmod(int(f), e.Mode); err != nil {
		return &os.PathError{Op: "chmod", Path: e.Path, Err: err}
	}
	return sys.SetTimes(f, e.Path, e.MTime.Unix())
}

// special makes what is neither file, directory nor further name.
func (d *disk) special(e index.Entry) error {
	dir, name, err := d.parent(e.Path)
	if err != nil {
		return err
	}
	switch e.Type {
	case index.Whiteout:
		return d.whiteout(dir, name)
	case index.Symlink:
		if err := sys.SymlinkAt(e.Link, dir, name); err != nil {
			return err
		}
		return d.bare(dir, name, e)
	case index.FIFO:
		if err := sys.MknodAt(dir, name, unix.S_IFIFO|0o600, 0, 0); err != nil {
			return err
		}
		return d.bare(dir, name, e)
	}
	return d.device(dir, name, e)
}

// device makes a device; in a user namespace, where that is forbidden, an empty file that is recorded as one.
func (d *disk) device(dir sys.FD, name string, e index.Entry) error {
	mode := uint32(unix.S_IFCHR | 0o600)
	if e.Type == index.BlockDevice {
		mode = unix.S_IFBLK | 0o600
	}
	lookalike := e.Type == index.CharDevice && e.Major == 0 && e.Minor == 0 // overlayfs would take it for a whiteout
	if d.owners == owners.Chown && !lookalike {
		err := sys.MknodAt(dir, name, mode, e.Major, e.Minor)
		if err == nil {
			return d.bare(dir, name, e)
		}
		if !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	f, err := sys.OpenAt(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	dev := owners.Device{Block: e.Type == index.BlockDevice, Major: e.Major, Minor: e.Minor}
	return d.attributes(dir, name, e, &dev)
}

// bare sets owner, mode and time of what can have no extended attributes.
func (d *disk) bare(dir sys.FD, name string, e index.Entry) error {
	if d.owners == owners.Record {
		d.table.Set(e.Path, owners.Owner{UID: e.UID, GID: e.GID})
	} else if err := d.chown(dir, name, e); err != nil {
		return err
	}
	if e.Type != index.Symlink {
		if err := sys.ChmodAt(dir, name, e.Mode); err != nil {
			return err
		}
	}
	return sys.SetTimesAt(dir, name, e.MTime.Unix())
}

func (d *disk) chown(dir sys.FD, name string, e index.Entry) error {
	if e.UID == d.uid && e.GID == d.gid {
		return nil
	}
	return d.chownError(e, sys.ChownAt(dir, name, e.UID, e.GID))
}

func (d *disk) chownError(e index.Entry, err error) error {
	if errors.Is(err, unix.EINVAL) {
		return &OwnerError{Path: e.Path, UID: e.UID, GID: e.GID, Err: err}
	}
	return err
}

// attributes sets all attributes of a file or directory. The order matters: chown drops setuid bits and capabilities, and
// user.* can only be set while the file may be written to.
func (d *disk) attributes(dir sys.FD, name string, e index.Entry, dev *owners.Device) error {
	record := owners.Owner{Device: dev}
	if d.owners == owners.Record {
		record.UID, record.GID = e.UID, e.GID
	}
	if !record.IsZero() {
		if err := sys.SetXattrAt(dir, name, owners.Xattr, record.Encode()); err != nil {
			return err
		}
	}
	for attr, value := range e.Xattrs {
		if attr == capability {
			continue
		}
		if err := sys.SetXattrAt(dir, name, toDisk(attr), []byte(value)); err != nil {
			return err
		}
	}
	if d.owners == owners.Chown {
		if err := d.chown(dir, name, e); err != nil {
			return err
		}
	}
	if value, ok := e.Xattrs[capability]; ok {
		if err := sys.SetXattrAt(dir, name, capability, []byte(value)); err != nil {
			return err
		}
	}
	if err := sys.ChmodAt(dir, name, e.Mode); err != nil {
		return err
	}
	return sys.SetTimesAt(dir, name, e.MTime.Unix())
}

// link makes path a further name of the inode at target.
func (d *disk) link(path, target string) error {
	old, err := sys.OpenBeneath(d.root, index.Parent(target), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer old.Close()
	dir, name, err := d.parent(path)
	if err != nil {
		return err
	}
	if d.owners == owners.Record {
		d.table.Set(path, d.table.Get(target))
	}
	return sys.LinkAt(sys.FD(old.Fd()), index.Base(target), dir, name)
}

// remove takes away what is at path, with all below it.
func (d *disk) remove(path string) error {
	dir, name, err := d.parent(path)
	if err != nil {
		return err
	}
	d.table.Set(path, owners.Owner{})
	err = sys.UnlinkAt(dir, name)
	if !errors.Is(err, unix.EISDIR) {
		return err
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", d.root.Fd()))
	if err != nil {
		return err
	}
	defer root.Close()
	d.forget()
	return root.RemoveAll(path)
}

// whiteout makes one as a device, or where that is not allowed, as on an overlay, as a file with a mark, which overlayfs knows
// since Linux 6.7.
func (d *disk) whiteout(dir sys.FD, name string) error {
	err := sys.MknodAt(dir, name, unix.S_IFCHR, 0, 0)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	f, err := sys.OpenAt(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	d.marked = true
	return sys.SetXattrAt(dir, name, whiteoutXattr, []byte("y"))
}

// finish gives a directory its attributes. whiteouts says that it has some: then overlayfs is told to look for them, which it
// otherwise does only where it merges directories.
func (d *disk) finish(e index.Entry, whiteouts bool) error {
	dir, name, err := d.parent(e.Path)
	if err != nil {
		return err
	}
	if e.Opaque {
		if err := sys.SetXattrAt(dir, name, opaqueXattr, []byte("y")); err != nil {
			return err
		}
	}
	if whiteouts && d.marked && !e.Opaque {
		if err := sys.SetXattrAt(dir, name, opaqueXattr, []byte("x")); err != nil {
			return err
		}
	}
	if whiteouts {
		if err := sys.SetXattrAt(dir, name, originXattr, nil); err != nil {
			return err
		}
	}
	return d.attributes(dir, name, e, nil)
}
