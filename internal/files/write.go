package files

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cairnbuild/cairn/internal/sys"
)

// TempPrefix begins the names of the temporary files of this package.
const TempPrefix = ".tmp-"

// Options say how a file is written.
type Options struct {
	// Perm is the file's mode less the umask; 0 is 0600.
	Perm fs.FileMode
	// TempDir is where the file is written before it has its name: a directory of the same file system in which somebody
	// removes what killed processes leave. If empty it is written beside its place, without a name where that can be.
	TempDir string
	// Durable makes the content and the name survive a power cut once the call has returned.
	Durable bool
}

// Write makes path a file with this content, in place of any that is there: others see the old file or the new one. After a
// power cut it may be either, or empty, unless Durable. The error is fs.ErrNotExist when path's directory is missing.
func Write(path string, data []byte, o Options) error {
	if o.Perm == 0 {
		o.Perm = 0o600
	}
	create := Create
	if o.TempDir == "" {
		o.TempDir, create = filepath.Dir(path), CreateUnnamed
	}
	p, err := create(o.TempDir, o.Perm)
	if err != nil {
		return err
	}
	defer p.Close()
	if _, err := p.Write(data); err != nil {
		return err
	}
	return p.Replace(path, o.Durable)
}

// Pending is a file that does not have its name yet. One goroutine uses it at a time.
type Pending struct {
	*os.File
	dir  string
	temp string // its temporary name; empty when it has none
	perm fs.FileMode
}

// Create makes a temporary file in dir, for reading and writing, of mode perm less the umask. The caller closes it in any
// case.
func Create(dir string, perm fs.FileMode) (*Pending, error) {
	for {
		name := filepath.Join(dir, TempPrefix+RandomName())
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
		if err == nil {
			return &Pending{File: f, dir: dir, temp: name, perm: perm}, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
}

// CreateUnnamed is Create of a file that has no name at all, so that nothing is left of it however the process ends. On a
// file system without such files it is Create.
func CreateUnnamed(dir string, perm fs.FileMode) (*Pending, error) {
	f, err := sys.OpenUnnamed(dir, perm)
	if err != nil {
		return Create(dir, perm)
	}
	return &Pending{File: f, dir: dir, perm: perm}, nil
}

// Replace closes the file and gives it its name in one step, in place of what has that name. If durable, the content is synced
// before and the name after. After an error the Pending can only be closed.
func (p *Pending) Replace(path string, durable bool) error {
	return p.place(path, durable, os.Rename)
}

// Link is Replace that leaves alone what has that name: then the error is fs.ErrExist.
func (p *Pending) Link(path string, durable bool) error {
	return p.place(path, durable, func(temp, path string) error {
		return errors.Join(os.Link(temp, path), os.Remove(temp))
	})
}

func (p *Pending) place(path string, durable bool, as func(temp, path string) error) error {
	if durable {
		if err := p.Sync(); err != nil {
			return err
		}
	}
	if err := p.name(); err != nil {
		return err
	}
	// An error of close means lost data, so the name comes after it.
	if err := p.File.Close(); err != nil {
		return err
	}
	if err := as(p.temp, path); err != nil {
		return err
	}
	p.temp = ""
	if durable {
		return SyncDir(filepath.Dir(path))
	}
	return nil
}

// name gives an unnamed file a temporary name. Where a security module or the lack of /proc keeps it without one, a copy
// takes its place.
func (p *Pending) name() error {
	if p.temp != "" {
		return nil
	}
	temp := filepath.Join(p.dir, TempPrefix+RandomName())
	if err := sys.LinkOpen(p.File, temp); err == nil {
		p.temp = temp
		return nil
	}
	named, err := Create(p.dir, p.perm)
	if err != nil {
		return err
	}
	if _, err := io.Copy(named, io.NewSectionReader(p.File, 0, 1<<62)); err != nil {
		return errors.Join(err, named.Close())
	}
	old := p.File
	*p = *named
	return old.Close()
}

// Close drops the file unless it has its name. It may be called again.
func (p *Pending) Close() error {
	err := p.File.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	if p.temp != "" {
		if gone := os.Remove(p.temp); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
		p.temp = ""
	}
	return err
}

// Output writes the file that a user named, of mode 0666 less the umask: it appears whole or not at all, and nothing is left
// of one that was not finished. A path that is there and no regular file, such as a pipe or /dev/stdout, is written as it is.
// A directory is syscall.EISDIR. What write writes is buffered.
func Output(path string, write func(io.Writer) error) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		if info.IsDir() {
			return &fs.PathError{Op: "write", Path: path, Err: syscall.EISDIR}
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(Buffered(f, write), f.Close())
	}
	p, err := CreateUnnamed(filepath.Dir(path), 0o666)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := Buffered(p, write); err != nil {
		return err
	}
	return p.Replace(path, false)
}

// outputBuffer is the size in bytes of the buffer for large files.
const outputBuffer = 1 << 20

// Buffered calls write with a buffer before w.
func Buffered(w io.Writer, write func(io.Writer) error) error {
	b := bufio.NewWriterSize(w, outputBuffer)
	if err := write(b); err != nil {
		return err
	}
	return b.Flush()
}
