package owners

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"unicode/utf8"
)

// Table holds the records of files that cannot have the extended attribute, by their path in the layer. It may be used from
// several goroutines. Its file has one JSON object a line, sorted by path.
type Table struct {
	mu sync.Mutex
	m  map[string]Owner
}

// NewTable returns an empty Table.
func NewTable() *Table { return &Table{m: make(map[string]Owner)} }

// line is one line of the file; a path that is no UTF-8 is in Raw.
type line struct {
	Path string `json:"path,omitempty"`
	Raw  []byte `json:"raw,omitempty"`
	Owner
}

// maxLine bounds a line: a path has at most 4095 bytes, each at most six in JSON.
const maxLine = 64 << 10

// LoadTable reads the file that Save wrote. A missing one is an error for which errors.Is(err, fs.ErrNotExist).
func LoadTable(file string) (*Table, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("open owner table: %w", err)
	}
	defer f.Close()
	t, err := readTable(f)
	if err != nil {
		return nil, fmt.Errorf("read owner table %s: %w", file, err)
	}
	return t, nil
}

func readTable(r io.Reader) (*Table, error) {
	t := NewTable()
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	for n := 1; s.Scan(); n++ {
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		path := l.Path
		if path == "" {
			path = string(l.Raw)
		}
		if path == "" {
			return nil, fmt.Errorf("line %d: no path", n)
		}
		t.m[path] = l.Owner
	}
	return t, s.Err()
}

// Save writes the file. It is neither synced nor renamed into place: that is the caller's.
func (t *Table) Save(file string) (err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("create owner table: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := t.write(f); err != nil {
		return fmt.Errorf("write owner table: %w", err)
	}
	return nil
}

func (t *Table) write(w io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	for _, path := range slices.Sorted(maps.Keys(t.m)) {
		l := line{Path: path, Owner: t.m[path]}
		if !utf8.ValidString(path) {
			l.Path, l.Raw = "", []byte(path)
		}
		if err := enc.Encode(l); err != nil {
			return err
		}
	}
	return b.Flush()
}

// Get returns the record of path; the zero Owner when there is none. A nil Table has none.
func (t *Table) Get(path string) Owner {
	if t == nil {
		return Owner{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.m[path]
}

// Set records the owner of path; a zero Owner removes the record.
func (t *Table) Set(path string, o Owner) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o.IsZero() {
		delete(t.m, path)
		return
	}
	t.m[path] = o
}

// Records returns a copy of all records.
func (t *Table) Records() map[string]Owner {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.m)
}

// Len returns the number of records.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.m)
}
