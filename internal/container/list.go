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

	"github.com/cairnbuild/cairn/internal/files"
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

// List returns the containers below dir (see Store.Containers), the newest first. One that is being made or removed at this moment may be
// missing.
func List(dir string) ([]Listed, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var list []Listed
	for _, e := range entries {
		var l Listed
		data, err := os.ReadFile(filepath.Join(dir, e.Name(), "container.json"))
		if err != nil || json.Unmarshal(data, &l.Record) != nil {
			continue
		}
		lock := tryLock(dir, e.Name())
		l.Running = lock == nil
		if lock != nil {
			lock.Close()
		}
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b Listed) int { return b.Created.Compare(a.Created) })
	return list, nil
}

// Find returns the container with this name, or whose id begins so. The error is ErrNotFound, or says that there are several.
func Find(dir, name string) (Listed, error) {
	list, err := List(dir)
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
func Remove(dir, id string) error {
	lock := tryLock(dir, id)
	if lock == nil {
		return fmt.Errorf("remove container %s: %w", shortID(id), ErrRunning)
	}
	defer lock.Close()
	var r Record
	if data, err := os.ReadFile(filepath.Join(dir, id, "container.json")); err == nil {
		_ = json.Unmarshal(data, &r) // without it there is no name to remove
	}
	return removeContainer(dir, id, r.Name)
}

// tryLock takes the lock that a running container holds; nil when it cannot. The caller closes it.
func tryLock(dir, id string) *os.File {
	lock, err := files.TryLock(filepath.Join(dir, id, "lock"), files.LockMode{Exclusive: true, Create: true})
	if err != nil {
		return nil
	}
	return lock
}
