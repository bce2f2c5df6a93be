// Package index holds the small form of a layer: one Entry per path, sorted, with everything a tar header says and the
// digest of the content once it is known, but no content. Its file format, its ids and the order of its entries are defined here.
package index

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// Type is what an entry is.
type Type uint8

// The types of an Entry. Whiteout is a type, never a name: a user's file called .wh.x has no place in an index.
const (
	Regular Type = iota + 1
	Directory
	Symlink
	// Hardlink is a further name of an inode of the same layer; Link is the path of the entry that stands for the inode: the
	// first of the inode's names in index order, and never itself a Hardlink.
	Hardlink
	CharDevice
	BlockDevice
	FIFO
	// Whiteout says that the path, and all below it, exists no more.
	Whiteout
	// Implied is a directory that a foreign layer names only as a parent of something. It has no attributes but Opaque, and
	// makes the index Loose: what it is depends on the layers below.
	Implied
)

// Entry is one path of a layer. Ids are those inside the image. Mode holds the permission bits, setuid, setgid and sticky
// (07777) and no type. A strict index (see Index.Loose) has a Directory entry for every parent of every entry.
type Entry struct {
	// Path is slash separated, clean and relative to the root, without a leading slash. "." is the root itself and occurs
	// only in layers that others made.
	Path string
	Type Type
	Mode uint32
	UID  int
	GID  int
	// Size is the length of the content in bytes; 0 for all but Regular.
	Size int64
	// MTime has whole seconds (UTC), in the index as in the blob and the directory.
	MTime time.Time
	// Link is the target of a Symlink, verbatim, or the path of a Hardlink's inode.
	Link string
	// Major and Minor are those of a device.
	Major, Minor uint32
	// Xattrs are the extended attributes that belong to the image (never overlay's own nor owner records), by full name;
	// security.capability is in its v2 form.
	Xattrs map[string]string
	// Opaque on a Directory hides all that the layers below have in it.
	Opaque bool
	// Digest is the digest of a Regular's content, or empty while nobody asked for it.
	Digest digest.Digest
	// Offset is where a Regular's content starts in the layer's uncompressed tar, or -1 when no tar holds it. A value below
	// -1 means that the tar has it as a sparse file, whose header starts at -2-Offset. It is no part of any id.
	Offset int64
	// Data is the content itself, kept for etc/passwd and etc/group only. It is no part of any id.
	Data []byte
}
