package index

import (
	"fmt"
	"strings"
)

// Limits of the kernel that no entry may exceed, in bytes: no directory form could hold it.
const (
	maxPath = 4095
	maxName = 255
)

// WhiteoutPrefix marks a whiteout in a tar. No name in an index starts with it.
const WhiteoutPrefix = ".wh."

// NameError says that a path cannot be an entry of a layer.
type NameError struct {
	Path string
	Why  string
}

func (e *NameError) Error() string { return fmt.Sprintf("name %q %s", e.Path, e.Why) }

// Compare orders paths as an index does: component by component, so that '/' sorts before every other byte and a directory
// comes right before all that is in it. "." is the smallest.
func Compare(a, b string) int {
	if a == "." || b == "." {
		return compareRoot(a, b)
	}
	n := min(len(a), len(b))
	for i := range n {
		if a[i] == b[i] {
			continue
		}
		if a[i] == '/' {
			return -1
		}
		if b[i] == '/' || a[i] > b[i] {
			return 1
		}
		return -1
	}
	return len(a) - len(b)
}

func compareRoot(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == ".":
		return -1
	}
	return 1
}

// CheckPath returns a *NameError unless path can be that of an Entry: clean, relative, within the kernel's limits and without
// a component that readers of the layer would take for a whiteout.
func CheckPath(path string) error {
	switch {
	case path == ".":
		return nil
	case path == "":
		return &NameError{path, "is empty"}
	case len(path) > maxPath:
		return &NameError{path, fmt.Sprintf("is longer than %d bytes", maxPath)}
	case strings.IndexByte(path, 0) >= 0:
		return &NameError{path, "has a zero byte"}
	}
	for rest := path; ; {
		name, tail, more := strings.Cut(rest, "/")
		switch {
		case name == "" || name == "." || name == "..":
			return &NameError{path, "is not a clean relative path"}
		case len(name) > maxName:
			return &NameError{path, fmt.Sprintf("has a component longer than %d bytes", maxName)}
		case strings.HasPrefix(name, WhiteoutPrefix):
			return &NameError{path, "would be taken for a whiteout (" + WhiteoutPrefix + "*)"}
		}
		if !more {
			return nil
		}
		rest = tail
	}
}

// Parent returns the directory that path is in; "." for a top-level name and for "." itself.
func Parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return "."
}

// Base returns the last component of path.
func Base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// Join returns the path of name in dir, both clean.
func Join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}
