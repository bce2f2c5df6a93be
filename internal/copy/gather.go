package copy

import (
	"context"
	"path"
	"strings"

	"github.com/cairnbuild/cairn/oci/index"
	"github.com/moby/patternmatcher"
)

// item is one file of a match, on its way to the destination.
type item struct {
	File
	// rel is its path below the match, "" for the match itself.
	rel string
	// passed says that a directory is not itself copied, but stands above something that is.
	passed bool
}

// filter decides what of a directory is copied, with the meaning of .dockerignore's patterns.
type filter struct {
	include, exclude *patternmatcher.PatternMatcher
	// plain are the components of the include pattern before the first wildcard: nothing beside them is looked at.
	plain []string
}

// verdict is what a filter found about a path, to be used for the paths below it.
type verdict struct{ included, excluded patternmatcher.MatchInfo }

func newFilter(m match) (*filter, error) {
	f := &filter{}
	var err error
	if m.include != "" {
		if f.include, err = patterns("source", []string{m.include}); err != nil {
			return nil, err
		}
		for _, component := range strings.Split(m.include, "/") {
			if strings.ContainsAny(component, `*?[\!`) {
				break
			}
			f.plain = append(f.plain, component)
		}
	}
	if len(m.exclude) > 0 {
		f.exclude, err = patterns("--exclude", m.exclude)
	}
	return f, err
}

func patterns(option string, list []string) (*patternmatcher.PatternMatcher, error) {
	m, err := patternmatcher.New(list)
	if err == nil {
		_, err = m.MatchesOrParentMatches("x") // compiles them all
	}
	if err != nil {
		return nil, &OptionError{option, strings.Join(list, " "), "the pattern is malformed"}
	}
	return m, nil
}

// excluded says whether --exclude names a file that is a source itself.
func excluded(list []string, name string) (bool, error) {
	if len(list) == 0 {
		return false, nil
	}
	m, err := patterns("--exclude", list)
	if err != nil {
		return false, err
	}
	return m.MatchesOrParentMatches(name)
}

// check says whether rel is copied, and whether anything below it may be.
func (f *filter) check(rel string, above verdict) (take, below bool, v verdict, err error) {
	take, below = true, true
	if f.include != nil {
		if take, v.included, err = f.include.MatchesUsingParentResults(rel, above.included); err != nil {
			return false, false, v, err
		}
		below = take || f.reaches(rel)
	}
	if f.exclude != nil {
		hidden, info, err := f.exclude.MatchesUsingParentResults(rel, above.excluded)
		if err != nil {
			return false, false, v, err
		}
		v.excluded = info
		if hidden {
			take = false
			below = below && f.exclude.Exclusions()
		}
	}
	return take, below, v, nil
}

// reaches says whether the include pattern may match something below rel.
func (f *filter) reaches(rel string) bool {
	for i, component := range strings.Split(rel, "/") {
		if i == len(f.plain) {
			break
		}
		if component != f.plain[i] {
			return false
		}
	}
	return true
}

// gather lists a match with all below it that is copied, in index order, parents first, every file with its digest.
func gather(ctx context.Context, m match) ([]item, error) {
	f, err := newFilter(m)
	if err != nil {
		return nil, err
	}
	items := []item{{File: m.file}}
	if m.file.Type == index.Directory {
		if items, err = f.walk(ctx, m.from, items, verdict{}); err != nil {
			return nil, err
		}
	}
	files := make([]File, len(items))
	for i := range items {
		files[i] = items[i].File
	}
	if err := m.from.Fill(ctx, files); err != nil {
		return nil, err
	}
	for i := range items {
		items[i].File = files[i]
	}
	return items, nil
}

// walk appends what is below the last of items.
func (f *filter) walk(ctx context.Context, from Source, items []item, above verdict) ([]item, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir := items[len(items)-1]
	files, err := from.ReadDir(ctx, dir.Path)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		it := item{File: file, rel: path.Join(dir.rel, path.Base(file.Path))}
		take, below, v, err := f.check(it.rel, above)
		if err != nil {
			return nil, err
		}
		isDir := file.Type == index.Directory
		if !take && (!isDir || !below) {
			continue
		}
		it.passed = !take
		at := len(items)
		items = append(items, it)
		if isDir && below {
			if items, err = f.walk(ctx, from, items, v); err != nil {
				return nil, err
			}
		}
		if it.passed && len(items) == at+1 {
			items = items[:at] // nothing below it was taken
		}
	}
	return items, nil
}
