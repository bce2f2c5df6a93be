package tree

import (
	"io/fs"
	"strings"
	"syscall"
	"time"

	"github.com/cairnbuild/cairn/oci/index"
)

// maxLinks is how many symbolic links one path may lead through.
const maxLinks = 255

// lookuper is what resolving needs: a Tree or a Builder.
type lookuper interface{ Lookup(p string) (Node, bool) }

// Resolve follows every symbolic link of p inside the root, with ".." clipped at it, and returns the path without links and
// what is there. p may be absolute. Errors are *fs.PathError with fs.ErrNotExist, syscall.ENOTDIR or syscall.ELOOP.
func (t *Tree) Resolve(p string) (string, Node, error) { return resolve(t, p) }

// ResolveNew follows the links of p, the last component's too, as far as it exists; what is missing is kept as named: where a
// COPY lands. existing says that all of it is there. Errors are *fs.PathError with syscall.ENOTDIR or syscall.ELOOP.
func (t *Tree) ResolveNew(p string) (real string, existing bool, err error) { return resolveNew(t, p) }

func resolve(t lookuper, p string) (string, Node, error) {
	real, existing, err := resolveNew(t, p)
	if err != nil {
		return "", Node{}, err
	}
	if existing {
		if n, ok := t.Lookup(real); ok {
			return real, n, nil
		}
	}
	return "", Node{}, &fs.PathError{Op: "resolve", Path: p, Err: fs.ErrNotExist}
}

func resolveNew(t lookuper, p string) (real string, existing bool, err error) {
	at, missing := ".", 0 // how many of at's last components do not exist
	rest := strings.Split(p, "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = index.Parent(at)
			missing = max(0, missing-1)
			continue
		}
		at = index.Join(at, name)
		if missing > 0 {
			missing++
			continue
		}
		n, ok := t.Lookup(at)
		switch {
		case !ok:
			missing = 1
		case n.Type == index.Symlink:
			if links++; links > maxLinks {
				return "", false, &fs.PathError{Op: "resolve", Path: p, Err: syscall.ELOOP}
			}
			at = index.Parent(at)
			if strings.HasPrefix(n.Link, "/") {
				at = "."
			}
			rest = append(strings.Split(n.Link, "/"), rest...)
		case n.Type != index.Directory && len(rest) > 0 && !trailing(rest):
			return "", false, &fs.PathError{Op: "resolve", Path: p, Err: syscall.ENOTDIR}
		}
	}
	return at, missing == 0, nil
}

// trailing reports whether nothing but slashes is left of a path.
func trailing(rest []string) bool {
	for _, name := range rest {
		if name != "" {
			return false
		}
	}
	return true
}

// defaultDirectory is a directory that nobody described.
func defaultDirectory(p string) index.Entry {
	return index.Entry{Path: p, Type: index.Directory, Mode: 0o755, MTime: time.Unix(0, 0).UTC(), Offset: -1}
}
