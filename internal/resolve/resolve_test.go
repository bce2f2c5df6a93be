package resolve_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/resolve"
)

// links is a tree of links in the root, by name; "d" is a directory that is in itself.
type links map[string]string

func (l links) walk(p string, mode resolve.Mode) (resolve.Result[int], int, error) {
	lookups := 0
	at, err := resolve.Walk(0, p, func(_ int, p string) (resolve.Found[int], error) {
		lookups++
		name := p[strings.LastIndexByte(p, '/')+1:]
		target, ok := l[name]
		switch {
		case name == "d":
			return resolve.Found[int]{Kind: resolve.Directory}, nil
		case ok:
			return resolve.Found[int]{Kind: resolve.Symlink, Link: target}, nil
		}
		return resolve.Found[int]{}, nil
	}, mode)
	return at, lookups, err
}

func chain(n int, end string) links {
	l := links{fmt.Sprint("l", n-1): end}
	for i := range n - 1 {
		l[fmt.Sprint("l", i)] = fmt.Sprint("/l", i+1)
	}
	return l
}

func TestBoundsOfAWalk(t *testing.T) {
	long := strings.Repeat("d/", resolve.MaxPath/2-1) + "d" // 4,095 bytes
	wide := chain(resolve.MaxLinks, "d")
	for i := range resolve.MaxLinks - 1 {
		wide[fmt.Sprint("l", i)] = strings.Repeat("d/../", 800) + fmt.Sprint("l", i+1)
	}
	for name, c := range map[string]struct {
		links links
		path  string
		want  error
	}{
		"as many links as the kernel follows": {chain(resolve.MaxLinks, "d"), "l0", nil},
		"one more":                            {chain(resolve.MaxLinks+1, "d"), "l0", syscall.ELOOP},
		"as many, twice":                      {chain(resolve.MaxLinks, "d"), "l0/l0", syscall.ELOOP},
		"a loop":                              {links{"a": "b", "b": "a"}, "a", syscall.ELOOP},
		"links that double":                   {links{"a": "b/b/b", "b": "a/a/a"}, "a/x", syscall.ELOOP},
		"a path of the greatest length":       {nil, long, nil},
		"one that is longer":                  {nil, long + "/", syscall.ENAMETOOLONG},
		"a megabyte of slashes":               {nil, strings.Repeat("/", 1<<20), syscall.ENAMETOOLONG},
		"such a target":                       {links{"l": strings.Repeat("/", 1<<20)}, "l", syscall.ENAMETOOLONG},
		"a target of the greatest length":     {links{"l": long}, "l", nil},
		"an empty target":                     {links{"l": ""}, "l", syscall.ENOENT},
		"a long name":                         {nil, "d/" + strings.Repeat("n", resolve.MaxName+1), syscall.ENAMETOOLONG},
		"a place that is too deep":            {links{"l": long}, "l/l", syscall.ENAMETOOLONG},
		"too many names":                      {wide, "l0", syscall.ELOOP},
	} {
		t.Run(name, func(t *testing.T) {
			for _, mode := range []resolve.Mode{0, resolve.KeepMissing} {
				_, lookups, err := c.links.walk(c.path, mode)
				assert.Assert(t, lookups <= resolve.MaxPath, "%d lookups", lookups)
				if c.want == nil {
					assert.NilError(t, err)
					continue
				}
				assert.Assert(t, errors.Is(err, c.want), "%v", err)
				assert.Assert(t, len(err.Error()) < 300, "%d bytes of message", len(err.Error()))
			}
		})
	}
}

func TestKeepMissing(t *testing.T) {
	l := links{"l": "/d/gone/x", "up": "gone/../d"}
	for path, want := range map[string]string{
		"gone/a/b": "gone/a/b", "gone/../d": "d", "gone/a/../../d/x": "d/x", "l": "d/gone/x", "l/y": "d/gone/x/y", "up/z": "d/z",
		"gone/..": ".", "gone/../../..": ".", "/": ".", "": ".", "d/.": "d", "gone//a/.": "gone/a",
	} {
		at, _, err := l.walk(path, resolve.KeepMissing)
		assert.NilError(t, err, path)
		assert.Equal(t, at.Path, want, path)
		assert.Equal(t, at.Kind == resolve.Missing, want != "." && want != "d", path)
	}
}

func TestErrorsOfALookupAreReturnedAsTheyAre(t *testing.T) {
	boom := errors.New("boom")
	_, err := resolve.Walk(0, "a/b", func(int, string) (resolve.Found[int], error) { return resolve.Found[int]{}, boom }, 0)
	assert.Equal(t, err, boom)
	_, _, err = links{}.walk("gone", 0)
	assert.Assert(t, errors.Is(err, fs.ErrNotExist))
}
