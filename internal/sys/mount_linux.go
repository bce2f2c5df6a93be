package sys

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Parameter is one option of a file system context. A Value of "" makes it a flag.
type Parameter struct{ Key, Value string }

// FSMount makes a file system of type fstype and returns its detached mount (fsopen, fsconfig, fsmount). attrs are
// MOUNT_ATTR_* bits. An error is *os.PathError with Op "mount FSTYPE"; when the kernel explained itself, that is in the text.
func FSMount(fstype string, attrs int, parameters ...Parameter) (FD, error) {
	fail := func(ctx int, err error) (FD, error) {
		return NoFD, &os.PathError{Op: "mount", Path: fstype, Err: explain(ctx, err)}
	}
	ctx, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fail(-1, err)
	}
	defer unix.Close(ctx)
	for _, p := range parameters {
		if p.Value == "" {
			err = unix.FsconfigSetFlag(ctx, p.Key)
		} else {
			err = unix.FsconfigSetString(ctx, p.Key, p.Value)
		}
		if err != nil {
			return fail(ctx, err)
		}
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return fail(ctx, err)
	}
	fd, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return fail(ctx, err)
	}
	return FD(fd), nil
}

// ExplainedError is an errno with what the kernel's file system context said about it.
type ExplainedError struct {
	Errno unix.Errno
	Log   string
}

func (e *ExplainedError) Error() string { return e.Errno.Error() + " (" + e.Log + ")" }

// Unwrap gives the errno.
func (e *ExplainedError) Unwrap() error { return e.Errno }

// explain adds the messages that wait in a file system context: each read gives one, "e overlay: too many lower ...".
func explain(ctx int, err error) error {
	errno, ok := err.(unix.Errno)
	if !ok || ctx < 0 {
		return err
	}
	var log []string
	for buf := make([]byte, 1024); ; {
		n, rerr := unix.Read(ctx, buf)
		if rerr != nil || n <= 0 {
			break
		}
		_, text, _ := strings.Cut(strings.TrimSpace(string(buf[:n])), " ")
		log = append(log, text)
	}
	if len(log) == 0 {
		return err
	}
	return &ExplainedError{errno, strings.Join(log, "; ")}
}

// OpenTree returns a detached copy of the mounts at path relative to dir (path "" is dir itself), with all that is mounted
// below it when recursive. A link in the last component is followed. Errors are *os.PathError.
func OpenTree(dir FD, path string, recursive bool) (FD, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	fd, err := retry(func() (int, error) { return unix.OpenTree(int(dir), path, flags) })
	if err != nil {
		return NoFD, &os.PathError{Op: "clone mount", Path: path, Err: err}
	}
	return FD(fd), nil
}

// SetMountAttrs sets MOUNT_ATTR_* bits of a mount, and of those below it when recursive. Errors are *os.PathError.
func SetMountAttrs(mount FD, attrs uint64, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if err := unix.MountSetattr(int(mount), "", flags, &unix.MountAttr{Attr_set: attrs}); err != nil {
		return &os.PathError{Op: "change mount", Path: mount.Path(), Err: err}
	}
	return nil
}

// MoveMount attaches a detached mount on the object that target is open on (O_PATH will do). Errors are *os.PathError.
func MoveMount(mount, target FD) error {
	err := unix.MoveMount(int(mount), "", int(target), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return &os.PathError{Op: "move mount", Path: target.Path(), Err: err}
	}
	return nil
}

// LegacyMount is mount(2), for kernels whose overlayfs does not take its layers one by one. Errors are *os.PathError.
func LegacyMount(fstype, target, options string) error {
	if len(options) >= os.Getpagesize() { // the kernel would cut it silently
		return &os.PathError{Op: "mount", Path: fstype, Err: unix.E2BIG}
	}
	if err := unix.Mount(fstype, target, fstype, 0, options); err != nil {
		return &os.PathError{Op: "mount", Path: fstype, Err: err}
	}
	return nil
}

// MakePrivate takes every mount of this mount namespace out of all propagation. Errors are *os.PathError.
func MakePrivate() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return &os.PathError{Op: "make mounts private", Path: "/", Err: err}
	}
	return nil
}

// PivotInto makes root, the top of an attached mount, this mount namespace's root and the working directory, and lets go of
// everything that was mounted before. Errors are *os.PathError.
func PivotInto(root FD) error {
	if err := unix.Fchdir(int(root)); err != nil {
		return &os.PathError{Op: "chdir", Path: "new root", Err: err}
	}
	// With both arguments "." the old root is stacked on the new one, and "." then names the old one for umount2.
	if err := unix.PivotRoot(".", "."); err != nil {
		return &os.PathError{Op: "pivot_root", Path: "/", Err: err}
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return &os.PathError{Op: "umount", Path: "old root", Err: err}
	}
	if err := unix.Chdir("/"); err != nil {
		return &os.PathError{Op: "chdir", Path: "/", Err: err}
	}
	return nil
}
