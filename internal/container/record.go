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

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

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
	root string // of the store
	id   string
	name string
	lock *flock.Flock

	record Record
}

func (c *container) path(elem ...string) string {
	return filepath.Join(append([]string{containersDir(c.root), c.id}, elem...)...)
}

func containersDir(root string) string { return filepath.Join(root, "containers") }

// names are symbolic links to ids: making one is what takes a name.
func namesDir(root string) string { return filepath.Join(root, "containers", "names") }

// create makes the container's directory, locked, and takes the name.
func create(root string, img oci.Image, o Options, args []string) (*container, error) {
	if o.Name != "" && !validName.MatchString(o.Name) {
		return nil, &NameError{Name: o.Name}
	}
	if err := os.MkdirAll(namesDir(root), 0o700); err != nil {
		return nil, err
	}
	c := &container{root: root, id: newID(), name: o.Name}
	if err := os.Mkdir(c.path(), 0o700); err != nil {
		return nil, err
	}
	c.lock = flock.New(c.path("lock"))
	if err := c.lock.Lock(); err != nil {
		return nil, errors.Join(err, c.close(true))
	}
	c.record = Record{
		ID: c.id, Name: o.Name, Image: o.Image, ImageID: img.ConfigDescriptor.Digest.String(), Args: args,
		Created: time.Now().UTC().Truncate(time.Second), Remove: o.Remove,
	}
	err := c.write()
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
	return renameio.WriteFile(c.path("container.json"), append(data, '\n'), 0o600)
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
	link := filepath.Join(namesDir(c.root), c.name)
	for {
		err := os.Symlink(c.id, link)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		owner, err := os.Readlink(link)
		if err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(containersDir(c.root), owner)); err == nil {
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
		err = removeContainer(c.root, c.id, c.name)
	}
	if c.lock != nil {
		err = errors.Join(err, c.lock.Close())
	}
	return err
}

// removeContainer removes the name last: while it stands, its container does.
func removeContainer(root, id, name string) error {
	if err := removeAll(filepath.Join(containersDir(root), id)); err != nil {
		return fmt.Errorf("remove container %s: %w", shortID(id), err)
	}
	if name == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(namesDir(root), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove container name %s: %w", name, err)
	}
	return nil
}

// removeAll removes a tree in which directories may be closed to their owner, which overlayfs's work directory always is.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	walk := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && errors.Is(err, fs.ErrPermission) {
			if err := os.Chmod(path, 0o700); err != nil {
				return err
			}
			return removeAll(path)
		}
		return err
	})
	if walk != nil && !errors.Is(walk, fs.ErrNotExist) {
		return walk
	}
	return os.RemoveAll(dir)
}

// sweep removes containers that were to be removed and whose process was killed. What it cannot remove it leaves.
func sweep(root string) {
	entries, err := os.ReadDir(containersDir(root))
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.IsDir() || len(e.Name()) != 64 {
			continue
		}
		sweepOne(root, e.Name())
	}
}

func sweepOne(root, id string) {
	dir := filepath.Join(containersDir(root), id)
	var record Record
	data, err := os.ReadFile(filepath.Join(dir, "container.json"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Made a moment ago, or killed while it was made: only the lock and an age tell.
		if info, err := os.Stat(dir); err != nil || time.Since(info.ModTime()) < time.Minute {
			return
		}
	case err != nil || json.Unmarshal(data, &record) != nil || !record.Remove:
		return
	}
	if free, lock := tryLock(root, id); free {
		defer lock.Close()
		_ = removeContainer(root, id, record.Name)
	}
}
