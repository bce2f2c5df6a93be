package child

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/sandbox/internal/wire"
)

// chrootStages are those of a step without namespaces.
func (c *child) chrootStages() []stage {
	return []stage{
		{wire.StageRoot, c.openDirectory},
		{wire.StageDev, c.makeDev},
		{wire.StageChroot, c.changeRoot},
		{wire.StageDir, c.workingDir},
		{wire.StageLimits, c.limits},
		{wire.StageScope, c.permitted(c.scope)},
		{wire.StageBounding, c.permitted(c.bounding)},
		{wire.StageFilter, c.permitted(c.filter)},
		{wire.StageUser, c.user},
		{wire.StageCaps, c.remainingCapabilities},
		{wire.StageExec, c.exec},
	}
}

// permitted leaves out a wall that the container around does not let us raise: it has its own.
func (c *child) permitted(do func() error) func() error {
	return func() error {
		if err := do(); !errors.Is(err, os.ErrPermission) {
			return err
		}
		return nil
	}
}

func (c *child) openDirectory() (err error) {
	c.root, err = sys.Open(c.spec.Root.Source, unix.O_PATH|unix.O_DIRECTORY)
	return err
}

// makeDev fills /dev of a root that is a copy, and whose /dev its owner empties afterwards. Devices that may not be made are
// left out.
func (c *child) makeDev() error {
	unix.Umask(0)
	dev, err := c.standardDir("dev")
	if err != nil {
		return err
	}
	defer dev.Close()
	for _, n := range devNodes() {
		err := sys.MknodAt(dev, n.name, unix.S_IFCHR|0o666, n.major, n.minor)
		if errors.Is(err, unix.EPERM) && n.name == "null" { // an empty file serves for what it is mostly used for
			err = sys.MknodAt(dev, n.name, unix.S_IFREG|0o666, 0, 0)
		}
		if err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EEXIST) {
			return renamed(err, "make", "/dev/"+n.name)
		}
	}
	for _, l := range devLinks() {
		if err := sys.SymlinkAt(l.target, dev, l.name); err != nil && !errors.Is(err, unix.EEXIST) {
			return renamed(err, "make", "/dev/"+l.name)
		}
	}
	if err := sys.MkdirAt(dev, "shm", 0o1777); err != nil && !errors.Is(err, unix.EEXIST) {
		return renamed(err, "make", "/dev/shm")
	}
	return replaceNull(dev)
}

func (c *child) changeRoot() error {
	if err := unix.Fchdir(int(c.root)); err != nil {
		return &os.PathError{Op: "chdir", Path: c.spec.Root.Source, Err: err}
	}
	if err := unix.Chroot("."); err != nil {
		return &os.PathError{Op: "chroot", Path: c.spec.Root.Source, Err: err}
	}
	return nil
}

// remainingCapabilities is capabilities where some may be missing from the start.
func (c *child) remainingCapabilities() error {
	have, err := sys.Capabilities()
	if err != nil {
		return err
	}
	c.spec.Capabilities &= have
	return c.capabilities()
}
