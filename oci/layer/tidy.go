package layer

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/oci/index"
)

// missing returns the names that are below and must be whited out, sorted: in a hidden directory all that have no file, else
// those that something else stands for.
func missing(files, others []found, below map[string]index.Entry, hidden bool) (gone []string) {
	if !hidden {
		for _, o := range others {
			if _, had := below[o.name]; had {
				gone = append(gone, o.name)
			}
		}
		return gone
	}
	for name := range below {
		if _, has := slices.BinarySearchFunc(files, name, func(f found, name string) int { return strings.Compare(f.name, name) }); !has {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	return gone
}

// tidier makes a directory that a RUN left say the same as its index, without help from opaque marks.
type tidier struct {
	fd      sys.FD
	others  []found
	gone    []string
	changed bool // something was made or removed
}

func (t *tidier) tidy(hidden bool) error {
	there := make(map[string]bool)
	for _, o := range t.others {
		if _, needed := slices.BinarySearch(t.gone, o.name); needed && o.absent() {
			there[o.name] = true
			continue
		}
		t.changed = true
		if err := sys.UnlinkAt(t.fd, o.name); err != nil {
			return err
		}
	}
	for _, name := range t.gone {
		if there[name] {
			continue
		}
		t.changed = true
		if err := sys.MknodAt(t.fd, name, unix.S_IFCHR, 0, 0); err != nil {
			return err
		}
	}
	if len(t.gone) == 0 && !hidden {
		return nil
	}
	xattrs, err := sys.XattrsAt(t.fd, ".")
	if err != nil {
		return err
	}
	return t.marks(xattrs)
}

// marks removes the directory's opaque mark, and makes overlayfs look for whiteouts in it even where it has nothing to merge.
func (t *tidier) marks(xattrs map[string]string) error {
	if _, marked := xattrs[originXattr]; !marked && len(t.gone) > 0 {
		if err := sys.SetXattrAt(t.fd, ".", originXattr, nil); err != nil {
			return err
		}
	}
	for _, attr := range []string{opaqueXattr, trustedOpaque} {
		if xattrs[attr] != "y" {
			continue
		}
		if err := sys.RemoveXattrAt(t.fd, ".", attr); err != nil {
			return err
		}
	}
	return nil
}
