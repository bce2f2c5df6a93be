package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cairnbuild/cairn/internal/files"
)

// formatFile marks a directory as a store; formatText is its content: the version of the layout on disk.
const (
	formatFile = "format"
	formatText = "cairn store 1\n"
)

// rootDirs are the directories of a store. mounts and containers belong to others; they are named so that a store that was
// cut off while it was made is still known as one.
var rootDirs = []string{"oci", "layers", "names", "steps", "locks", "tmp", "mounts", "containers"}

// InsecureError says that the store's root is not the user's alone.
type InsecureError struct {
	Path string
	// Mode is the root's, UID its owner, and Want the user who must own it; ids as this process sees them.
	Mode      fs.FileMode
	UID, Want int
}

func (e *InsecureError) Error() string {
	if e.UID != e.Want {
		return fmt.Sprintf("%s belongs to user %d, not to %d", e.Path, e.UID, e.Want)
	}
	return fmt.Sprintf("%s has mode %04o: others can reach the setuid files of images in it (it must be 0700)", e.Path, e.Mode.Perm())
}

// FormatError says that a directory is no store of this program.
type FormatError struct {
	Path string
	// Format is what the store says it is; empty for a directory with something else in it.
	Format string
}

func (e *FormatError) Error() string {
	if e.Format == "" {
		return fmt.Sprintf("%s is not empty and no store", e.Path)
	}
	return fmt.Sprintf("%s has the format %q, which this version does not know", e.Path, e.Format)
}

// prepareRoot makes root a store if it is none, and checks that it is one and private.
func prepareRoot(root string) error {
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(root, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	format, err := os.ReadFile(filepath.Join(root, formatFile))
	switch {
	case err == nil && string(format) != formatText:
		return &FormatError{Path: root, Format: firstLine(string(format))}
	case err == nil:
		if err := checkRoot(root); err != nil {
			return err
		}
		return makeDirs(root)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return makeRoot(root)
}

// checkRoot holds the root to rule 15: owned by this user and open to nobody else.
func checkRoot(root string) error {
	info, err := os.Stat(root)
	if err != nil {
		return err
	}
	e := &InsecureError{Path: root, Mode: info.Mode(), UID: -1, Want: os.Geteuid()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		e.UID = int(st.Uid)
	}
	if e.UID != e.Want || info.Mode().Perm()&0o077 != 0 {
		return e
	}
	return nil
}

// makeRoot turns an empty directory, or one whose making was cut off, into a store. Whoever does it at the same time does the
// same; the format file comes last.
func makeRoot(root string) error {
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !ownName(e.Name()) {
			return &FormatError{Path: root}
		}
	}
	// A mkdir or a mount before us may have left it open; with nothing of ours in it there is nothing to protect yet.
	if err := os.Chmod(root, 0o700); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := checkRoot(root); err != nil {
		return err
	}
	if err := makeDirs(root); err != nil {
		return err
	}
	temp := filepath.Join(root, "."+formatFile+"-"+files.RandomName())
	if err := os.WriteFile(temp, []byte(formatText), 0o600); err != nil {
		os.Remove(temp)
		return err
	}
	return os.Rename(temp, filepath.Join(root, formatFile))
}

// makeDirs makes the directories that are missing, also in an old store from which somebody removed one.
func makeDirs(root string) error {
	for _, dir := range []string{"layers", "names", "steps", "locks", "tmp"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// ownName says whether a store can have such a name at its root.
func ownName(name string) bool {
	if name == "lost+found" || name == formatFile || name == indexCopy || name == reserveFile || strings.HasPrefix(name, "."+formatFile+"-") {
		return true
	}
	for _, dir := range rootDirs {
		if name == dir {
			return true
		}
	}
	return false
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line[:min(len(line), 80)]
}
