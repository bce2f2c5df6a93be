package emulate

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/owners"
)

// recorded opens the file that the call names if it has a record; for all others the kernel is right. The caller closes it.
func (r *request) recorded() (fd int, o owners.Owner, ok bool) {
	t, ok := r.target()
	if !ok {
		return -1, o, false
	}
	if _, ok = r.w.record(t); !ok {
		return -1, o, false
	}
	fd, err := r.openTarget(t, 0)
	if err != nil {
		return -1, o, false
	}
	return fd, r.w.recordFD(fd), true
}

func stat(r *request) answer {
	fd, o, ok := r.recorded()
	if !ok {
		return goOn()
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return goOn()
	}
	st.Uid, st.Gid = uint32(o.UID), uint32(o.GID)
	if d := o.Device; d != nil {
		st.Mode = deviceMode(st.Mode, d)
		st.Rdev = encodeDevice(d)
	}
	if !r.write(r.n.args[r.e.arg], r.e.layout.bytes(&st)) {
		return fail(unix.EFAULT)
	}
	return answer{}
}

func statx(r *request) answer {
	fd, o, ok := r.recorded()
	if !ok {
		return goOn()
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	flags := int(r.n.args[r.e.obj.flags])&^noFollowFlag | emptyPath
	if unix.Statx(fd, "", flags, int(r.n.args[r.e.arg]), &st) != nil {
		return goOn()
	}
	st.Uid, st.Gid = uint32(o.UID), uint32(o.GID)
	if d := o.Device; d != nil {
		st.Mode = uint16(deviceMode(uint32(st.Mode), d))
		st.Rdev_major, st.Rdev_minor = d.Major, d.Minor
	}
	if !r.write(r.n.args[r.e.arg+1], unsafe.Slice((*byte)(unsafe.Pointer(&st)), unsafe.Sizeof(st))) {
		return fail(unix.EFAULT)
	}
	return answer{}
}

func deviceMode[T uint32](mode T, d *owners.Device) T {
	kind := T(unix.S_IFCHR)
	if d.Block {
		kind = unix.S_IFBLK
	}
	return mode&^unix.S_IFMT | kind
}

// encodeDevice gives a device's number the kernel's outer form, which has 32 bits.
func encodeDevice(d *owners.Device) uint64 {
	return uint64(d.Minor&0xff | d.Major<<8&0xfff00 | d.Minor&^0xff<<12)
}

// decodeDevice is the reverse.
func decodeDevice(dev uint32, block bool) *owners.Device {
	return &owners.Device{Block: block, Major: dev >> 8 & 0xfff, Minor: dev&0xff | dev>>12&0xfff00}
}

// bytes gives a stat result the form that an ABI has for it.
func (l layout) bytes(st *unix.Stat_t) []byte {
	switch l {
	case statI386:
		return i386Stat(st)
	case statI386Large:
		return i386Stat64(st)
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(st)), unsafe.Sizeof(*st))
}

// i386Stat is i386's struct stat: 64 bytes, numbers that do not fit are cut.
func i386Stat(st *unix.Stat_t) []byte {
	b := make([]byte, 0, 64)
	le := binary.LittleEndian
	b = le.AppendUint32(b, uint32(st.Dev))
	b = le.AppendUint32(b, uint32(st.Ino))
	b = le.AppendUint16(b, uint16(st.Mode))
	b = le.AppendUint16(b, uint16(st.Nlink))
	b = le.AppendUint16(b, narrowID(st.Uid))
	b = le.AppendUint16(b, narrowID(st.Gid))
	b = le.AppendUint32(b, uint32(st.Rdev))
	b = le.AppendUint32(b, uint32(st.Size))
	b = le.AppendUint32(b, uint32(st.Blksize))
	b = le.AppendUint32(b, uint32(st.Blocks))
	b = appendTimes(b, st)
	return le.AppendUint64(b, 0)
}

// i386Stat64 is i386's struct stat64: 96 bytes.
func i386Stat64(st *unix.Stat_t) []byte {
	b := make([]byte, 0, 96)
	le := binary.LittleEndian
	b = le.AppendUint64(b, uint64(st.Dev))
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, uint32(st.Ino))
	b = le.AppendUint32(b, st.Mode)
	b = le.AppendUint32(b, uint32(st.Nlink))
	b = le.AppendUint32(b, st.Uid)
	b = le.AppendUint32(b, st.Gid)
	b = le.AppendUint64(b, uint64(st.Rdev))
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, uint64(st.Size))
	b = le.AppendUint32(b, uint32(st.Blksize))
	b = le.AppendUint64(b, uint64(st.Blocks))
	b = appendTimes(b, st)
	return le.AppendUint64(b, st.Ino)
}

func appendTimes(b []byte, st *unix.Stat_t) []byte {
	for _, t := range []unix.Timespec{st.Atim, st.Mtim, st.Ctim} {
		b = binary.LittleEndian.AppendUint32(b, uint32(t.Sec))
		b = binary.LittleEndian.AppendUint32(b, uint32(t.Nsec))
	}
	return b
}

func narrowID(id uint32) uint16 {
	if id > 0xffff {
		return overflow16
	}
	return uint16(id)
}
