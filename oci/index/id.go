package index

import (
	"encoding/binary"
	"hash"

	"github.com/opencontainers/go-digest"
)

// idVersion opens what ids are digests of. A change of the encoding below changes it, and with it every id.
const idVersion = "cairn layer v1\n"

// ID names the layer in the store: the digest of all that its entries say, mtimes included. It is empty unless the index is
// Complete.
func (ix *Index) ID() digest.Digest {
	ix.computeIDs()
	return ix.id
}

// ContentID is ID without the mtimes: what cache keys are made of. It is empty unless the index is Complete.
func (ix *Index) ContentID() digest.Digest {
	ix.computeIDs()
	return ix.cid
}

func (ix *Index) computeIDs() {
	ix.ids.Do(func() {
		if !ix.Complete() {
			return
		}
		id, cid := digest.SHA256.Hash(), digest.SHA256.Hash()
		id.Write([]byte(idVersion))
		cid.Write([]byte("content of a " + idVersion))
		var buf []byte
		for e := range ix.Entries() {
			buf = appendIdentity(buf[:0], e)
			cid.Write(buf)
			id.Write(buf)
			id.Write(binary.AppendVarint(buf[:0], mtimeOf(e)))
		}
		ix.id, ix.cid = sum(id), sum(cid)
	})
}

func sum(h hash.Hash) digest.Digest { return digest.NewDigest(digest.SHA256, h) }

func mtimeOf(e Entry) int64 {
	if !hasTime(e.Type) {
		return 0
	}
	return e.MTime.Unix()
}

// appendIdentity appends all of e but its mtime, Offset and Data. Every field is delimited, so no two entries look alike.
func appendIdentity(dst []byte, e Entry) []byte {
	opaque := byte(0)
	if e.Opaque {
		opaque = 1
	}
	dst = appendString(dst, e.Path)
	dst = append(dst, byte(e.Type), opaque)
	for _, v := range []uint64{uint64(e.Mode), uint64(e.UID), uint64(e.GID), uint64(e.Size), uint64(e.Major), uint64(e.Minor)} {
		dst = binary.AppendUvarint(dst, v)
	}
	dst = appendString(dst, e.Link)
	dst = appendXattrs(dst, e.Xattrs)
	return appendString(dst, string(e.Digest))
}
