package copier

import (
	"context"
	"slices"
	"strings"

	"github.com/cairnbuild/cairn/oci/index"
	"github.com/moby/patternmatcher"
)

// Gathered is everything that a request copies, found once, with the digests of all contents: what goes into a cache key
// (Inputs) and what a layer is made of (Apply) come from the same value. May be used from several goroutines.
type Gathered struct {
	request Request
	found   []found
}

// Gather walks the sources of r and hashes their files. It looks at no destination. An archive that will be unpacked is one
// file. Errors: *NotFoundError for a missing source, *contextdir.ChangedError, and *OptionError for a bad pattern.
func Gather(ctx context.Context, r Request) (*Gathered, error) {
	g := &Gathered{request: r}
	for _, it := range r.Sources {
		matches, err := matchesOf(ctx, &r, it)
		if err != nil {
			return nil, err
		}
		for _, m := range matches {
			f, err := find(ctx, m)
			if err != nil {
				return nil, err
			}
			g.found = append(g.found, *f)
		}
	}
	return g, nil
}

// found are the files of a match, on their way to the destination, in index order, parents first. files and ways belong
// together one by one; they are apart because sources fill files.
type found struct {
	match
	files []File
	ways  []way
}

// way is where a file of a match goes.
type way struct {
	// rel is its path below the match, "" for the match itself.
	rel string
	// passed says that a directory is not itself copied, but stands above something that is.
	passed bool
}

// item is one of them.
type item struct {
	*File
	way
}

func (f *found) at(i int) item { return item{&f.files[i], f.ways[i]} }

// add doubles the room when there is none: append grows by a quarter, which moves what may be a hundred thousand files a
// dozen times.
func (f *found) add(file File, w way) {
	if n := len(f.files); n == cap(f.files) {
		f.files, f.ways = slices.Grow(f.files, max(n, 1)), slices.Grow(f.ways, max(n, 1))
	}
	f.files = append(f.files, file)
	f.ways = append(f.ways, w)
}

func (f *found) cut(n int) { f.files, f.ways = f.files[:n], f.ways[:n] }

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

// find lists a match with all below it that is copied, every file with its digest.
func find(ctx context.Context, m match) (*found, error) {
	filter, err := newFilter(m)
	if err != nil {
		return nil, err
	}
	f := &found{match: m}
	f.add(m.file, way{})
	if m.file.Type == index.Directory {
		if err := f.walk(ctx, filter, verdict{}); err != nil {
			return nil, err
		}
	}
	if m.must && len(f.files) == 1 {
		return nil, &OptionError{"--parents", m.include, "the path leads through a symbolic link, which --parents does not follow"}
	}
	return f, m.from.Fill(ctx, f.files)
}

// walk adds what is below the last of the files.
func (f *found) walk(ctx context.Context, filter *filter, above verdict) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	dir := f.at(len(f.files) - 1)
	base := dir.rel // adding moves the files
	files, err := f.from.ReadDir(ctx, dir.Path)
	if err != nil {
		return err
	}
	for i := range files {
		isDir := files[i].Type == index.Directory
		rel := index.Base(files[i].Path)
		if base != "" {
			rel = base + "/" + rel
		}
		take, below, v, err := filter.check(rel, above)
		if err != nil {
			return err
		}
		if !take && (!isDir || !below) {
			continue
		}
		n := len(f.files)
		f.add(files[i], way{rel, !take})
		if !isDir || !below {
			continue
		}
		if err := f.walk(ctx, filter, v); err != nil {
			return err
		}
		if !take && len(f.files) == n+1 {
			f.cut(n) // nothing below it was taken
		}
	}
	return nil
}
