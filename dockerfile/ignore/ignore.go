// Package ignore reads .dockerignore files and tells which paths of a context they hide. The patterns mean what they mean to
// BuildKit: one per line, "#" comments, Go's filepath.Match in every component, "**" for any number of them, "!" to show
// again what an earlier pattern hid, and a pattern that hides a directory hides all below it. The last pattern that matches a
// path, or one of its parents, decides.
package ignore

import (
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// Matcher holds the patterns of one ignore file. A nil Matcher hides nothing. It may be used from several goroutines; for
// walking a tree a Walker is faster.
type Matcher struct {
	patterns []string
	// shown are the components of the patterns with "!".
	shown [][]string

	mu sync.Mutex // the library compiles patterns while matching
	pm *patternmatcher.PatternMatcher
}

// Parse reads an ignore file. A byte order mark, CRLF and leading slashes are fine. A pattern that cannot be understood is an
// error that names it.
func Parse(r io.Reader) (*Matcher, error) {
	patterns, err := ignorefile.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read ignore file: %w", err)
	}
	return New(patterns)
}

// New makes a Matcher of patterns as lines of an ignore file have them, or as COPY --exclude has.
func New(patterns []string) (*Matcher, error) {
	m := &Matcher{patterns: patterns}
	for _, p := range patterns {
		if err := check(p); err != nil {
			return nil, fmt.Errorf("ignore pattern %q: %w", p, err)
		}
	}
	pm, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf("ignore patterns: %w", err)
	}
	m.pm = pm
	for _, p := range pm.Patterns() {
		if p.Exclusion() {
			m.shown = append(m.shown, strings.Split(p.String(), "/"))
		}
	}
	return m, nil
}

// check tries a pattern: some that the library takes it cannot match with later.
func check(p string) error {
	p = strings.TrimSpace(p)
	pm, err := patternmatcher.New([]string{strings.TrimPrefix(p, "!")})
	if err != nil {
		return err
	}
	_, err = pm.MatchesOrParentMatches("x")
	return err
}

// Empty reports that nothing is hidden.
func (m *Matcher) Empty() bool { return m == nil || len(m.pm.Patterns()) == 0 }

// Patterns returns the patterns, in order.
func (m *Matcher) Patterns() []string {
	if m == nil {
		return nil
	}
	return slices.Clone(m.patterns)
}

// Match reports whether a path is hidden. It is relative to the context, slash separated. The root itself is never hidden.
// Patterns do not tell files from directories; isDir is there for the reader of the call.
func (m *Matcher) Match(name string, isDir bool) bool {
	name = clean(name)
	if m.Empty() || name == "." {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	hidden, err := m.pm.MatchesOrParentMatches(name)
	return err == nil && hidden
}

// MayMatchBelow reports whether something below a hidden directory may be shown again by a pattern with "!". Where it is
// false the directory need not be read.
func (m *Matcher) MayMatchBelow(dir string) bool {
	if m.Empty() {
		return true
	}
	components := strings.Split(clean(dir), "/")
	if components[0] == "." {
		return true
	}
	return slices.ContainsFunc(m.shown, func(p []string) bool { return reachesBelow(p, components) })
}

// reachesBelow reports whether a pattern can match a path that lies below dir.
func reachesBelow(pattern, dir []string) bool {
	for i, component := range pattern {
		if strings.Contains(component, "**") {
			return true
		}
		if i == len(dir) {
			return true
		}
		if ok, err := filepath.Match(component, dir[i]); err == nil && !ok {
			return false
		}
	}
	return false
}

// Reason returns the pattern that hides a path, for messages; false when it is not hidden.
func (m *Matcher) Reason(name string) (pattern string, hidden bool) {
	if !m.Match(name, false) {
		return "", false
	}
	name = clean(name)
	for _, p := range slices.Backward(m.patterns) {
		if strings.HasPrefix(p, "!") {
			continue
		}
		if one, err := patternmatcher.New([]string{p}); err == nil {
			if ok, err := one.MatchesOrParentMatches(name); err == nil && ok {
				return p, true
			}
		}
	}
	return "", true
}

// HidesSource reports whether a source of COPY is surely hidden, for the lint rule CopyIgnoredFile: never when some pattern
// has "!", because it may show something below the source again, and the context as a whole only when a pattern hides all.
func (m *Matcher) HidesSource(source string) bool {
	if m.Empty() || len(m.shown) > 0 {
		return false
	}
	source = path.Clean(source)
	if source == "." || source == "/" {
		return slices.ContainsFunc(m.pm.Patterns(), func(p *patternmatcher.Pattern) bool {
			return slices.Contains([]string{"*", "**", "**/*"}, p.String())
		})
	}
	return m.Match(source, false)
}

func clean(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		return "."
	}
	return name
}

// Walker matches the paths of a walk in linear time: what is known of a directory is used for its entries. It belongs to one
// goroutine.
type Walker struct {
	m   *Matcher
	pm  *patternmatcher.PatternMatcher
	dir []level
}

// level is a directory on the way from the root to the current one.
type level struct {
	name string
	info patternmatcher.MatchInfo
}

// Walker returns a Walker. Any number of them may be in use at once.
func (m *Matcher) Walker() *Walker {
	w := &Walker{m: m}
	if !m.Empty() {
		// New has accepted the same patterns before.
		w.pm, _ = patternmatcher.New(m.patterns)
	}
	return w
}

// Match reports whether a path is hidden. A directory has to be asked for before its entries, and the entries before
// anything outside of it, as a walk in order does; other orders are right too, only slower. When prune is true
// nothing below the hidden directory is shown again either.
func (w *Walker) Match(name string, isDir bool) (hidden, prune bool) {
	name = clean(name)
	if w.pm == nil || name == "." {
		return false, false
	}
	for len(w.dir) > 0 && !strings.HasPrefix(name, w.dir[len(w.dir)-1].name+"/") {
		w.dir = w.dir[:len(w.dir)-1]
	}
	parent := patternmatcher.MatchInfo{}
	if n := len(w.dir); n > 0 && w.dir[n-1].name == path.Dir(name) {
		parent = w.dir[n-1].info
	}
	hidden, info, err := w.pm.MatchesUsingParentResults(name, parent)
	if err != nil {
		return false, false
	}
	if isDir {
		w.dir = append(w.dir, level{name, info})
	}
	return hidden, hidden && isDir && !w.m.MayMatchBelow(name)
}
