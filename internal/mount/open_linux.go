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
	var dirs dirs
	defer dirs.close()
	var options []sys.Parameter
	for _, dir := range m.Lower {
		options = append(options, sys.Parameter{Key: "lowerdir+", Value: dirs.name(dir)})
	}
	if m.Upper != "" {
		options = append(options,
			sys.Parameter{Key: "upperdir", Value: dirs.name(m.Upper)}, sys.Parameter{Key: "workdir", Value: dirs.name(m.Work)},
			sys.Parameter{Key: "volatile"})
	}
	if dirs.err != nil {
		return sys.NoFD, dirs.err
	}
	options = append(options, sys.Parameter{Key: "userxattr"})
	fd, err := sys.FSMount("overlay", int(m.attrs()), options...)
	if errors.Is(err, unix.EINVAL) && !takesLayersSingly() {
		return m.openOverlayLegacy(options)
	}
	return fd, err
}

// dirs names directories for overlayfs by descriptors: it splits names at commas and colons, undoes backslashes, and its
// callers cut them at 255 bytes. The first error stays.
type dirs struct {
	held []sys.FD
	err  error
}

func (d *dirs) name(dir string) string {
	fd, err := sys.Open(dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		if d.err == nil {
			d.err = err
		}
		return ""
	}
	d.held = append(d.held, fd)
	return fd.Path()
}

func (d *dirs) close() {
	for _, fd := range d.held {
		fd.Close()
	}
}

// takesLayersSingly reports whether this kernel (Linux 6.7) has the parameter lowerdir+.
func takesLayersSingly() bool {
	ctx, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(ctx)
	return unix.FsconfigSetString(ctx, "lowerdir+", "/") == nil
}

// openOverlayLegacy mounts with mount(2), whose options must fit in one page: some 200 layers.
func (m Mount) openOverlayLegacy(options []sys.Parameter) (sys.FD, error) {
	var lower, rest []string
	for _, o := range options {
		switch {
		case o.Key == "lowerdir+":
			lower = append(lower, o.Value)
		case o.Value == "":
			rest = append(rest, o.Key)
		default:
			rest = append(rest, o.Key+"="+o.Value)
		}
	}
	at := m.Upper
	if at == "" {
		at = m.Lower[0]
	}
	return m.detach(at, strings.Join(append(rest, "lowerdir="+strings.Join(lower, ":")), ","))
}

// detach mounts on at, takes a detached copy and unmounts again. Only the caller's own mount namespace sees it.
func (m Mount) detach(at, options string) (sys.FD, error) {
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
