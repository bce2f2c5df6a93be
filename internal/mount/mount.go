// Package mount describes one mount as a value and applies it.
package mount

// Type is the kind of a Mount.
type Type string

// The kinds of mounts.
const (
	Overlay Type = "overlay"
	Bind    Type = "bind" // recursive
	Tmpfs   Type = "tmpfs"
)

// Mount is one mount as a value that can travel as JSON to the child that applies it.
type Mount struct {
	Type Type `json:"type"`
	// Source of a Bind: an absolute path outside.
	Source string `json:"source,omitempty"`
	// Target is the path inside the root, absolute and clean; empty for a Spec's root. It is resolved inside the root: no
	// symbolic link leads out of it. It must exist.
	Target string `json:"target,omitempty"`
	// ReadOnly makes it read-only, recursively for a Bind.
	ReadOnly bool `json:"readonly,omitempty"`
	// Lower are an Overlay's lower directories, the uppermost first; Upper and Work are its writable side; both empty for a
	// read-only overlay.
	Lower []string `json:"lower,omitempty"`
	Upper string   `json:"upper,omitempty"`
	Work  string   `json:"work,omitempty"`
	// Size in bytes and Mode of a Tmpfs; 0 is the kernel's default, respectively 01777.
	Size int64  `json:"size,omitempty"`
	Mode uint32 `json:"mode,omitempty"`
	// NoExec, NoSuid, NoDev.
	NoExec bool `json:"noexec,omitempty"`
	NoSuid bool `json:"nosuid,omitempty"`
	NoDev  bool `json:"nodev,omitempty"`
}
