package container

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/oci"
)

// Record is what container.json says.
type Record struct {
	ID      string    `json:"id"`
	Name    string    `json:"name,omitempty"`
	Image   string    `json:"image"`
	ImageID string    `json:"imageId"`
	Args    []string  `json:"args"`
	Created time.Time `json:"created"`
	// ExitCode is the command's exit status; nil while it runs, and when nobody was there to see it end.
	ExitCode *int `json:"exitCode,omitempty"`
	// Remove says that the container is garbage when it does not run.
	Remove bool `json:"remove"`
}

// NameError says that a container's name is taken, or is none.
type NameError struct {
	Name string
	// Taken is the id of the container that has it; empty when the name is malformed.
	Taken string
}

func (e *NameError) Error() string {
	if e.Taken == "" {
		return fmt.Sprintf("container name %q: only letters, digits, _ . and - are allowed, and at least two of them", e.Name)
	}
	return fmt.Sprintf("container name %q is in use by container %s", e.Name, e.Taken)
}

// validName is docker's.
var validName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// container is one that this process made.
type container struct {
	dir  string // of all containers; see Store.Containers
	id   string
	name string
	lock *os.File

	record Record
}

func (c *container) path(elem ...string) string {
	return filepath.Join(append([]string{c.dir, c.id}, elem...)...)
}

// names are symbolic links to ids: making one is what takes a name.
func namesDir(dir string) string { return filepath.Join(dir, "names") }

// create makes the container's directory, locked, and takes the name.
func create(dir string, img oci.Image, o Options, args []string) (*container, error) {
	if o.Name != "" && !validName.MatchString(o.Name) {
		return nil, &NameError{Name: o.Name}
	}
	if err := os.MkdirAll(namesDir(dir), 0o700); err != nil {
		return nil, err
	}
	c := &container{dir: dir, id: newID(), name: o.Name}
	if err := os.Mkdir(c.path(), 0o700); err != nil {
		return nil, err
	}
	var err error
	if c.lock, err = files.TryLock(c.path("lock"), files.LockMode{Exclusive: true, Create: true}); c.lock == nil {
		return nil, errors.Join(err, c.close(true)) // without a lock there is an error: nobody else knows the id
	}
	c.record = Record{
		ID: c.id, Name: o.Name, Image: o.Image, ImageID: img.ConfigDescriptor.Digest.String(), Args: args,
		Created: time.Now().UTC().Truncate(time.Second), Remove: o.Remove,
	}
	err = c.write()
	if err == nil {
		err = c.takeName()
	}
	if err != nil {
		return nil, errors.Join(err, c.close(true))
	}
	return c, nil
}

// write replaces the record.
func (c *container) write() error {
	data, err := json.MarshalIndent(c.record, "", "  ")
	if err != nil {
		return err
	}
	return files.Write(c.path("container.json"), append(data, '\n'), files.Options{Durable: true})
}

// newID is 64 hexadecimal digits, as docker's.
func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// shortID is what people see.
func shortID(id string) string { return id[:12] }

// takeName links the name to the container. A name whose container is gone is free.
func (c *container) takeName() error {
	if c.name == "" {
		return nil
	}
	link := filepath.Join(namesDir(c.dir), c.name)
	for {
		err := os.Symlink(c.id, link)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		owner, err := os.Readlink(link)
		if err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(c.dir, owner)); err == nil {
			c.name = "" // it is not ours to give back
			return &NameError{Name: filepath.Base(link), Taken: shortID(owner)}
		}
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

// close ends the container's life in this process: it stays in the store, or is removed.
func (c *container) close(remove bool) error {
	var err error
	if remove {
		err = removeContainer(c.dir, c.id, c.name)
	}
	if c.lock != nil {
		err = errors.Join(err, c.lock.Close())
	}
	return err
}

// removeContainer removes the name last: while it stands, its container does.
func removeContainer(dir, id, name string) error {
	if err := files.RemoveAll(filepath.Join(dir, id)); err != nil {
		return fmt.Errorf("remove container %s: %w", shortID(id), err)
	}
	if name == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(namesDir(dir), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove container name %s: %w", name, err)
	}
	return nil
}

// sweep removes containers that were to be removed and whose process was killed. What it cannot remove it leaves.
func sweep(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.IsDir() || len(e.Name()) != 64 {
			continue
		}
		sweepOne(dir, e.Name())
	}
}

func sweepOne(dir, id string) {
	own := filepath.Join(dir, id)
	var record Record
	data, err := os.ReadFile(filepath.Join(own, "container.json"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Made a moment ago, or killed while it was made: only the lock and an age tell.
		if info, err := os.Stat(own); err != nil || time.Since(info.ModTime()) < time.Minute {
			return
		}
	case err != nil || json.Unmarshal(data, &record) != nil || !record.Remove:
		return
	}
	if lock := tryLock(dir, id); lock != nil {
		defer lock.Close()
		_ = removeContainer(dir, id, record.Name)
	}
}
