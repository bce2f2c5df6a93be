package layer

import (
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

// budget is what is left of the memory for one layer's metadata.
type budget struct{ limit, used int64 }

func newBudget(limit int64) budget {
	if limit <= 0 {
		limit = maxMetadata
	}
	return budget{limit: limit}
}

// take pays for one name with texts of so many bytes. What a later entry replaces is not paid back: that bounds time, too.
func (b *budget) take(bytes int) error {
	if b.used += nodeSize + int64(bytes); b.used > b.limit {
		return &BombError{b.limit}
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
