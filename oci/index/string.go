package index

import (
	"fmt"
	"strings"
)

// String returns the letter that ls(1) shows for the type; w for a Whiteout, h for a Hardlink, i for Implied.
func (t Type) String() string {
	const letters = "?-dlhcbpwi"
	if int(t) >= len(letters) {
		return "?"
	}
	return letters[t : t+1]
}

// String returns the entry as one line for people and golden files: type, mode, owner, size or device, mtime, path, target
// and what else it has.
func (e Entry) String() string {
	var s strings.Builder
	s.WriteString(e.Type.String())
	if hasTime(e.Type) {
		fmt.Fprintf(&s, " %04o %d:%d", e.Mode, e.UID, e.GID)
		if e.Type == CharDevice || e.Type == BlockDevice {
			fmt.Fprintf(&s, " %d,%d", e.Major, e.Minor)
		} else {
			fmt.Fprintf(&s, " %d", e.Size)
		}
		fmt.Fprintf(&s, " %d", e.MTime.Unix())
	}
	fmt.Fprintf(&s, " %q", e.Path)
	if e.Link != "" {
		fmt.Fprintf(&s, " -> %q", e.Link)
	}
	if e.Opaque {
		s.WriteString(" opaque")
	}
	if len(e.Xattrs) > 0 {
		fmt.Fprintf(&s, " %q", e.Xattrs) // fmt sorts the keys
	}
	if e.Digest != "" {
		fmt.Fprintf(&s, " %s", e.Digest)
	}
	return s.String()
}
