package layer

import (
	"archive/tar"
	"fmt"
	"strings"
	"time"

	"github.com/cairnbuild/cairn/internal/resolve"
	"github.com/cairnbuild/cairn/oci/index"
)

// entryOf translates a header, without its name.
func entryOf(h *tar.Header) (index.Entry, error) {
	e := index.Entry{Mode: uint32(h.Mode & 0o7777), UID: h.Uid, GID: h.Gid, MTime: time.Unix(h.ModTime.Unix(), 0).UTC(), Offset: -1}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		e.Type, e.Size = index.Regular, h.Size
	case tar.TypeDir:
		e.Type = index.Directory
	case tar.TypeSymlink:
		if len(h.Linkname) >= resolve.MaxPath {
			return e, fmt.Errorf("%q: symbolic link with a target of %d bytes, where %d are possible", resolve.Shorten(h.Name),
				len(h.Linkname), resolve.MaxPath-1)
		}
		e.Type, e.Link = index.Symlink, h.Linkname
	case tar.TypeLink:
		e.Type = index.Hardlink
	case tar.TypeChar, tar.TypeBlock:
		e.Type, e.Major, e.Minor = index.CharDevice, uint32(h.Devmajor), uint32(h.Devminor)
		if h.Typeflag == tar.TypeBlock {
			e.Type = index.BlockDevice
		}
	case tar.TypeFifo:
		e.Type = index.FIFO
	default:
		return e, fmt.Errorf("%q: entry of unknown type %q", resolve.Shorten(h.Name), h.Typeflag)
	}
	var err error
	if e.Type == index.Regular || e.Type == index.Directory { // what else can have some is not restored by anyone
		if e.Xattrs, err = tarXattrs(h.PAXRecords); err != nil {
			return e, fmt.Errorf("%q: %w", resolve.Shorten(h.Name), err)
		}
	}
	return e, nil
}

// physicalSize is how many bytes of content follow a header that is no sparse file's.
func physicalSize(h *tar.Header) int64 {
	if isSparse(h) {
		return 0 // read to its end by then
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont:
		return h.Size
	}
	return 0
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}
