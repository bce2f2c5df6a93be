package contextdir

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/cairnbuild/cairn/internal/files"
)

// statCache remembers the digests of files under their identities, from build to build. Its file is a sorted array of
// records that is searched where it was read, so that a large cache costs one read and no allocation per record:
//
//	magic    8 bytes, the version in it
//	records  recordSize bytes each, sorted by device and inode, little endian
//	crc      4 bytes, CRC-32C of all before
//
// The file is replaced by rename and never synced: a torn one fails its checksum and counts as empty. Two writers at the same
// time lose one's additions, which costs time only. What a record says was true when it was written, and its identity
// changes with the file.
type statCache struct {
	path string
	old  []byte // the records of the file

	mu    sync.Mutex
	added map[inodeKey]record
}

type inodeKey struct{ dev, ino uint64 }

type record struct {
	id         identity
	sum        [32]byte
	capability []byte
	day        uint32 // when it was written, in days since 1970
}

const (
	cacheMagic = "cairnst1"
	recordSize = 5*8 + 32 + 4 + 1 + maxCapability + 3
	// maxCapability is the size of the longest security.capability there is; a file with a longer one is not remembered.
	maxCapability = 24
	// maxRecords bounds the file; the records written longest ago go first.
	maxRecords = 1 << 19
)

func openStatCache(path string) *statCache {
	c := &statCache{path: path, added: map[inodeKey]record{}}
	if path != "" {
		c.old = readRecords(path)
	}
	return c
}

// readRecords returns the records of a sound file, nil of any other.
func readRecords(path string) []byte {
	data, err := os.ReadFile(path)
	if err != nil || len(data) < len(cacheMagic)+4 || string(data[:len(cacheMagic)]) != cacheMagic {
		return nil
	}
	body, sum := data[:len(data)-4], data[len(data)-4:]
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(sum) {
		return nil
	}
	records := body[len(cacheMagic):]
	if len(records)%recordSize != 0 {
		return nil
	}
	return records
}

func (c *statCache) lookup(id identity) (sum [32]byte, capability []byte, ok bool) {
	if r, ok := find(c.old, inodeKey{id.dev, id.ino}); ok && r.id == id {
		return r.sum, r.capability, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.added[inodeKey{id.dev, id.ino}]
	return r.sum, r.capability, ok && r.id == id
}

func find(records []byte, key inodeKey) (record, bool) {
	n := len(records) / recordSize
	i := sort.Search(n, func(i int) bool { return compareKey(keyAt(records, i), key) >= 0 })
	if i == n || keyAt(records, i) != key {
		return record{}, false
	}
	return decodeRecord(records[i*recordSize:]), true
}

func (c *statCache) add(id identity, sum [32]byte, capability []byte) {
	if c.path == "" || len(capability) > maxCapability {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.added[inodeKey{id.dev, id.ino}] = record{id: id, sum: sum, capability: capability, day: today()}
}

func today() uint32 { return uint32(time.Now().Unix() / 86400) }

// save merges what was added into the file as it is now.
func (c *statCache) save() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.added) == 0 {
		return nil
	}
	current := readRecords(c.path)
	all := make([]record, 0, len(current)/recordSize+len(c.added))
	for i := range len(current) / recordSize {
		if _, replaced := c.added[keyAt(current, i)]; !replaced {
			all = append(all, decodeRecord(current[i*recordSize:]))
		}
	}
	for _, r := range c.added {
		all = append(all, r)
	}
	if len(all) > maxRecords {
		slices.SortFunc(all, func(a, b record) int { return cmp.Compare(b.day, a.day) })
		all = all[:maxRecords]
	}
	slices.SortFunc(all, func(a, b record) int {
		return compareKey(inodeKey{a.id.dev, a.id.ino}, inodeKey{b.id.dev, b.id.ino})
	})
	if err := writeRecords(c.path, all); err != nil {
		return fmt.Errorf("write stat cache: %w", err)
	}
	clear(c.added)
	return nil
}

func writeRecords(path string, all []record) error {
	buf := bytes.NewBuffer(make([]byte, 0, len(cacheMagic)+len(all)*recordSize+4))
	buf.WriteString(cacheMagic)
	for _, r := range all {
		buf.Write(r.encode())
	}
	sum := crc32.Checksum(buf.Bytes(), crc32.MakeTable(crc32.Castagnoli))
	buf.Write(binary.LittleEndian.AppendUint32(nil, sum))

	return files.Write(path, buf.Bytes(), files.Options{})
}

func compareKey(a, b inodeKey) int {
	return cmp.Or(cmp.Compare(a.dev, b.dev), cmp.Compare(a.ino, b.ino))
}

func keyAt(records []byte, i int) inodeKey {
	b := records[i*recordSize:]
	return inodeKey{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
}

func (r record) encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, recordSize)
	for _, v := range []uint64{r.id.dev, r.id.ino, uint64(r.id.size), uint64(r.id.mtime), uint64(r.id.ctime)} {
		b = le.AppendUint64(b, v)
	}
	b = append(b, r.sum[:]...)
	b = le.AppendUint32(b, r.day)
	b = append(b, byte(len(r.capability)))
	b = append(b, r.capability...)
	return b[:recordSize] // the rest of the fresh array is zero
}

func decodeRecord(b []byte) record {
	le := binary.LittleEndian
	r := record{
		id: identity{
			dev: le.Uint64(b), ino: le.Uint64(b[8:]), size: int64(le.Uint64(b[16:])),
			mtime: int64(le.Uint64(b[24:])), ctime: int64(le.Uint64(b[32:])),
		},
		sum: [32]byte(b[40:72]),
		day: le.Uint32(b[72:]),
	}
	if n := min(int(b[76]), maxCapability); n > 0 {
		r.capability = slices.Clone(b[77 : 77+n])
	}
	return r
}
