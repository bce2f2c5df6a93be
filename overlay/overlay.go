// Package overlay stacks layer directories under a writable one with overlayfs, the form without privileges: the stack is
// mounted inside a user namespace, whiteouts are character devices 0:0 and opaque directories carry user.overlay.opaque=y.
package overlay

import (
	"github.com/cairnbuild/cairn/internal/mount"
)

// MaxLower is how many layers one Stack can have: more make its mount fail with mount.ErrTooManyLower.
const MaxLower = mount.MaxLower

// Stack is a snapshot with a place for changes.
type Stack struct {
	// Lower are the layers' directories, the uppermost first. At least one.
	Lower []string
	// Upper receives the changes: afterwards it is the layer's directory. Work is an empty directory of the same file system
	// that is never used twice. Both empty: the stack is read-only.
	Upper, Work string
}

// Mount gives the mount of the stack; nothing is mounted yet. Overlayfs refuses one directory alone, so that a read-only
// stack of one layer is a read-only bind of it.
func (s Stack) Mount() mount.Mount {
	if s.Upper == "" && len(s.Lower) == 1 {
		return mount.Mount{Type: mount.Bind, Source: s.Lower[0], ReadOnly: true}
	}
	return mount.Mount{Type: mount.Overlay, Lower: s.Lower, Upper: s.Upper, Work: s.Work, ReadOnly: s.Upper == ""}
}
