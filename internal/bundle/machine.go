package bundle

import (
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/snapshot"
	"github.com/cairnbuild/cairn/sandbox"
)

// Machine says what this process can do on this machine. The shell finds it out once and passes it down. In the zero
// value nothing can run.
type Machine struct {
	// Isolation is what stands between a command and the machine; empty where no command can be run.
	Isolation sandbox.Isolation
	// IDs are those that files can belong to.
	IDs sandbox.IDs
	// Snapshots makes root file systems; nil stacks overlays. It is the shell's to close.
	Snapshots *snapshot.Maker
}

// InNamespace reports whether commands can be run, and the files of layers be given their owners.
func (m Machine) InNamespace() bool { return m.Isolation != "" }

// Owners is how files keep their owners.
func (m Machine) Owners() owners.Mode { return m.IDs.OwnersMode() }

// Copies reports whether a root file system is a copy of its layers and not an overlay over their directories.
func (m Machine) Copies() bool { return m.snapshots().Kind == snapshot.Copy }

// Lasting reports whether an overlay's upper directory can become a layer's directory in the store.
func (m Machine) Lasting() bool { return m.snapshots().Lasting() }

// mounts reports whether anything can be mounted.
func (m Machine) mounts() bool { return m.Isolation == sandbox.IsolationNamespaces }

func (m Machine) snapshots() *snapshot.Maker {
	if m.Snapshots != nil {
		return m.Snapshots
	}
	return &snapshot.Maker{Kind: snapshot.Overlay}
}
