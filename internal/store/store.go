package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/oci/layout"
)

// Descriptor is the OCI descriptor.
type Descriptor = ispec.Descriptor

// Store is an open data directory.
type Store struct {
	root   string
	layout *layout.Layout
	host   host
	// foreign says that garbage was found which this process may not remove.
	foreign atomic.Bool

	mu      sync.Mutex
	closed  bool
	scratch *Temp
	pins    map[digest.Digest]*os.File
	layers  map[string]*layerState
	fresh   session
}

// host is what the store knows of the machine and the process, once.
type host struct {
	boot string
	form string
}

// session is what this Store has added and not yet synced.
type session struct {
	layers map[string]bool
	steps  map[digest.Digest]bool
	dirty  bool
}

// DefaultRoot is $CAIRN_ROOT, else $XDG_DATA_HOME/cairn, else ~/.local/share/cairn. A relative $XDG_DATA_HOME is ignored, as
// the XDG base directory specification says.
func DefaultRoot() (string, error) {
	if root := os.Getenv("CAIRN_ROOT"); root != "" {
		return filepath.Abs(root)
	}
	if data := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "cairn"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find data directory: %w", err)
	}
	return filepath.Join(home, ".local", "share", "cairn"), nil
}

// Open opens the store at root and makes it where there is none: a directory that does not exist or is empty. It removes what
// killed processes left behind, as far as this process may (see NeedsNamespaceToClean). The error is an *InsecureError when
// others could get at the store's files, which may be setuid. The caller closes the Store.
func Open(ctx context.Context, root string) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := prepareRoot(root); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{
		root:   root,
		host:   host{boot: bootID(), form: processForm()},
		pins:   map[digest.Digest]*os.File{},
		layers: map[string]*layerState{},
		fresh:  session{layers: map[string]bool{}, steps: map[digest.Digest]bool{}},
	}
	if err := s.openLayout(ctx); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if _, err := s.sweep(ctx); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.makeReserve()
	return s, nil
}

// openLayout opens the image layout, made under the index lock so that two first commands do not make it twice.
func (s *Store) openLayout(ctx context.Context) error {
	dir := filepath.Join(s.root, "oci")
	var err error
	if s.layout, err = layout.Open(dir); err == nil {
		return nil
	}
	unlock, err := s.lockIndex(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.restoreIndexJSON(); err != nil {
		return fmt.Errorf("create layout: %w", err)
	}
	if err := layout.Create(dir); err != nil {
		return fmt.Errorf("create layout: %w", err)
	}
	s.layout, err = layout.Open(dir)
	return err
}

// Downloads is the directory for what was fetched from elsewhere, which package fetch makes and tidies.
func (s *Store) Downloads() string { return s.path("fetch") }

// StatCache is the file with the digests of the files of build contexts, which package contextdir makes.
func (s *Store) StatCache() string { return s.path("statcache") }

// Containers is the directory with a directory for each container, which package container makes.
func (s *Store) Containers() string { return s.path("containers") }

// Form names the id map under which this process makes and reads layer directories: "record" where there is one id only,
// "chown" and the map where there are many, and "" for a process that is not root in a user namespace nor otherwise, which
// can do neither.
func (s *Store) Form() string { return s.host.form }

// NeedsNamespaceToClean says that there is garbage with owners that only root in the user's namespace may remove. Opening
// the store there removes it.
func (s *Store) NeedsNamespaceToClean() bool { return s.foreign.Load() }

// Close drops every lock and temporary file of this Store. Indexes that it gave out stay valid. It may be called twice.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	for _, f := range s.pins {
		f.Close() // opened for the lock only
	}
	for _, l := range s.layers {
		l.close()
	}
	if s.scratch == nil {
		return nil
	}
	return s.scratch.Close()
}

// path joins names to the root.
func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.root}, elem...)...)
}

// bootID tells one run of the kernel from the next. Where it cannot be read nothing counts as written in this boot.
func bootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown " + files.RandomName()
	}
	return strings.TrimSpace(string(data))
}

// processForm is the Form of this process.
func processForm() string {
	if os.Geteuid() != 0 {
		return ""
	}
	data, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return recordForm
	}
	form := formOf(string(data))
	if form == recordForm && sys.ChownWorks() { // in a sandbox that emulates owners
		return "chown emulated"
	}
	return form
}

// formOf derives the Form of root from the content of its uid_map.
func formOf(uidMap string) string {
	lines := strings.Split(strings.TrimSpace(uidMap), "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	if len(lines) == 1 && strings.HasSuffix(lines[0], " 1") {
		return recordForm
	}
	return "chown " + strings.Join(lines, ", ")
}

// errClosed is for a Store that was closed.
var errClosed = errors.New("store is closed")
