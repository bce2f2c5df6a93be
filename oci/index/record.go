package index

import (
	_ "crypto/sha256" // the algorithms that a digest may name
	_ "crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// A record is the fixed-size part of an entry, little endian:
//
//	 0 path offset u32, path length u16, type u8, flags u8
//	 8 mode u32, uid u32, gid u32, extra offset u32 (0: none)
//	24 size i64, mtime i64 (seconds), offset i64
//	48 SHA-256 [32]
//
// All that few entries have (link, device, xattrs, data, a digest of another algorithm) is in the extra section.
const recordSize = 80

const (
	flagOpaque = 1 << iota // Entry.Opaque
	flagSHA256             // the record holds the digest
	flagData               // Entry.Data is not nil

)

const maxID = 1<<32 - 2 // (uid_t)-1 is no id

var le = binary.LittleEndian

// normal returns e in its one normal form, or says why it has none.
func normal(e Entry) (Entry, error) {
	if err := CheckPath(e.Path); err != nil {
		return e, err
	}
	switch e.Type {
	case Hardlink:
		e = Entry{Path: e.Path, Type: Hardlink, Link: e.Link}
	case Whiteout:
		e = Entry{Path: e.Path, Type: Whiteout}
	case Implied:
		e = Entry{Path: e.Path, Type: Implied, Opaque: e.Opaque}
	case Symlink:
		e.Mode = 0o777
	case Regular, Directory, CharDevice, BlockDevice, FIFO:
	default:
		return e, fmt.Errorf("%q: unknown type %d", e.Path, e.Type)
	}
	if e.Type != Regular {
		e.Size, e.Digest, e.Data, e.Offset = 0, "", nil, -1
	}
	if e.Type != CharDevice && e.Type != BlockDevice {
		e.Major, e.Minor = 0, 0
	}
	if e.Offset == 0 {
		e.Offset = -1 // a content is always behind its header
	}
	if len(e.Xattrs) == 0 {
		e.Xattrs = nil
	}
	e.Opaque = e.Opaque && (e.Type == Directory || e.Type == Implied)
	return e, check(e)
}

func check(e Entry) error {
	wrong := func(what string) error { return fmt.Errorf("%q: %s", e.Path, what) }
	switch {
	case e.Path == "." && e.Type != Directory && e.Type != Implied:
		return wrong("the root is no directory")
	case e.Mode&^0o7777 != 0:
		return wrong(fmt.Sprintf("mode %#o has more than permission bits", e.Mode))
	case e.UID < 0 || e.GID < 0 || e.UID > maxID || e.GID > maxID:
		return wrong(fmt.Sprintf("owner %d:%d is out of range", e.UID, e.GID))
	case e.Size < 0:
		return wrong("negative size")
	case (e.Link != "") != (e.Type == Symlink || e.Type == Hardlink):
		return wrong("only links have a target, and they need one")
	case len(e.Link) > maxPath || strings.IndexByte(e.Link, 0) >= 0:
		return wrong("link target is too long or has a zero byte")
	}
	if e.Digest != "" {
		if err := e.Digest.Validate(); err != nil {
			return wrong(err.Error())
		}
	}
	for name := range e.Xattrs {
		if name == "" || len(name) > maxName || strings.IndexByte(name, 0) >= 0 {
			return wrong(fmt.Sprintf("bad xattr name %q", name))
		}
	}
	if e.Type == Hardlink {
		return CheckPath(e.Link)
	}
	return nil
}

// appendRecord appends the record of e, whose path and extra are already placed.
func appendRecord(dst []byte, e Entry, path, extra uint32) []byte {
	var flags byte
	if e.Opaque {
		flags |= flagOpaque
	}
	if e.Data != nil {
		flags |= flagData
	}
	var sum [32]byte
	if e.Digest != "" && e.Digest.Algorithm() == digest.SHA256 {
		if _, err := hex.Decode(sum[:], []byte(e.Digest.Encoded())); err == nil {
			flags |= flagSHA256
		}
	}
	var mtime int64
	if hasTime(e.Type) {
		mtime = e.MTime.Unix()
	}
	dst = le.AppendUint32(dst, path)
	dst = le.AppendUint16(dst, uint16(len(e.Path)))
	dst = append(dst, byte(e.Type), flags)
	dst = le.AppendUint32(dst, e.Mode)
	dst = le.AppendUint32(dst, uint32(e.UID))
	dst = le.AppendUint32(dst, uint32(e.GID))
	dst = le.AppendUint32(dst, extra)
	dst = le.AppendUint64(dst, uint64(e.Size))
	dst = le.AppendUint64(dst, uint64(mtime))
	dst = le.AppendUint64(dst, uint64(e.Offset))
	return append(dst, sum[:]...)
}

func hasTime(t Type) bool { return t != Hardlink && t != Whiteout && t != Implied }

// appendExtra appends what of e does not fit in a record; nothing when there is nothing.
func appendExtra(dst []byte, e Entry) []byte {
	other := ""
	if e.Digest != "" && e.Digest.Algorithm() != digest.SHA256 {
		other = string(e.Digest)
	}
	if e.Link == "" && e.Major == 0 && e.Minor == 0 && e.Xattrs == nil && e.Data == nil && other == "" {
		return dst
	}
	dst = appendString(dst, e.Link)
	dst = binary.AppendUvarint(dst, uint64(e.Major))
	dst = binary.AppendUvarint(dst, uint64(e.Minor))
	dst = appendXattrs(dst, e.Xattrs)
	dst = appendString(dst, other)
	return appendString(dst, string(e.Data))
}

func appendXattrs(dst []byte, xattrs map[string]string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(xattrs)))
	for _, name := range slices.Sorted(maps.Keys(xattrs)) {
		dst = appendString(dst, name)
		dst = appendString(dst, xattrs[name])
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// decode makes the Entry of a record. Whatever the bytes are, it does not panic; nonsense gives an odd entry.
func decode(rec, path, extra []byte) Entry {
	flags := rec[7]
	e := Entry{
		Path:   string(path),
		Type:   Type(rec[6]),
		Mode:   le.Uint32(rec[8:]),
		UID:    int(le.Uint32(rec[12:])),
		GID:    int(le.Uint32(rec[16:])),
		Size:   int64(le.Uint64(rec[24:])),
		Offset: int64(le.Uint64(rec[40:])),
		Opaque: flags&flagOpaque != 0,
	}
	if hasTime(e.Type) {
		e.MTime = time.Unix(int64(le.Uint64(rec[32:])), 0).UTC()
	}
	if flags&flagSHA256 != 0 {
		e.Digest = digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(rec[48:80]))
	}
	if at := le.Uint32(rec[20:]); at != 0 && int64(at) < int64(len(extra)) {
		decodeExtra(&e, extra[at:], flags)
	}
	return e
}

func decodeExtra(e *Entry, b []byte, flags byte) {
	c := cursor{rest: b}
	e.Link = c.string()
	e.Major = uint32(c.uvarint())
	e.Minor = uint32(c.uvarint())
	n := c.uvarint()
	if n > 0 && n <= uint64(len(c.rest)) {
		e.Xattrs = make(map[string]string)
		for ; n > 0 && c.err == nil; n-- {
			name := c.string()
			e.Xattrs[name] = c.string()
		}
	}
	if other := c.string(); other != "" {
		e.Digest = digest.Digest(other)
	}
	if data := c.string(); flags&flagData != 0 {
		e.Data = []byte(data)
	}
}

var errShort = errors.New("truncated")

// cursor reads what appendExtra wrote and never beyond it.
type cursor struct {
	rest []byte
	err  error
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.rest)
	if n <= 0 {
		c.err, c.rest = errShort, nil
		return 0
	}
	c.rest = c.rest[n:]
	return v
}

func (c *cursor) string() string {
	n := c.uvarint()
	if n > uint64(len(c.rest)) {
		c.err, c.rest = errShort, nil
		return ""
	}
	s := string(c.rest[:n])
	c.rest = c.rest[n:]
	return s
}
