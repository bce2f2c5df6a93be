package mount

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/sys"
)

// MaxLower is how many lower directories overlayfs takes.
const MaxLower = 500

// ErrTooManyLower says that an Overlay has more than MaxLower lower directories.
var ErrTooManyLower = fmt.Errorf("overlay of more than %d layers", MaxLower)

// Open makes the mount, attached to nothing yet: its sources are resolved now, in the caller's namespace, and closing the
// descriptor undoes it. The caller needs CAP_SYS_ADMIN over its mount namespace. Errors are *os.PathError; ErrTooManyLower
// is told by errors.Is.
func (m Mount) Open() (sys.FD, error) {
	switch m.Type {
	case Bind:
		return m.openBind()
	case Tmpfs:
		return m.openTmpfs()
	case Overlay:
		return m.openOverlay()
	}
	return sys.NoFD, &os.PathError{Op: "mount", Path: m.Target, Err: fmt.Errorf("unknown type %q", m.Type)}
}

func (m Mount) attrs() uint64 {
	var attrs uint64
	for _, a := range []struct {
		on  bool
		bit uint64
	}{
		{m.ReadOnly, unix.MOUNT_ATTR_RDONLY},
		{m.NoExec, unix.MOUNT_ATTR_NOEXEC},
		{m.NoSuid, unix.MOUNT_ATTR_NOSUID},
		{m.NoDev, unix.MOUNT_ATTR_NODEV},
	} {
		if a.on {
			attrs |= a.bit
		}
	}
	return attrs
}

func (m Mount) openBind() (sys.FD, error) {
	fd, err := sys.OpenTree(unix.AT_FDCWD, m.Source, true)
	if err != nil {
		return sys.NoFD, err
	}
	if attrs := m.attrs(); attrs != 0 {
		if err := sys.SetMountAttrs(fd, attrs, true); err != nil {
			fd.Close()
			return sys.NoFD, &os.PathError{Op: "change mount", Path: m.Source, Err: errors.Unwrap(err)}
		}
	}
	return fd, nil
}

func (m Mount) openTmpfs() (sys.FD, error) {
	mode := m.Mode
	if mode == 0 {
		mode = 0o1777
	}
	options := []sys.Parameter{{Key: "mode", Value: strconv.FormatUint(uint64(mode), 8)}}
	if m.Size > 0 {
		options = append(options, sys.Parameter{Key: "size", Value: strconv.FormatInt(m.Size, 10)})
	}
	return sys.FSMount("tmpfs", int(m.attrs()), options...)
}

// openOverlay always mounts with userxattr: inside a user namespace the kernel accepts the mount without it, and then opaque
// directories do not work. volatile saves the sync of the upper file system at unmount; it makes a Work directory usable once.
func (m Mount) openOverlay() (sys.FD, error) {
	if len(m.Lower) > MaxLower {
		return sys.NoFD, &os.PathError{Op: "mount", Path: "overlay", Err: ErrTooManyLower}
	}
	options := make([]sys.Parameter, 0, len(m.Lower)+4)
	for _, dir := range m.Lower {
		options = append(options, sys.Parameter{Key: "lowerdir+", Value: dir})
	}
	if m.Upper != "" {
		options = append(options,
			sys.Parameter{Key: "upperdir", Value: m.Upper}, sys.Parameter{Key: "workdir", Value: m.Work},
			sys.Parameter{Key: "volatile"})
	}
	options = append(options, sys.Parameter{Key: "userxattr"})
	fd, err := sys.FSMount("overlay", int(m.attrs()), options...)
	if errors.Is(err, unix.EINVAL) && !m.takesLayersSingly() {
		return m.openOverlayLegacy()
	}
	return fd, err
}

// takesLayersSingly reports whether this kernel (Linux 6.7) has the parameter lowerdir+, asked of it with a value that it
// would only look up later.
func (m Mount) takesLayersSingly() bool {
	ctx, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(ctx)
	return unix.FsconfigSetString(ctx, "lowerdir+", "/") == nil
}

// openOverlayLegacy mounts with mount(2), whose options must fit in one page and are split at commas and colons: so every
// directory is named by a descriptor, which also keeps hundreds of layers within the page.
func (m Mount) openOverlayLegacy() (sys.FD, error) {
	var held []sys.FD
	defer func() {
		for _, fd := range held {
			fd.Close()
		}
	}()
	name := func(dir string) (string, error) {
		fd, err := sys.Open(dir, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return "", err
		}
		held = append(held, fd)
		return fd.Path(), nil
	}
	lower := make([]string, len(m.Lower))
	for i, dir := range m.Lower {
		var err error
		if lower[i], err = name(dir); err != nil {
			return sys.NoFD, err
		}
	}
	options := "userxattr,lowerdir=" + strings.Join(lower, ":")
	at := m.Lower[0]
	if m.Upper != "" {
		upper, err := name(m.Upper)
		if err != nil {
			return sys.NoFD, err
		}
		work, err := name(m.Work)
		if err != nil {
			return sys.NoFD, err
		}
		options += ",volatile,upperdir=" + upper + ",workdir=" + work
		at = m.Upper
	}
	return m.detachLegacy(at, options)
}

// detachLegacy mounts on at, takes a detached copy and unmounts again. Only the caller's own mount namespace sees it.
func (m Mount) detachLegacy(at, options string) (sys.FD, error) {
	if err := sys.LegacyMount("overlay", at, options); err != nil {
		return sys.NoFD, err
	}
	fd, err := sys.OpenTree(unix.AT_FDCWD, at, false)
	if uerr := unix.Unmount(at, unix.MNT_DETACH); err == nil && uerr != nil {
		err = &os.PathError{Op: "umount", Path: at, Err: uerr}
	}
	if err == nil && m.attrs() != 0 {
		err = sys.SetMountAttrs(fd, m.attrs(), false)
	}
	if err != nil {
		fd.Close()
		return sys.NoFD, err
	}
	return fd, nil
}
