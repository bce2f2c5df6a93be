package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/oci/index"
)

func put(t testing.TB, b *Builder, lines ...string) {
	t.Helper()
	for _, l := range lines {
		kind, path, _ := strings.Cut(l, " ")
		if kind == "rm" {
			assert.NilError(t, b.Remove(path), l)
			continue
		}
		assert.NilError(t, b.Put(entryOf(l)), l)
	}
}

// brief is an index in the form of layerOf.
func brief(ix *index.Index) []string {
	lines := []string{}
	for e := range ix.Entries() {
		kind := e.Type.String()
		switch {
		case e.Type == index.Regular:
			kind = "f"
		case e.Opaque && e.Type == index.Directory:
			kind = "o"
		}
		l := kind + " " + e.Path
		if e.Link != "" {
			l += " " + e.Link
		}
		if e.Data != nil {
			l += " " + string(e.Data)
		}
		lines = append(lines, l)
	}
	return lines
}

func TestBuilder(t *testing.T) {
	below := []string{"d d", "f d/a 1", "d d/s", "f d/s/b 2", "f e 3", "l l d"}
	for name, c := range map[string]struct{ ops, want []string }{
		"parents come along":                 {[]string{"f d/s/x 9"}, []string{"d d", "d d/s", "f d/s/x 9"}},
		"remove":                             {[]string{"rm d/a"}, []string{"d d", "w d/a"}},
		"remove what is only here":           {[]string{"f n 1", "rm n"}, []string{}},
		"remove a directory":                 {[]string{"f d/n 1", "rm d"}, []string{"w d"}},
		"make it again":                      {[]string{"rm d", "d d", "f d/n 1"}, []string{"o d", "f d/n 1"}},
		"make a new one again":               {[]string{"d n", "rm n", "d n"}, []string{"d n"}},
		"file, then directory over one":      {[]string{"f d 1", "d d"}, []string{"o d"}},
		"directory over a file":              {[]string{"d e"}, []string{"d e"}},
		"directory over a link":              {[]string{"d l"}, []string{"d l"}},
		"directory over a directory":         {[]string{"f d/n 1", "d d"}, []string{"d d", "f d/n 1"}},
		"file over a directory of the layer": {[]string{"d n", "d n/m", "f n/m/x 1", "f n 2"}, []string{"f n 2"}},
		"opaque where nothing is":            {[]string{"o n"}, []string{"d n"}},
		"opaque inside opaque":               {[]string{"o d", "o d/s"}, []string{"o d", "d d/s"}},
		"links":                              {[]string{"f z 1", "h y z", "h x y"}, []string{"f x 1", "h y x", "h z x"}},
		"inode bequeathed on replacing":      {[]string{"f m 1", "h n m", "h o m", "f m 2"}, []string{"f m 2", "f n 1", "h o n"}},
		"inode bequeathed on removing":       {[]string{"f m 1", "h n m", "rm m"}, []string{"f n 1"}},
		"link removed, then inode":           {[]string{"f m 1", "h n m", "rm n", "rm m"}, []string{}},
		"link to itself":                     {[]string{"f m 1", "h n m", "h m n"}, []string{"f m 1", "h n m"}},
		"link over another inode":            {[]string{"f m 1", "h n m", "f o 2", "h m o"}, []string{"f m 2", "f n 1", "h o m"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBuilder(New(layerOf(t, below...)))
			put(t, b, c.ops...)
			ix, err := b.Index()
			assert.NilError(t, err)
			assert.Assert(t, !ix.Loose())
			assert.Assert(t, cmp.Equal(brief(ix), c.want), cmp.Diff(c.want, brief(ix)))
		})
	}
}

func TestBuilderKeepsTheParentsAttributes(t *testing.T) {
	base := index.NewBuilder()
	tmp := index.Entry{Path: "tmp", Type: index.Directory, Mode: 0o1777, UID: 3, GID: 4, MTime: time.Unix(99, 0).UTC(), Opaque: true, Xattrs: map[string]string{"user.a": "b"}}
	assert.NilError(t, base.Add(tmp))
	ix, err := base.Build()
	assert.NilError(t, err)
	b := NewBuilder(New(ix))
	put(t, b, "f tmp/x 1")
	out, err := b.Index()
	assert.NilError(t, err)
	tmp.Opaque, tmp.Offset = false, -1
	assert.DeepEqual(t, out.At(0), tmp)
}

func TestBuilderRefuses(t *testing.T) {
	b := NewBuilder(New(layerOf(t, "d d", "f f 1", "l l d")))
	var name *index.NameError
	assert.Assert(t, errors.As(b.Put(entryOf("f .wh.x 1")), &name))
	assert.Assert(t, errors.Is(b.Put(entryOf("f no/x 1")), fs.ErrNotExist))
	assert.Assert(t, errors.Is(b.Put(entryOf("f f/x 1")), syscall.ENOTDIR))
	assert.Assert(t, errors.Is(b.Put(entryOf("f l/x 1")), syscall.ENOTDIR))
	assert.Assert(t, errors.Is(b.Put(entryOf("h h f")), fs.ErrNotExist), "a link to a lower layer's file")
	assert.Assert(t, errors.Is(b.Remove("no"), fs.ErrNotExist))
	assert.Assert(t, errors.Is(b.Remove("."), fs.ErrNotExist))
	_, err := b.MkdirAll("f/x", 0o755, 0, 0, time.Time{})
	assert.Assert(t, errors.Is(err, syscall.ENOTDIR))
}

func TestMkdirAllReturnsWhatItMade(t *testing.T) {
	b := NewBuilder(New(layerOf(t, "d d")))
	made, err := b.MkdirAll("d/x/y", 0o700, 1, 2, time.Unix(5, 0))
	assert.NilError(t, err)
	assert.DeepEqual(t, made, []string{"d/x", "d/x/y"})
	made, err = b.MkdirAll("d/x", 0o755, 0, 0, time.Unix(5, 0))
	assert.NilError(t, err)
	assert.Equal(t, len(made), 0)
	n, _ := b.Lookup("d/x/y")
	assert.Equal(t, n.Entry.String(), `d 0700 1:2 0 5 "d/x/y"`)
}

// TestRandomOperations holds a Builder against a map that the same operations are done to.
func TestRandomOperations(t *testing.T) {
	for seed := range int64(400) {
		r := rand.New(rand.NewSource(seed))
		tr, m := New(), naive{}
		for layer := range 1 + r.Intn(3) {
			ix := randomLayer(t, r, 2)
			tr = tr.Push(ix)
			m.apply(layer, ix)
		}
		for p, s := range m { // only what is where matters here
			m[p] = bare(s)
		}
		b := NewBuilder(tr)
		for step := range 30 {
			operate(t, r, b, m, step)
			for _, p := range []string{"a", "a/b", "b/c/a", "c/a-"} {
				n, ok := b.Lookup(p)
				want, has := m[p]
				assert.Equal(t, ok, has, "seed %d step %d %s", seed, step, p)
				if ok {
					assert.Equal(t, bare(describe(n)), want, "seed %d step %d", seed, step)
				}
			}
		}
		after, err := b.Tree()
		assert.NilError(t, err)
		got := []string{}
		for _, l := range text(t, after) {
			got = append(got, bare(l))
		}
		assert.Assert(t, cmp.Equal(got, m.text()), "seed %d\n%s", seed, cmp.Diff(m.text(), got))
	}
}

// bare cuts layer and inode off a line of describe.
func bare(s string) string {
	_, s, _ = strings.Cut(s, ":")
	kind, rest, _ := strings.Cut(s, " ")
	path, data, _ := strings.Cut(rest, " ")
	path, _, _ = strings.Cut(path, "=")
	return strings.TrimRight(kind+" "+path+" "+data, " ")
}

func operate(t *testing.T, r *rand.Rand, b *Builder, m naive, step int) {
	names := []string{"a", "a-", "b", "c"}
	p := names[r.Intn(4)]
	for range r.Intn(3) {
		p += "/" + names[r.Intn(4)]
	}
	parent := index.Parent(p)
	kind := []string{"f", "d", "rm", "h"}[r.Intn(4)]
	inDir := parent == "." || strings.HasPrefix(m[parent], "d ")
	old, had := m[p]
	switch kind {
	case "rm":
		assert.Equal(t, b.Remove(p) == nil, had)
		m.remove(p)
		return
	case "h":
		var own []string
		for o, e := range b.own {
			if e.Type == index.Regular && o != p && !strings.HasPrefix(o, p+"/") {
				own = append(own, o)
			}
		}
		if len(own) == 0 || !inDir {
			return
		}
		slices.Sort(own)
		target := own[r.Intn(len(own))]
		data := string(b.own[target].Data)
		assert.NilError(t, b.Put(entryOf("h "+p+" "+target)))
		m.remove(p)
		m[p] = strings.TrimRight("- "+p+" "+data, " ")
		return
	}
	line := kind + " " + p
	if kind == "f" {
		line += fmt.Sprintf(" s%d", step)
	}
	err := b.Put(entryOf(line))
	assert.Equal(t, err == nil, inDir, "%s: %v", line, err)
	if err != nil {
		return
	}
	if kind == "f" || !strings.HasPrefix(old, "d ") {
		m.remove(p)
	}
	m[p] = bare("0:" + strings.Replace(line, "f ", "- ", 1))
}

func TestNormalise(t *testing.T) {
	below := []string{"d usr", "d usr/lib", "f usr/lib/a 1", "l lib usr/lib", "f file 2", "l out ../../usr", "d d", "f d/x 4", "h d/y d/x"}
	for name, c := range map[string]struct{ raw, want []string }{
		"28c: a name follows the link below":  {[]string{"i lib", "f lib/x 1"}, []string{"d usr", "d usr/lib", "f usr/lib/x 1"}},
		"28b: a directory replaces it":        {[]string{"d lib", "f lib/x 1", "f no/y 1"}, []string{"d lib", "f lib/x 1", "d no", "f no/y 1"}},
		"links do not lead out":               {[]string{"i out", "f out/x 1"}, []string{"d usr", "f usr/x 1"}},
		"missing parents are made":            {[]string{"i n", "i n/m", "f n/m/x 1"}, []string{"d n", "d n/m", "f n/m/x 1"}},
		"unnamed parents too":                 {[]string{"f n/m/x 1"}, []string{"d n", "d n/m", "f n/m/x 1"}},
		"hard link below":                     {[]string{"h z usr/lib/a"}, []string{"f z 1"}},
		"two hard links below":                {[]string{"h z d/x", "h zz d/y", "h zzz d/x"}, []string{"f z 4", "f zz 4", "h zzz z"}},
		"hard link below through a link":      {[]string{"h z lib/a"}, []string{"f z 1"}},
		"hard link to what is here by a link": {[]string{"i lib", "f lib/n 1", "h z usr/lib/n"}, []string{"d usr", "d usr/lib", "f usr/lib/n 1", "h z usr/lib/n"}},
		"whiteout through a link":             {[]string{"i lib", "w lib/a"}, []string{"d usr", "d usr/lib", "w usr/lib/a"}},
		"whiteout of nothing":                 {[]string{"i lib", "w lib/zz"}, []string{}},
		"opaque through a link":               {[]string{"oi lib", "f lib/x 1"}, []string{"d usr", "o usr/lib", "f usr/lib/x 1"}},
		"opaque root":                         {[]string{"o .", "d d", "f d/z 1"}, []string{"d .", "o d", "f d/z 1", "w file", "w lib", "w out", "w usr"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := index.NewBuilder()
			for _, l := range c.raw {
				opaque := strings.HasPrefix(l, "oi ")
				e := entryOf(strings.TrimPrefix(l, "o"))
				if !opaque {
					e = entryOf(l)
				}
				e.Opaque = e.Opaque || opaque
				assert.NilError(t, b.Add(e))
			}
			raw, err := b.Build()
			assert.NilError(t, err)
			assert.Assert(t, raw.Loose())
			ix, err := Normalise(t.Context(), raw, New(layerOf(t, below...)))
			assert.NilError(t, err)
			assert.Assert(t, !ix.Loose())
			assert.Assert(t, cmp.Equal(brief(ix), c.want), cmp.Diff(c.want, brief(ix)))
		})
	}
}

func TestNormaliseRefuses(t *testing.T) {
	below := New(layerOf(t, "f file 2", "d d", "l loop loop"))
	for name, c := range map[string]struct {
		raw []string
		err error
	}{
		"below a file":             {[]string{"i file", "f file/x 1"}, syscall.ENOTDIR},
		"through a loop":           {[]string{"i loop", "f loop/x 1"}, syscall.ELOOP},
		"hard link to nothing":     {[]string{"h a no"}, fs.ErrNotExist},
		"hard link to a directory": {[]string{"h a d"}, syscall.EISDIR},
	} {
		_, err := Normalise(t.Context(), layerOf(t, c.raw...), below)
		assert.Assert(t, errors.Is(err, c.err), "%s: %v", name, err)
	}
}

func TestNormaliseLeavesAStrictIndexAlone(t *testing.T) {
	ix := layerOf(t, "d a", "w a/b")
	got, err := Normalise(t.Context(), ix, New())
	assert.NilError(t, err)
	assert.Assert(t, got == ix)
}

func FuzzNormalise(f *testing.F) {
	f.Add(int64(1), "i lib\nf lib/x 1\nh z usr/lib/a\nw d/x\no .\nh q z")
	f.Fuzz(func(t *testing.T, seed int64, script string) {
		below := New(randomLayer(t, rand.New(rand.NewSource(seed)), 2), layerOf(t, "l lib a/../b", "l l ..", "l a- /c"))
		b := index.NewBuilder()
		for l := range strings.SplitSeq(script, "\n") {
			if b.Len() < 200 {
				_ = b.Add(entryOf(l))
			}
		}
		raw, err := b.Build()
		if err != nil {
			return
		}
		ix, err := Normalise(t.Context(), raw, below)
		if err != nil {
			return
		}
		assert.Assert(t, !ix.Loose())
		text(t, below.Push(ix))
	})
}
