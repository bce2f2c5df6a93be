package store

import (
	"os"
	"strings"

	"github.com/cairnbuild/cairn/internal/sys"
)

// Remember notes that something was found out about the store's file system which holds until the machine starts anew or the
// store is copied elsewhere, for processes of this one's id map. It is a convenience: that it can't be written is no error.
func (s *Store) Remember(what string) {
	_ = s.writeFile([]byte(s.circumstances()), false, "known-"+what)
}

// Remembers reports whether Remember was called with what under the same circumstances.
func (s *Store) Remembers(what string) bool {
	b, err := os.ReadFile(s.path("known-" + what))
	return err == nil && string(b) == s.circumstances()
}

// circumstances are those under which what is known stays true.
func (s *Store) circumstances() string {
	fs, err := sys.StatFS(s.root)
	if err != nil {
		return ""
	}
	return strings.Join([]string{s.host.boot, s.host.form, fs.Type, s.root}, "\n") + "\n"
}
