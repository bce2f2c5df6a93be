package child

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/sys"
)

// hidden are the paths that Docker hides from containers, below /proc and /sys.
func hidden() []string {
	return []string{
		"proc/acpi", "proc/asound", "proc/interrupts", "proc/kcore", "proc/keys", "proc/latency_stats", "proc/sched_debug",
		"proc/scsi", "proc/timer_list", "proc/timer_stats",
		"sys/devices/virtual/powercap", "sys/firmware",
	}
}

// readonly are the paths that Docker write-protects.
func readonly() []string {
	return []string{"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"}
}

// mask hides and write-protects. Paths are opened from the mounts that this process has just made, without following links,
// and what covers them comes from descriptors: nothing that an image or another step can swap takes part.
func (c *child) mask() error {
	if !c.spec.Confine {
		return nil
	}
	for _, name := range readonly() {
		if err := c.each(name, c.protect); err != nil {
			return err
		}
	}
	for _, name := range hidden() {
		if err := c.each(name, c.hide); err != nil {
			return err
		}
	}
	return nil
}

// each opens one path and gives it to do; what this kernel does not have needs no hiding.
func (c *child) each(name string, do func(at sys.FD) error) error {
	base, rest := c.proc, strings.TrimPrefix(name, "proc/")
	if rest != name && base == sys.NoFD {
		return nil
	}
	if rest == name {
		base, rest = c.sysfs, strings.TrimPrefix(name, "sys/")
	}
	at, err := sys.OpenNoLinks(base, rest, unix.O_PATH|unix.O_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return renamed(err, "hide", "/"+name)
	}
	defer at.Close()
	if err := do(at); err != nil {
		return renamed(err, "hide", "/"+name)
	}
	return nil
}

func (c *child) protect(at sys.FD) error {
	copied, err := sys.OpenTree(at, "", true)
	if err != nil {
		return err
	}
	defer copied.Close()
	if err := sys.SetMountAttrs(copied, unix.MOUNT_ATTR_RDONLY, true); err != nil {
		return err
	}
	return sys.MoveMount(copied, at)
}

// hide covers a directory with an empty one and anything else with /dev/null.
func (c *child) hide(at sys.FD) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(at), &st); err != nil {
		return &os.PathError{Op: "stat", Path: at.Path(), Err: err}
	}
	cover := func() (sys.FD, error) { return sys.OpenTree(c.null, "", false) }
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		m := mount.Mount{Type: mount.Tmpfs, Mode: 0o755, ReadOnly: true, NoExec: true, NoSuid: true, NoDev: true}
		cover = m.Open
	}
	fd, err := cover()
	if err != nil {
		return err
	}
	defer fd.Close()
	return sys.MoveMount(fd, at)
}
