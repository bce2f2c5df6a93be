// Package resolve walks a path through a tree that is not on the disk, following symbolic links inside the tree's root, as the
// kernel does on the disk for openat2(2) with RESOLVE_IN_ROOT: an absolute target starts again at the root, ".." stops there,
// and no link leads out. What the tree is made of is the caller's: a Walk asks a function for one name after the other.
//
// Paths and link targets come from images, archives and build contexts of other people. So a walk is bounded as the kernel's
// is, by the number of links and by the lengths of names, paths and targets, and also by the number of names that it looks up.
package resolve

import (
	"io/fs"
	"strings"
	"syscall"
)

// The kernel's limits, which hold here too.
const (
	// MaxLinks is how many symbolic links one walk may follow (MAXSYMLINKS of linux/namei.h).
	MaxLinks = 40
	// MaxPath is one more than the length in bytes of the longest path or link target (PATH_MAX of linux/limits.h).
	MaxPath = 4096
	// MaxName is the length in bytes of the longest component of a path (NAME_MAX of linux/limits.h).
	MaxName = 255
)

// maxLookups bounds the work of one walk. The kernel has no such limit: 40 links of 2,048 components each take it 80,000
// lookups. A path without links has at most 2,048 components.
const maxLookups = MaxPath

// Kind is what a name stands for, as far as a walk has to know.
type Kind int

// The kinds of a name. Other is anything that is neither a directory nor a symbolic link.
const (
	Missing Kind = iota
	Directory
	Symlink
	Other
)

// Found is what a Lookup found.
type Found[N any] struct {
	// Node is the caller's idea of what is there. That of a Directory, or of something Missing, is passed to the lookups of
	// the names in it.
	Node N
	Kind Kind
	// Link is the target of a Symlink.
	Link string
}

// Lookup finds the name at the end of path in the directory dir. The path is relative to the root and has no links, dots or
// empty components in it. A Lookup may make what is missing and return it as a Directory. Its errors end the walk and are
// returned as they are.
type Lookup[N any] func(dir N, path string) (Found[N], error)

// Mode changes how a walk treats what it finds. The zero value follows every link, and everything must be there.
type Mode int

const (
	// NoFollow leaves a symbolic link at the end of the path as it is, unless a slash follows it.
	NoFollow Mode = 1 << iota
	// KeepMissing goes on where a name is missing: it and those behind it are kept as they are written, and ".." takes one
	// of them away again. Nothing is looked up in a directory that is missing.
	KeepMissing
)

// Result is where a walk ended. With KeepMissing its Kind may be Missing; it is a Symlink with NoFollow only.
type Result[N any] struct {
	Found[N]
	// Path is the place without links, relative to the root, "." for the root itself.
	Path string
}

// Walk follows the path p from root. A leading slash means nothing, and the empty path is the root. Every error but those of
// look is an *fs.PathError with syscall.ENOENT, ENOTDIR, ELOOP or ENAMETOOLONG, in the cases in which the kernel gives them;
// more than maxLookups names are ELOOP as well.
func Walk[N any](root N, p string, look Lookup[N], mode Mode) (Result[N], error) {
	w := walk[N]{path: p, look: look, mode: mode, at: []Result[N]{{Found[N]{Node: root, Kind: Directory}, "."}}}
	err := w.push(p)
	for err == nil && w.next() {
		err = w.step()
	}
	if err != nil {
		return Result[N]{}, err
	}
	return w.here(), nil
}

// walk is the state of one Walk.
type walk[N any] struct {
	path string
	look Lookup[N]
	mode Mode
	// at are the places from the root to here. The last of them may be anything when nothing is left to walk.
	at []Result[N]
	// left is what is still to be walked: the end of the path, and above it the ends of the targets of the links that the
	// walk is in.
	left []tail
	// name is the component to be walked now, and last says that nothing but slashes is left behind it. When slash is set,
	// what it leads to must be a directory.
	name           string
	last, slash    bool
	links, lookups int
}

// tail is the rest of a path or of a link's target behind a component: a slash, if there was one, and what follows it.
type tail struct {
	slash bool
	text  string // does not begin with a slash
}

// push has s, a path or a target, walked before what is left already.
func (w *walk[N]) push(s string) error {
	if len(s) >= MaxPath {
		return w.fail(syscall.ENAMETOOLONG)
	}
	w.left = append(w.left, tail{text: strings.TrimLeft(s, "/")})
	return nil
}

// next takes the next component; false when there is none.
func (w *walk[N]) next() bool {
	for n := len(w.left) - 1; n >= 0; n-- {
		if w.left[n].text == "" {
			continue
		}
		name, text, slash := strings.Cut(w.left[n].text, "/")
		w.left = append(w.left[:n], tail{slash, strings.TrimLeft(text, "/")})
		w.name, w.last, w.slash = name, true, false
		for _, t := range w.left {
			w.last = w.last && t.text == ""
			w.slash = w.slash || t.slash
		}
		return true
	}
	return false
}

func (w *walk[N]) fail(err syscall.Errno) error {
	return &fs.PathError{Op: "resolve", Path: Shorten(w.path), Err: err}
}

func (w *walk[N]) here() Result[N] { return w.at[len(w.at)-1] }

// step walks one component. What it stands in is a directory, or missing.
func (w *walk[N]) step() error {
	switch w.name {
	case ".":
		return nil
	case "..":
		w.at = w.at[:max(1, len(w.at)-1)]
		return nil
	}
	dir := w.here()
	p := join(dir.Path, w.name)
	if len(w.name) > MaxName || len(p) >= MaxPath {
		return w.fail(syscall.ENAMETOOLONG)
	}
	found := Found[N]{}
	if dir.Kind == Directory {
		if w.lookups++; w.lookups > maxLookups {
			return w.fail(syscall.ELOOP)
		}
		var err error
		if found, err = w.look(dir.Node, p); err != nil {
			return err
		}
	}
	switch found.Kind {
	case Missing:
		if w.mode&KeepMissing == 0 {
			return w.fail(syscall.ENOENT)
		}
	case Symlink:
		if w.mode&NoFollow == 0 || !w.last || w.slash {
			return w.follow(found.Link)
		}
	case Other:
		if w.slash {
			return w.fail(syscall.ENOTDIR)
		}
	}
	w.at = append(w.at, Result[N]{found, p})
	return nil
}

// follow walks the target of a link that is in the directory where the walk is.
func (w *walk[N]) follow(target string) error {
	if w.links++; w.links > MaxLinks {
		return w.fail(syscall.ELOOP)
	}
	if target == "" {
		return w.fail(syscall.ENOENT)
	}
	if target[0] == '/' {
		w.at = w.at[:1]
	}
	return w.push(target)
}

func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

// Shorten makes a path fit into a message.
func Shorten(p string) string {
	const most = 200
	if len(p) <= most {
		return p
	}
	return strings.ToValidUTF8(p[:most], "") + "..."
}
