package sys

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ScopeAbstractSockets is the bit with which Landlock closes abstract unix sockets off.
const ScopeAbstractSockets = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET

// FileSystem is what statfs(2) says of one. Sizes are bytes, and what this user may use.
type FileSystem struct {
	Type             string // a name such as ext4; hexadecimal where it has none here
	Free             uint64
	Files, FreeFiles uint64 // 0 and 0 where there is no limit

	magic int64
}

// StatFS describes the file system that path is in. Errors are *os.PathError.
func StatFS(path string) (FileSystem, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return FileSystem{}, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	fs := FileSystem{
		Type: fmt.Sprintf("%#x", uint32(st.Type)), Free: st.Bavail * uint64(st.Bsize), Files: st.Files, FreeFiles: st.Ffree,
		magic: int64(uint32(st.Type)),
	}
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
		unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "nfs", unix.FUSE_SUPER_MAGIC: "fuse", unix.F2FS_SUPER_MAGIC: "f2fs",
		0x2fc12fc1: "zfs", 0x0bd00bd0: "lustre", 0x47504653: "gpfs", 0x00c36400: "ceph", 0xfe534d42: "smb2", 0xff534d42: "cifs",
		unix.V9FS_MAGIC: "9p", 0x6a656a63: "virtiofs",
	}
	if name, ok := names[fs.magic]; ok {
		fs.Type = name
	}
	return fs, nil
}

// Remote reports whether the files are on another machine, as far as the type tells.
func (fs FileSystem) Remote() bool {
	switch fs.Type {
	case "nfs", "lustre", "gpfs", "ceph", "smb2", "cifs", "9p":
		return true
	}
	return false
}

// CloneFile makes to share the blocks of from, where the file system can. Errors are *os.PathError.
func CloneFile(to, from *os.File) error {
	if err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd())); err != nil {
		return &os.PathError{Op: "clone", Path: to.Name(), Err: err}
	}
	return nil
}

// HasFileCapabilities reports whether a program gains capabilities when it is executed.
func HasFileCapabilities(path string) bool {
	n, err := unix.Getxattr(path, "security.capability", nil)
	return err == nil && n > 0
}
