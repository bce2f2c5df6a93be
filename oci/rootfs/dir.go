package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
)

// SkippedError says that everything was written but some entries that a plain directory of a user cannot have.
type SkippedError struct {
	// Paths are the devices and fifos that were left out, in index order.
	Paths []string
}

func (e *SkippedError) Error() string {
	const shown = 5
	list := strings.Join(e.Paths[:min(shown, len(e.Paths))], ", ")
	if more := len(e.Paths) - shown; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return "devices and fifos left out: " + list
}

// WriteDir writes the merged file system of t into dir, which is made when it is not there, as the files of whoever calls:
//
//   - Owners, extended attributes, setuid and setgid are dropped: with the caller as owner they would mean something else.
//   - Permission bits, times of files and directories, symbolic links (with their target as it stands) and hard links are kept;
//     blocks of zeros become holes.
//   - Devices and fifos are left out; when all else is written they are reported by a *SkippedError.
//
// What is in dir already stays, but for what has the same path: a directory is merged with a directory, and anything else is
// removed first, a directory with all that is in it. Links in dir are replaced and never followed, also if another process puts
// them there meanwhile; nothing outside of dir is touched. On an error dir is left half written.
func WriteDir(ctx context.Context, dir string, t *tree.Tree, open Opener) error {
	err := writeDir(ctx, dir, t, open)
	var skipped *SkippedError
	if err != nil && !errors.As(err, &skipped) {
		return fmt.Errorf("write file system to %s: %w", dir, err)
	}
	return err
}

func writeDir(ctx context.Context, dir string, t *tree.Tree, open Opener) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	d := &dirWriter{root: root, open: open}
	if err := write(ctx, t, d); err != nil {
		return err
	}
	// Last, as writing into a directory changes its time and needs permission to; the inner ones first.
	for _, n := range slices.Backward(d.dirs) {
		if err := d.attributes(n); err != nil {
			return err
		}
	}
	if len(d.skipped) > 0 {
		return &SkippedError{d.skipped}
	}
	return nil
}

type dirWriter struct {
	root    *os.Root
	open    Opener
	dirs    []tree.Node
	skipped []string
}

func (d *dirWriter) entry(ctx context.Context, n tree.Node) error {
	switch n.Type {
	case index.Directory:
		d.dirs = append(d.dirs, tree.Node{Entry: index.Entry{Path: n.Path, Mode: n.Mode, MTime: n.MTime}})
		return d.mkdir(n.Path)
	case index.Regular:
		if err := d.clear(n.Path); err != nil {
			return err
		}
		return d.file(ctx, n)
	case index.Symlink:
		if err := d.clear(n.Path); err != nil {
			return err
		}
		return d.root.Symlink(n.Link, n.Path)
	}
	d.skipped = append(d.skipped, n.Path)
	return nil
}

func (d *dirWriter) link(n tree.Node, first string) error {
	switch n.Type {
	case index.Regular, index.Symlink:
		if err := d.clear(n.Path); err != nil {
			return err
		}
		return d.root.Link(first, n.Path)
	}
	d.skipped = append(d.skipped, n.Path)
	return nil
}

// clear removes what is at path.
func (d *dirWriter) clear(path string) error {
	_, err := d.root.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.root.RemoveAll(path)
}

// mkdir makes path a directory that the caller can write to.
func (d *dirWriter) mkdir(path string) error {
	info, err := d.root.Lstat(path)
	switch {
	case err == nil && info.IsDir():
		if info.Mode().Perm()&0o700 != 0o700 {
			return d.root.Chmod(path, 0o700)
		}
		return nil
	case err == nil:
		err = d.root.Remove(path)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		return err
	}
	return d.root.Mkdir(path, 0o700)
}

func (d *dirWriter) file(ctx context.Context, n tree.Node) error {
	f, err := d.root.OpenFile(n.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if n.Size > 0 {
		err = copyContent(ctx, &sparse{f: f}, n, d.open)
	}
	if err == nil {
		err = f.Truncate(n.Size) // a hole at the end
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return d.attributes(n)
}

// attributes sets mode and time of what was written here.
func (d *dirWriter) attributes(n tree.Node) error {
	mode := fs.FileMode(n.Mode) & fs.ModePerm
	if n.Mode&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	if err := d.root.Chtimes(n.Path, n.MTime, n.MTime); err != nil {
		return err
	}
	return d.root.Chmod(n.Path, mode)
}

// sparse writes to a new file and leaves out what is zero, in steps of a block.
type sparse struct {
	f  *os.File
	at int64
}

const block = 4096

// Write implements io.Writer.
func (s *sparse) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		part := p[done:min(len(p), done+block)]
		if !isZero(part) {
			part = p[done : done+dataLen(p[done:])]
			if n, err := s.f.WriteAt(part, s.at); err != nil {
				return done + n, err
			}
		}
		done += len(part)
		s.at += int64(len(part))
	}
	return done, nil
}

// dataLen is how much of p comes before its first block of zeros.
func dataLen(p []byte) int {
	for at := 0; at < len(p); at += block {
		if isZero(p[at:min(len(p), at+block)]) {
			return at
		}
	}
	return len(p)
}

func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
