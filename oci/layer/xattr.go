package layer

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/cairnbuild/cairn/internal/owners"
)

const (
	capability    = "security.capability"
	overlayPrefix = "user.overlay."
	opaqueXattr   = overlayPrefix + "opaque"
	trustedOpaque = "trusted.overlay.opaque"
	originXattr   = overlayPrefix + "origin"
	whiteoutXattr = overlayPrefix + "whiteout"
	paxXattr      = "SCHILY.xattr."
)

// belongs reports whether an attribute is part of an image: file capabilities and user.*, except the owner records. All
// others belong to a machine (SELinux labels, ACLs by id, overlayfs's own) and could not be restored by a user.
func belongs(name string) bool {
	return name == capability || strings.HasPrefix(name, "user.") && name != owners.Xattr
}

// toDisk returns the name an image's attribute has in overlay form: what overlayfs would take for its own is escaped.
func toDisk(name string) string {
	if rest, ok := strings.CutPrefix(name, overlayPrefix); ok {
		return overlayPrefix + "overlay." + rest
	}
	return name
}

// diskXattrs are the attributes found on a file of an overlay form, told apart.
type diskXattrs struct {
	image    map[string]string
	owner    owners.Owner
	opaque   bool
	whiteout bool
}

// sortXattrs tells the attributes of a file apart.
func sortXattrs(found map[string]string) (x diskXattrs, err error) {
	x.opaque = found[opaqueXattr] == "y" || found[trustedOpaque] == "y"
	_, x.whiteout = found[whiteoutXattr]
	if record, ok := found[owners.Xattr]; ok {
		if x.owner, err = owners.Decode([]byte(record)); err != nil {
			return x, err
		}
	}
	for name, value := range found {
		if rest, own := strings.CutPrefix(name, overlayPrefix); own {
			rest, escaped := strings.CutPrefix(rest, "overlay.")
			if !escaped {
				continue
			}
			name = overlayPrefix + rest
		}
		if err := x.add(name, value); err != nil {
			return x, err
		}
	}
	return x, nil
}

func (x *diskXattrs) add(name, value string) (err error) {
	if !belongs(name) {
		return nil
	}
	if name == capability {
		if value, err = normalCapability(value); err != nil {
			return err
		}
	}
	if x.image == nil {
		x.image = make(map[string]string)
	}
	x.image[name] = value
	return nil
}

// tarXattrs returns the image's attributes among the records of a PAX header.
func tarXattrs(records map[string]string) (map[string]string, error) {
	var x diskXattrs
	for key, value := range records {
		if name, ok := strings.CutPrefix(key, paxXattr); ok {
			if err := x.add(name, value); err != nil {
				return nil, err
			}
		}
	}
	return x.image, nil
}

// The binary form of security.capability (linux/capability.h): a magic word with revision and flags, then pairs of words;
// revision 3 ends with the root id of the user namespace it was set in, which means nothing elsewhere.
const (
	capRevision  = 0xff000000
	capRevision2 = 0x02000000
	capRevision3 = 0x03000000
	capSize2     = 20
	capSize3     = 24
)

func normalCapability(value string) (string, error) {
	if len(value) < 4 {
		return "", fmt.Errorf("%s of %d bytes", capability, len(value))
	}
	word := binary.LittleEndian.Uint32([]byte(value[:4]))
	if word&capRevision != capRevision3 {
		return value, nil
	}
	if len(value) != capSize3 {
		return "", fmt.Errorf("%s of %d bytes", capability, len(value))
	}
	head := binary.LittleEndian.AppendUint32(nil, word&^capRevision|capRevision2)
	return string(head) + value[4:capSize2], nil
}
