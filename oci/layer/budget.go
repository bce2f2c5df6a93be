package layer

import (
	"errors"
	"fmt"

	"github.com/cairnbuild/cairn/oci/index"
)

// maxMetadata is how much memory in bytes, estimated, the names and attributes of one layer may take while it is read: some four
// million files. A kilobyte of a compressed tar can hold thousands of entries.
const maxMetadata = 2 << 30

// nodeSize is about what one name costs beside its texts.
const nodeSize = 512

// BombError says that a layer has more files, or longer names and attributes, than are read into memory.
type BombError struct {
	// Limit is that of the memory, in bytes.
	Limit int64
}

func (e *BombError) Error() string {
	return fmt.Sprintf("the names and attributes of the layer's files take more than %d MiB of memory", e.Limit>>20)
}

// budget is what one layer's metadata may take: memory, and in the same measure the links that names lead through.
type budget struct{ limit, used, walked int64 }

// take pays for one name with texts of so many bytes. What a later entry replaces is not paid back: that bounds time, too.
func (b *budget) take(bytes int) error {
	if b.used += nodeSize + int64(bytes); b.used > b.limit {
		return &BombError{b.limit}
	}
	return nil
}

// follow pays for a walk through a symbolic link: in time, which a target of 4 kB with two thousand names in it takes again for
// each name of the tar that leads through it.
func (b *budget) follow(link string) error {
	const step = 64
	if b.walked += step + int64(len(link)); b.walked > b.limit {
		return errors.New("the names of the layer's files lead through symbolic links too often")
	}
	return nil
}

// textSize is how long the texts of an entry are.
func textSize(name string, e index.Entry) int {
	n := len(name) + len(e.Link)
	for attr, value := range e.Xattrs {
		n += len(attr) + len(value)
	}
	if keepsData(name, e.Size) {
		n += int(e.Size)
	}
	return n
}
