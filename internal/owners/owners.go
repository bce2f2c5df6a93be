// Package owners says how the owners and devices of an image are kept on a disk that cannot hold them: in a user namespace
// with one id nothing can be chowned, and in none can a device be made.
//
// The record of a regular file or directory is its extended attribute user.rootlesscontainers, in the form that umoci and
// other tools know. What cannot have one (symbolic links, FIFOs) is in a Table beside the directory.
package owners

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Mode is how a directory form holds owners.
type Mode int

const (
	// Chown: every file has its real owner. It needs a full id map, or root.
	Chown Mode = iota
	// Record: every file belongs to the one id there is, and its owner in the image is recorded.
	Record
)

// String returns the mode's name as it stands in the store.
func (m Mode) String() string {
	if m == Record {
		return "record"
	}
	return "chown"
}

// Xattr is the name of the extended attribute that holds an Owner.
const Xattr = "user.rootlesscontainers"

// Owner is what the image says of a file and the disk cannot. Its zero value, root's file that is no device, is never
// recorded.
type Owner struct {
	UID    int     `json:"uid,omitempty"`
	GID    int     `json:"gid,omitempty"`
	Device *Device `json:"device,omitempty"` // the empty regular file stands for this device
}

// Device is a character or block device.
type Device struct {
	Block bool   `json:"block,omitempty"`
	Major uint32 `json:"major"`
	Minor uint32 `json:"minor"`
}

// IsZero reports whether there is nothing to record.
func (o Owner) IsZero() bool { return o == Owner{} }

// noID stands for root in an encoded record: other tools take it for "as it is on the disk".
const noID = 1<<32 - 1

// The fields of the protobuf message. 1 and 2 are those of rootlesscontainers.Resource; the others are ours, out of the way
// of any that it may get.
const (
	fieldUID    = 1
	fieldGID    = 2
	fieldDevice = 1001 // 1 character, 2 block
	fieldMajor  = 1002
	fieldMinor  = 1003
)

// Encode returns the value of the extended attribute.
func (o Owner) Encode() []byte {
	var b []byte
	add := func(field int, v uint64) {
		b = binary.AppendUvarint(b, uint64(field)<<3) // wire type 0: varint
		b = binary.AppendUvarint(b, v)
	}
	add(fieldUID, encodeID(o.UID))
	add(fieldGID, encodeID(o.GID))
	if d := o.Device; d != nil {
		kind := uint64(1)
		if d.Block {
			kind = 2
		}
		add(fieldDevice, kind)
		add(fieldMajor, uint64(d.Major))
		add(fieldMinor, uint64(d.Minor))
	}
	return b
}

func encodeID(id int) uint64 {
	if id == 0 {
		return noID
	}
	return uint64(uint32(id))
}

var errRecord = errors.New("malformed owner record")

// Decode reads the value of the extended attribute, also one that another tool wrote: unknown fields are skipped.
func Decode(value []byte) (Owner, error) {
	var o Owner
	var d Device
	kind := uint64(0)
	for len(value) > 0 {
		field, v, rest, err := next(value)
		if err != nil {
			return Owner{}, err
		}
		value = rest
		switch field {
		case fieldUID:
			o.UID = decodeID(v)
		case fieldGID:
			o.GID = decodeID(v)
		case fieldDevice:
			kind = v
		case fieldMajor:
			d.Major = uint32(v)
		case fieldMinor:
			d.Minor = uint32(v)
		}
	}
	if kind == 1 || kind == 2 {
		d.Block = kind == 2
		o.Device = &d
	}
	return o, nil
}

func decodeID(v uint64) int {
	if id := uint32(v); id != noID {
		return int(id)
	}
	return 0
}

// next reads one field. v is 0 for those that are no varints.
func next(b []byte) (field, v uint64, rest []byte, err error) {
	key, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, 0, nil, errRecord
	}
	b = b[n:]
	skip := uint64(0)
	switch key & 7 {
	case 0:
		v, n = binary.Uvarint(b)
		if n <= 0 {
			return 0, 0, nil, errRecord
		}
		return key >> 3, v, b[n:], nil
	case 1:
		skip = 8
	case 2:
		l, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, 0, nil, errRecord
		}
		b, skip = b[n:], l
	case 5:
		skip = 4
	default:
		return 0, 0, nil, fmt.Errorf("%w: wire type %d", errRecord, key&7)
	}
	if skip > uint64(len(b)) {
		return 0, 0, nil, errRecord
	}
	return 0, 0, b[skip:], nil
}
