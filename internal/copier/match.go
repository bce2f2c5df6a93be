package copier

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/cairnbuild/cairn/oci/index"
	"github.com/moby/buildkit/util/suggest"
)

// match is one file or directory that an item names.
type match struct {
	from Source
	// name is its path as the item names it, before links are followed: its base is what a file is called at the destination.
	name string
	file File
	// include, if not empty, is the pattern (of --parents) of what to copy below file; exclude are those of --exclude.
	include string
	// must says that include is a plain name, which has to be there.
	must    bool
	exclude []string
	unpack  bool
}

// matchesOf finds what an item names. A plain name must be there; a wildcard may match nothing.
func matchesOf(ctx context.Context, r *Request, item Item) ([]match, error) {
	from := item.From
	if from == nil {
		from = r.From
	}
	pattern, include, must := item.Pattern, "", false
	if r.Parents && !item.Literal {
		pattern, include = pivot(item.Pattern)
		if must = !hasWildcards(item.Pattern) && include != "*"; must {
			if _, err := one(ctx, from, path.Clean("/"+item.Pattern), item.Pattern); err != nil {
				return nil, err
			}
		}
	}
	matches, err := glob(ctx, from, pattern, item)
	if err != nil {
		return nil, err
	}
	kept := matches[:0]
	for _, m := range matches {
		m.from, m.include, m.exclude, m.unpack = from, include, r.Exclude, item.Unpack
		m.must = must && len(r.Exclude) == 0
		// BuildKit applies --exclude only below a directory, so that "COPY --exclude=*.txt hom* /d/", the reference's own
		// example, leaves nothing out (moby/buildkit#5489). A file that a wildcard matched is checked here by its name.
		if m.file.Type != index.Directory && !item.Literal && hasWildcards(item.Pattern) {
			hidden, err := excluded(r.Exclude, path.Base(m.name))
			if err != nil {
				return nil, err
			}
			if hidden {
				continue
			}
		}
		kept = append(kept, m)
	}
	return kept, nil
}

// pivot cuts a source of --parents at its first "/./": the directories to start from, and the pattern whose path is kept.
func pivot(pattern string) (start, include string) {
	start, include, ok := strings.Cut(pattern, "/./")
	if !ok {
		start, include = "/", pattern
	}
	include = strings.TrimPrefix(path.Clean("/"+include), "/")
	if include == "" {
		include = "*" // all of it; BuildKit matches nothing here
	}
	return start, include
}

func glob(ctx context.Context, from Source, pattern string, item Item) ([]match, error) {
	clean := strings.TrimPrefix(path.Clean("/"+pattern), "/")
	if item.Literal || !hasWildcards(clean) {
		f, err := one(ctx, from, clean, item.Pattern)
		if err != nil {
			return nil, err
		}
		return []match{{name: clean, file: f}}, nil
	}
	var plain []string
	rest := strings.Split(clean, "/")
	for !hasWildcards(rest[0]) {
		plain, rest = append(plain, rest[0]), rest[1:]
	}
	for _, component := range rest {
		if _, err := path.Match(component, ""); err != nil {
			return nil, &OptionError{"source", item.Pattern, "the wildcard is malformed"}
		}
	}
	start, err := one(ctx, from, strings.Join(plain, "/"), item.Pattern)
	if err != nil {
		return nil, err
	}
	return descend(ctx, from, start, rest)
}

// descend matches the components of a wildcard below dir. Links are followed only where the last one matches.
func descend(ctx context.Context, from Source, dir File, rest []string) ([]match, error) {
	if dir.Type != index.Directory {
		return nil, nil
	}
	files, err := from.ReadDir(ctx, dir.Path)
	if err != nil {
		return nil, err
	}
	var matches []match
	for _, f := range files {
		if ok, _ := path.Match(rest[0], path.Base(f.Path)); !ok {
			continue
		}
		if len(rest) > 1 {
			below, err := descend(ctx, from, f, rest[1:])
			if err != nil {
				return nil, err
			}
			matches = append(matches, below...)
			continue
		}
		m := match{name: f.Path, file: f}
		if f.Type == index.Symlink {
			if m.file, err = one(ctx, from, f.Path, f.Path); err != nil {
				return nil, err
			}
		}
		matches = append(matches, m)
	}
	return matches, nil
}

// hasWildcards says whether a name has a character special to path.Match that is not escaped.
func hasWildcards(name string) bool {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '*', '?', '[':
			return true
		case '\\':
			i++
		}
	}
	return false
}

// one resolves a name that must be there; written is what the user wrote.
func one(ctx context.Context, from Source, name, written string) (File, error) {
	f, err := from.Resolve(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return File{}, notFound(ctx, from, name, written)
	}
	return f, err
}

// notFound looks for what was meant.
func notFound(ctx context.Context, from Source, name, written string) error {
	e := &NotFoundError{Source: written}
	if c, ok := from.(interface{ Hidden(string) (string, bool) }); ok {
		if e.Outside = outside(written); e.Outside {
			return e
		}
		if pattern, hidden := c.Hidden(name); hidden {
			e.HiddenBy = pattern
			return e
		}
	}
	parts := strings.Split(strings.TrimPrefix(path.Clean("/"+name), "/"), "/")
	dir := "."
	for i, part := range parts {
		next := path.Join(dir, part)
		if f, err := from.Resolve(ctx, next); err == nil {
			dir = f.Path
			continue
		}
		files, err := from.ReadDir(ctx, dir)
		if err != nil {
			break
		}
		if i := slices.IndexFunc(files, func(f File) bool { return path.Base(f.Path) == part }); i >= 0 {
			e.LinkPath, e.Link = files[i].Path, files[i].Link
			break
		}
		if near := nearest(part, files); near != "" {
			e.Nearest = path.Join(path.Join(parts[:i]...), near)
			whole := path.Join(e.Nearest, path.Join(parts[i+1:]...))
			if _, err := from.Resolve(ctx, whole); err == nil {
				e.Nearest = whole
			}
		}
		break
	}
	return e
}

// outside says whether a source as written leads above the root.
func outside(written string) bool {
	p := path.Clean(strings.TrimLeft(written, "/"))
	return p == ".." || strings.HasPrefix(p, "../")
}

// nearest returns the name most like s, upper and lower case being the same; "" when none is alike, and for one or two
// letters, which are as near to any others.
func nearest(s string, files []File) string {
	if len(s) < 3 {
		return ""
	}
	names := make(map[string]string, len(files)) // by how they are compared
	for _, f := range files {
		name := path.Base(f.Path)
		names[strings.ToLower(name)] = name
	}
	if name, ok := names[strings.ToLower(s)]; ok {
		return name // it differs in case only
	}
	best, _ := suggest.Search(strings.ToLower(s), slices.Sorted(maps.Keys(names)), true)
	return names[best]
}
