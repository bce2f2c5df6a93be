package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/gofrs/flock"
)

// Listed is a container of the store.
type Listed struct {
	Record
	// Running says that its process lives.
	Running bool
}

// ErrNotFound is for a container that is not in the store.
var ErrNotFound = errors.New("no such container")

// ErrRunning is for a container that cannot be removed because its command runs.
var ErrRunning = errors.New("the container is running")

// List returns the containers of the store at root, the newest first. One that is being made or removed at this moment may be
// missing.
func List(root string) ([]Listed, error) {
	entries, err := os.ReadDir(containersDir(root))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var list []Listed
	for _, e := range entries {
		var l Listed
		data, err := os.ReadFile(filepath.Join(containersDir(root), e.Name(), "container.json"))
		if err != nil || json.Unmarshal(data, &l.Record) != nil {
			continue
		}
		free, lock := tryLock(root, e.Name())
		if free {
			lock.Close()
		}
		l.Running = !free
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b Listed) int { return b.Created.Compare(a.Created) })
	return list, nil
}

// Find returns the container with this name, or whose id begins so. The error is ErrNotFound, or says that there are several.
func Find(root, name string) (Listed, error) {
	list, err := List(root)
	if err != nil {
		return Listed{}, err
	}
	var found []Listed
	for _, l := range list {
		if l.Name == name && name != "" || l.ID == name {
			return l, nil
		}
		if name != "" && strings.HasPrefix(l.ID, name) {
			found = append(found, l)
		}
	}
	switch len(found) {
	case 0:
		return Listed{}, fmt.Errorf("%w: %s", ErrNotFound, name)
	case 1:
		return found[0], nil
	}
	return Listed{}, fmt.Errorf("%q is the beginning of %d container ids", name, len(found))
}

// Remove removes a container with what its command wrote, which only root of the user's namespace can. The error is
// ErrRunning while it runs.
func Remove(root, id string) error {
	free, lock := tryLock(root, id)
	if !free {
		return fmt.Errorf("remove container %s: %w", shortID(id), ErrRunning)
	}
	defer lock.Close()
	var r Record
	if data, err := os.ReadFile(filepath.Join(containersDir(root), id, "container.json")); err == nil {
		_ = json.Unmarshal(data, &r) // without it there is no name to remove
	}
	return removeContainer(root, id, r.Name)
}

// tryLock takes the lock that a running container holds.
func tryLock(root, id string) (bool, *flock.Flock) {
	lock := flock.New(filepath.Join(containersDir(root), id, "lock"), flock.SetFlag(syscall.O_CREAT|syscall.O_RDONLY))
	free, err := lock.TryLock()
	return free && err == nil, lock
}
