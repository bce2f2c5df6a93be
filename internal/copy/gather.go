package copy

import (
	"context"
	"slices"
	"strings"

	"github.com/cairnbuild/cairn/oci/index"
	"github.com/moby/patternmatcher"
)

// gathered are the files of a match, on their way to the destination, in index order, parents first. files and ways belong
// together one by one; they are apart because sources fill files.
type gathered struct {
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

func (g *gathered) at(i int) item { return item{&g.files[i], g.ways[i]} }

// add doubles the room when there is none: append grows by a quarter, which moves what may be a hundred thousand files a dozen times.
func (g *gathered) add(f File, w way) {
	if n := len(g.files); n == cap(g.files) {
		g.files, g.ways = slices.Grow(g.files, max(n, 64)), slices.Grow(g.ways, max(n, 64))
	}
	g.files = append(g.files, f)
	g.ways = append(g.ways, w)
}

func (g *gathered) cut(n int) { g.files, g.ways = g.files[:n], g.ways[:n] }

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

// gather lists a match with all below it that is copied, every file with its digest.
func gather(ctx context.Context, m match) (*gathered, error) {
	f, err := newFilter(m)
	if err != nil {
		return nil, err
	}
	g := &gathered{}
	g.add(m.file, way{})
	if m.file.Type == index.Directory {
		if err := g.walk(ctx, m.from, f, verdict{}); err != nil {
			return nil, err
		}
	}
	if m.must && len(g.files) == 1 {
		return nil, &OptionError{"--parents", m.include, "the path leads through a symbolic link, which --parents does not follow"}
	}
	return g, m.from.Fill(ctx, g.files)
}

// walk adds what is below the last of the files.
func (g *gathered) walk(ctx context.Context, from Source, f *filter, above verdict) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	dir := g.at(len(g.files) - 1)
	base := dir.rel // adding moves the files
	files, err := from.ReadDir(ctx, dir.Path)
	if err != nil {
		return err
	}
	for i := range files {
		isDir := files[i].Type == index.Directory
		rel := index.Base(files[i].Path)
		if base != "" {
			rel = base + "/" + rel
		}
		take, below, v, err := f.check(rel, above)
		if err != nil {
			return err
		}
		if !take && (!isDir || !below) {
			continue
		}
		n := len(g.files)
		g.add(files[i], way{rel, !take})
		if !isDir || !below {
			continue
		}
		if err := g.walk(ctx, from, f, v); err != nil {
			return err
		}
		if !take && len(g.files) == n+1 {
			g.cut(n) // nothing below it was taken
		}
	}
	return nil
}
