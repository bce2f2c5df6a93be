package sandbox

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/sandbox/internal/wire"
)

// Isolation says what stands between a command and the machine.
type Isolation string

// The kinds of isolation.
const (
	IsolationAuto       Isolation = ""           // the best that works
	IsolationNamespaces Isolation = "namespaces" // what the package comment describes
	// IsolationChroot is for root in a container that allows no namespaces: the command's root directory is changed, and that
	// is all. A Spec for it has a Bind as its Root and no Mounts, network or terminal of its own; /proc and /sys are empty.
	// The command sees the machine's processes and network, and root leaves a chroot if it wants to: the walls are those of
	// the container around. What it leaves running is killed all the same.
	IsolationChroot Isolation = "chroot"
)

// CurrentIsolation is what Run gives a command in this process; "" where Run does not work.
func CurrentIsolation() Isolation {
	switch os.Args[0] {
	case wire.ArgUserns:
		return IsolationNamespaces
	case wire.ArgChroot:
		return IsolationChroot
	}
	return ""
}

// entries lists the ways to try, the best first. Only a container's root has the last one without asking for it: the owners can
// be changed, and there is a wall around. Root of a machine, which CAP_SYS_ADMIN tells, has to ask.
func (o *EnterOptions) entries() ([]*entry, error) {
	var list []*entry
	if o.Isolation == IsolationAuto && emulatedAround() {
		why := &SetupError{Stage: wire.StageSupervise, Text: "a sandbox around emulates owners, and there can be only one that does"}
		return append(list, &entry{EnterOptions: o, chroot: true, why: why}), nil
	}
	if o.Isolation != IsolationChroot {
		maps, why, err := candidates(o.IDs)
		if err != nil {
			return nil, err
		}
		for _, m := range maps {
			list = append(list, &entry{EnterOptions: o, ids: m, why: why})
		}
	}
	caps, err := sys.Capabilities()
	contained := os.Geteuid() == 0 && err == nil && caps&(1<<unix.CAP_SYS_ADMIN) == 0
	if o.Isolation == IsolationChroot || o.Isolation == IsolationAuto && contained && o.IDs != IDsOne {
		list = append(list, &entry{EnterOptions: o, chroot: true})
	}
	return list, nil
}

// emulatedAround reports whether this is root in a sandbox that emulates ids: the kernel lets no second one do so inside.
func emulatedAround() bool {
	ranges, err := readMap("/proc/self/uid_map")
	return err == nil && single(ranges) && os.Geteuid() == 0 && sys.ChownWorks()
}

// announce tells Notice which rungs were taken.
func (e *entry) announce() {
	switch {
	case e.chroot && e.why != nil:
		e.Notice(fmt.Sprintf("isolation: chroot (%v): commands see the processes and the network outside, and no /proc; --mount is limited", e.why))
	case e.why != nil:
		e.Notice(fmt.Sprintf("ids: one (%v): owners are emulated, which makes commands some 20%% slower", e.why))
	}
	if e.noProc != nil {
		e.Notice(fmt.Sprintf("proc: the outer one (%v): commands see the processes outside", e.noProc))
	}
}

// becomeChroot finds out whether this process may do what its steps will have to. Processes that a step leaves behind become
// its children.
func becomeChroot() *wire.Failed {
	sign, failed := awaitGo()
	if failed != nil {
		return failed
	}
	if err := unix.Chroot("/"); err != nil {
		return wire.NewFailed(wire.StageChroot, &os.PathError{Op: "chroot", Path: "/", Err: err})
	}
	if err := sys.AdoptOrphans(); err != nil {
		return wire.NewFailed(wire.StageChroot, err)
	}
	sendReport(wire.Report{Ready: true})
	if err := shiftFiles(sign.Extra); err != nil {
		return wire.NewFailed(wire.StageStart, err)
	}
	return nil
}

// withoutNamespaces changes a step for the chroot isolation, and refuses what that does not have.
func withoutNamespaces(w *wire.Spec) error {
	refuse := func(what string) error {
		return &SetupError{Stage: wire.StageSpec, Text: what + " needs namespaces, and there are none: isolation is chroot"}
	}
	switch {
	case w.Root.Type != mount.Bind:
		return refuse("a root file system that is mounted")
	case len(w.Mounts) > 0:
		return refuse("the mount on " + w.Mounts[0].Target)
	case w.Network != wire.NetworkHost:
		return refuse("a network of its own")
	case w.ReadonlyRoot:
		return refuse("a read-only root file system")
	case w.Terminal != nil:
		return refuse("a terminal")
	}
	w.Chroot, w.Hostname = true, ""
	return nil
}
