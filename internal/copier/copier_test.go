package copier

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cairnbuild/cairn/dockerfile/ignore"
	"github.com/cairnbuild/cairn/internal/contextdir"
	"github.com/cairnbuild/cairn/oci/index"
	"gotest.tools/v3/assert"
)

// d is a directory as COPY makes it, f a file from the context.
func d(path string) string          { return path + " directory 755 0:0" }
func f(path, content string) string { return path + " file 644 0:0 " + content }

func TestRow01DirectoryCopiesItsContents(t *testing.T) {
	src := contextOf(t, map[string]string{"sub/a": "1", "sub/e/b": "2", "sub/empty/": ""})
	for _, name := range []string{"sub", "sub/", "sub/.", "./sub", "/sub"} {
		got, _ := apply(t, nil, Request{Sources: items(name), From: src, Dest: "/x"})
		assert.DeepEqual(t, got, []string{d("x"), f("x/a", "1"), d("x/e"), f("x/e/b", "2"), d("x/empty")})
	}
	got, _ := apply(t, nil, Request{Sources: items("."), From: src, Dest: "/"})
	assert.DeepEqual(t, got, []string{d("sub"), f("sub/a", "1"), d("sub/e"), f("sub/e/b", "2"), d("sub/empty")})
}

func TestRow02SlashMakesADirectory(t *testing.T) {
	src := contextOf(t, map[string]string{"a": "1"})
	got, _ := apply(t, nil, Request{Sources: items("a"), From: src, Dest: "/x/y/"})
	assert.DeepEqual(t, got, []string{d("x"), d("x/y"), f("x/y/a", "1")})
	got, _ = apply(t, nil, Request{Sources: items("a"), From: src, Dest: "/x/y/."})
	assert.DeepEqual(t, got, []string{d("x"), d("x/y"), f("x/y/a", "1")})
}

func TestRow03And15And16RelativeDestination(t *testing.T) {
	src := contextOf(t, map[string]string{"foo": "1"})
	for _, tc := range []struct{ workdir, dest, want string }{
		{"/w", "./bar/baz", "w/bar/baz"}, {"/w", "bar", "w/bar"}, {"/w/v", "../bar", "w/bar"}, {"/w", "../../../bar", "bar"}, {"", "bar", "bar"},
		{"/w", "/bar", "bar"}, {"/w", "", "w/foo"}, {"/w", ".", "w/foo"}, {"/w", "./", "w/foo"}, {"/", "", "foo"}, {"/w", "..", "w"},
	} {
		got, _ := apply(t, nil, Request{Sources: items("foo"), From: src, Dest: tc.dest, Workdir: tc.workdir})
		if tc.dest == ".." { // the root is there, and a directory
			tc.want = "foo"
		}
		assert.Equal(t, got[len(got)-1], f(tc.want, "1"), "%+v", tc)
	}
}

func TestRow04FileOntoExistingDirectory(t *testing.T) {
	src := contextOf(t, map[string]string{"p/a": "1"})
	got, _ := apply(t, buildTree(t, "x d 750 5:6"), Request{Sources: items("p/a"), From: src, Dest: "/x"})
	assert.DeepEqual(t, got, []string{"x directory 750 5:6", f("x/a", "1")})
}

func TestRow05SeveralSourcesOntoOneFile(t *testing.T) {
	src := contextOf(t, map[string]string{"a": "1", "b": "2"})
	for _, r := range []Request{{Sources: items("a", "b")}, {Sources: items("*")}} {
		r.From, r.Dest = src, "/dest"
		got, res := apply(t, nil, r)
		assert.DeepEqual(t, got, []string{f("dest", "2")})
		assert.Equal(t, len(res.Warnings), 1)
		assert.Assert(t, strings.Contains(res.Warnings[0], `"/dest"`), res.Warnings[0])
	}
	_, res := apply(t, nil, Request{Sources: items("a", "b"), From: src, Dest: "/dest/"})
	assert.Equal(t, len(res.Warnings), 0)
	_, res = apply(t, buildTree(t, "dest d"), Request{Sources: items("a", "b"), From: src, Dest: "/dest"})
	assert.Equal(t, len(res.Warnings), 0)
}

func TestRow06KindsThatDoNotFit(t *testing.T) {
	src := contextOf(t, map[string]string{"dir/x/y": "1", "file": "2", "top/dir": "a file"})
	below := buildTree(t, "f f\nd d\nd/dir d\nx d")
	for _, r := range []Request{
		{Sources: items("dir"), Dest: "/f"},
		{Sources: items("dir"), Dest: "/f/"},
		{Sources: items("file"), Dest: "/f/"},
		{Sources: items("file"), Dest: "/f/g"},
		{Sources: items("top"), Dest: "/d"},
	} {
		r.From = src
		err := fails(t, below, r, "")
		var place *PlaceError
		assert.Assert(t, errors.As(err, &place), "%v", err)
	}
	fails(t, below, Request{Sources: items("dir"), From: src, Dest: "/f"}, "cannot copy to non-directory")
	fails(t, below, Request{Sources: items("top"), From: src, Dest: "/d"}, "cannot replace a directory with a file")
	got, _ := apply(t, below, Request{Sources: items("file"), From: src, Dest: "/f"})
	assert.DeepEqual(t, got, []string{f("f", "2")})
}

func TestRow07DestinationThroughSymlinks(t *testing.T) {
	src := contextOf(t, map[string]string{"a": "1"})
	below := buildTree(t, "real d 700 7:8\nabs l 777 0:0 /real\nrel l 777 0:0 real/in\nout l 777 0:0 ../../../real\ndangling l 777 0:0 /new/dir\n"+
		"file f 644 0:0 old\nlf l 777 0:0 /file\nloop l 777 0:0 loop")
	real := "real directory 700 7:8"
	for dest, want := range map[string][]string{
		"/abs/":        {real, f("real/a", "1")},
		"/abs":         {real, f("real/a", "1")},
		"/abs/b":       {real, f("real/b", "1")},
		"/out/b":       {real, f("real/b", "1")},
		"/rel/b":       {real, d("real/in"), f("real/in/b", "1")},
		"/dangling/":   {d("new"), d("new/dir"), f("new/dir/a", "1")},
		"/dangling":    {d("new"), f("new/dir", "1")},
		"/lf":          {f("file", "1")},
		"/abs/../x":    {f("x", "1")},
		"/../../x":     {f("x", "1")},
		"/dangling/x/": {d("new"), d("new/dir"), d("new/dir/x"), f("new/dir/x/a", "1")},
	} {
		got, _ := apply(t, below, Request{Sources: items("a"), From: src, Dest: dest})
		assert.DeepEqual(t, got, want)
	}
	fails(t, below, Request{Sources: items("a"), From: src, Dest: "/loop/x"}, "symbolic links")
	got, _ := apply(t, below, Request{Sources: items("."), From: src, Dest: "/abs"})
	assert.DeepEqual(t, got, []string{real, f("real/a", "1")})
}

func TestRow08And28eLinkKnowsNothingBelow(t *testing.T) {
	src := contextOf(t, map[string]string{"b": "1"})
	below := buildTree(t, "tmp d 1777\nusr d\nusr/lib d\nlib l 777 0:0 usr/lib\netc d")
	got, res := apply(t, below, Request{Sources: items("b"), From: src, Dest: "/tmp/", Link: true})
	assert.DeepEqual(t, got, []string{d("tmp"), f("tmp/b", "1")})
	assert.Equal(t, len(res.Warnings), 1)
	assert.Assert(t, strings.Contains(res.Warnings[0], "1777"), res.Warnings[0])
	got, res = apply(t, below, Request{Sources: items("b"), From: src, Dest: "/lib/zz", Link: true})
	assert.DeepEqual(t, got, []string{d("lib"), f("lib/zz", "1")})
	assert.Assert(t, strings.Contains(res.Warnings[0], "symbolic link"), res.Warnings[0])
	_, res = apply(t, below, Request{Sources: items("b"), From: src, Dest: "/etc/", Link: true})
	assert.Equal(t, len(res.Warnings), 0)
	one, r1 := apply(t, below, Request{Sources: items("b"), From: src, Dest: "/x/", Link: true})
	two, r2 := apply(t, nil, Request{Sources: items("b"), From: src, Dest: "/x/", Link: true})
	assert.DeepEqual(t, one, two)
	assert.Equal(t, r1.Index.ID(), r2.Index.ID())
}

func TestRow09SourceThatIsALink(t *testing.T) {
	src := contextOf(t, map[string]string{
		"d/f": "1", "lf": "-> d/f", "ld": "-> d", "abs": "-> /d", "up": "-> ../../../d/f", "e/through": "-> ../d", "dangling": "-> nope",
	})
	for _, tc := range []struct {
		src  string
		want []string
	}{
		{"lf", []string{d("x"), f("x/lf", "1")}},
		{"l[f]", []string{d("x"), f("x/lf", "1")}},
		{"ld", []string{d("x"), f("x/f", "1")}},
		{"ld*", []string{d("x"), f("x/f", "1")}},
		{"abs/f", []string{d("x"), f("x/f", "1")}},
		{"up", []string{d("x"), f("x/up", "1")}},
		{"e/through/f", []string{d("x"), f("x/f", "1")}},
		{"e/through/*", []string{d("x"), f("x/f", "1")}},
	} {
		got, _ := apply(t, nil, Request{Sources: items(tc.src), From: src, Dest: "/x/"})
		assert.DeepEqual(t, got, tc.want)
	}
	err := fails(t, nil, Request{Sources: items("dangling"), From: src, Dest: "/x/"}, "not found")
	assert.Assert(t, errors.Is(err, fs.ErrNotExist))

	stage := stageOf(t, "etc d\netc/passwd f 600 3:4 secret\nl l 777 0:0 /etc/passwd")
	got, _ := apply(t, nil, Request{Sources: items("l"), From: stage, Dest: "/"})
	assert.DeepEqual(t, got, []string{"l file 600 3:4 secret"})
}

func TestRow10LinksInsideADirectoryStayLinks(t *testing.T) {
	src := contextOf(t, map[string]string{"d/f": "1", "d/l": "-> f", "d/abs": "-> /etc/passwd", "d/dangling": "-> ../../nope", "d/dir": "-> ."})
	got, _ := apply(t, nil, Request{Sources: items("d"), From: src, Dest: "/x"})
	assert.DeepEqual(t, got, []string{
		d("x"), "x/abs symlink 0:0 -> /etc/passwd", "x/dangling symlink 0:0 -> ../../nope", "x/dir symlink 0:0 -> .", f("x/f", "1"),
		"x/l symlink 0:0 -> f",
	})
}

func TestRow11And12And17Wildcards(t *testing.T) {
	src := contextOf(t, map[string]string{
		"a.txt": "1", "b.txt": "2", "c.md": "3", "d/a.txt": "4", "d/e/a.txt": "5", "x[y]": "6", "s p": "7", "d2/q": "8", "l": "-> d",
	})
	for _, tc := range []struct {
		patterns []string
		want     []string
	}{
		{[]string{"*.txt"}, []string{f("x/a.txt", "1"), f("x/b.txt", "2")}},
		{[]string{"?.md"}, []string{f("x/c.md", "3")}},
		{[]string{"[ab].txt"}, []string{f("x/a.txt", "1"), f("x/b.txt", "2")}},
		{[]string{"*/a.txt"}, []string{f("x/a.txt", "4")}},
		{[]string{"*/*/a.txt"}, []string{f("x/a.txt", "5")}},
		{[]string{"**/a.txt"}, []string{f("x/a.txt", "4")}},
		{[]string{"d*"}, []string{f("x/a.txt", "4"), d("x/e"), f("x/e/a.txt", "5"), f("x/q", "8")}},
		{[]string{"x[[]y]"}, []string{f("x/x[y]", "6")}},
		{[]string{"s p"}, []string{f("x/s p", "7")}},
		{[]string{"c.md", "nomatch*"}, []string{f("x/c.md", "3")}},
		{[]string{"./d/../*.md"}, []string{f("x/c.md", "3")}},
	} {
		got, _ := apply(t, nil, Request{Sources: items(tc.patterns...), From: src, Dest: "/x/"})
		assert.DeepEqual(t, got, append([]string{d("x")}, tc.want...))
	}
	got, _ := apply(t, nil, Request{Sources: items("nomatch*"), From: src, Dest: "/x/"})
	assert.DeepEqual(t, got, []string{})
	fails(t, nil, Request{Sources: items("[a"), From: src, Dest: "/x/"}, "malformed")
	fails(t, nil, Request{Sources: items("nodir/*"), From: src, Dest: "/x/"}, "not found")
}

func TestRow13MissingSource(t *testing.T) {
	ig, err := ignore.Parse(strings.NewReader("*.log\n"))
	assert.NilError(t, err)
	dir := dirOf(t, map[string]string{"main.go": "", "src/index.html": "", "debug.log": ""})
	src, err := contextdir.Open(dir, ig, contextdir.Options{})
	assert.NilError(t, err)
	defer src.Close()
	for name, want := range map[string]NotFoundError{
		"maim.go":         {Nearest: "main.go"},
		"MAIN.GO":         {Nearest: "main.go"},
		"src/index.htm":   {Nearest: "src/index.html"},
		"scr/index.html":  {Nearest: "src/index.html"},
		"scr/x":           {Nearest: "src"},
		"entirely":        {},
		"debug.log":       {HiddenBy: "*.log"},
		"main.go/nothing": {},
	} {
		want.Source = name
		_, err := layerOf(t, nil, Request{Sources: items(name), From: src, Dest: "/"})
		if name == "main.go/nothing" {
			assert.Assert(t, errors.Is(err, syscall.ENOTDIR), "%v", err)
			continue
		}
		var got *NotFoundError
		assert.Assert(t, errors.As(err, &got), "%v", err)
		assert.DeepEqual(t, *got, want)
	}
}

func TestRow14SourceIsClippedToTheContext(t *testing.T) {
	src := contextOf(t, map[string]string{"f": "1", "d/g": "2"})
	for _, name := range []string{"../f", "/f", "../../../f", "d/../../f", "/../f"} {
		got, _ := apply(t, nil, Request{Sources: items(name), From: src, Dest: "/x/"})
		assert.DeepEqual(t, got, []string{d("x"), f("x/f", "1")})
	}
	got, _ := apply(t, nil, Request{Sources: items("../*"), From: src, Dest: "/x/"})
	assert.DeepEqual(t, got, []string{d("x"), f("x/f", "1"), f("x/g", "2")})
}

func TestRow24Heredoc(t *testing.T) {
	r := Request{Dest: "/x/", Sources: []Item{InlineItem("EOF", []byte("\n one\n"), now), InlineItem("two", []byte("2"), now)}}
	got, res := apply(t, nil, r)
	assert.DeepEqual(t, got, []string{d("x"), f("x/EOF", "\n one\n"), f("x/two", "2")})
	i, _ := res.Index.Find("x/EOF")
	assert.Equal(t, res.Index.At(i).MTime, now)
	r.Sources = r.Sources[:1]
	r.Dest, r.Chmod, r.Chown = "/run.sh", "+x", "5:6"
	got, _ = apply(t, nil, r)
	assert.DeepEqual(t, got, []string{"run.sh file 755 5:6 \n one\n"})
	r.Sources = []Item{InlineItem("a[b", []byte("x"), now)}
	r.Dest = "/"
	got, _ = apply(t, nil, r)
	assert.DeepEqual(t, got, []string{"a[b file 755 5:6 x"})
}

func TestRow26And27SpecialFiles(t *testing.T) {
	dir := dirOf(t, map[string]string{"f": "1"})
	assert.NilError(t, syscall.Mkfifo(filepath.Join(dir, "p"), 0o600))
	src, err := contextdir.Open(dir, nil, contextdir.Options{})
	assert.NilError(t, err)
	defer src.Close()
	got, _ := apply(t, nil, Request{Sources: items("."), From: src, Dest: "/x"})
	assert.DeepEqual(t, got, []string{d("x"), f("x/f", "1"), "x/p fifo 600 0:0"})
	got, _ = apply(t, nil, Request{Sources: items("p"), From: stageOf(t, "p p 640 1:2"), Dest: "/q"})
	assert.DeepEqual(t, got, []string{"q fifo 640 1:2"})
}

func TestRow28aDirectoryOntoALink(t *testing.T) {
	src := contextOf(t, map[string]string{"root/lib/x": "1", "root/etc/y": "2"})
	below := buildTree(t, "usr d\nusr/lib d\nlib l 777 0:0 usr/lib")
	err := fails(t, below, Request{Sources: items("root/"), From: src, Dest: "/"}, "cannot copy to non-directory")
	var place *PlaceError
	assert.Assert(t, errors.As(err, &place))
	assert.Equal(t, place.Path, "/lib")
	assert.Equal(t, place.Link, "usr/lib")
}

func TestRow28fLinkWithChownRoot(t *testing.T) {
	src := contextOf(t, map[string]string{"a": "1"})
	got, _ := apply(t, nil, Request{Sources: items("a"), From: src, Dest: "/x/", Link: true, Chown: "root"})
	assert.DeepEqual(t, got, []string{d("x"), f("x/a", "1")})
}

func TestRow28gNamesThatWouldBeWhiteouts(t *testing.T) {
	for _, name := range []string{".wh.foo", ".wh.", ".wh..wh..opq"} {
		src := contextOf(t, map[string]string{"d/" + name: "1"})
		for _, from := range []string{"d", "d/" + name} {
			err := fails(t, nil, Request{Sources: items(from), From: src, Dest: "/x/"}, "d/"+name)
			var bad *index.NameError
			assert.Assert(t, errors.As(err, &bad), "%v", err)
		}
	}
}

func TestSourcesThatAreTheSameFile(t *testing.T) {
	src := contextOf(t, map[string]string{"a": "1"})
	got, _ := apply(t, nil, Request{Sources: items("a", "a", "./a"), From: src, Dest: "/x/"})
	assert.DeepEqual(t, got, []string{d("x"), f("x/a", "1")})
}

// walks counts how often a source is asked what is there.
type walks struct {
	Source
	n int
}

func (w *walks) Resolve(ctx context.Context, path string) (File, error) {
	w.n++
	return w.Source.Resolve(ctx, path)
}

func (w *walks) ReadDir(ctx context.Context, dir string) ([]File, error) {
	w.n++
	return w.Source.ReadDir(ctx, dir)
}

func (w *walks) Fill(ctx context.Context, files []File) error {
	w.n++
	return w.Source.Fill(ctx, files)
}

// What the key says and what the layer holds come from one look at the sources.
func TestSourcesAreWalkedOnce(t *testing.T) {
	src := &walks{Source: contextOf(t, map[string]string{"d/a": "1", "d/e/b": "2", "t.tar": tarOf(t, reg("x", "y"))})}
	g, err := Gather(t.Context(), Request{
		Sources: []Item{{Pattern: "d"}, {Pattern: "*.tar", Unpack: true}}, From: src, Dest: "/x/",
		TempDir: func() (string, error) { return t.TempDir(), nil },
	})
	assert.NilError(t, err)
	looks := src.n
	assert.Assert(t, looks > 0)
	assert.Equal(t, len(slices.Collect(g.Inputs())), 5)
	for range 2 {
		res, err := g.Apply(t.Context(), nil)
		assert.NilError(t, err)
		assert.DeepEqual(t, show(t, res), []string{d("x"), f("x/a", "1"), d("x/e"), f("x/e/b", "2"), "x/x file 640 10:20 y"})
		assert.NilError(t, res.Close())
	}
	assert.Equal(t, src.n, looks)
}

func TestContextThatChangesAfterApply(t *testing.T) {
	dir := dirOf(t, map[string]string{"a": "1"})
	src, err := contextdir.Open(dir, nil, contextdir.Options{})
	assert.NilError(t, err)
	defer src.Close()
	_, res := apply(t, nil, Request{Sources: items("a"), From: src, Dest: "/"})
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "a"), []byte("2"), 0o644))
	rc, err := res.Open(t.Context(), res.Index.At(0))
	assert.NilError(t, err)
	_, err = io.ReadAll(rc)
	var changed *contextdir.ChangedError
	assert.Assert(t, errors.As(err, &changed), "%v", err)
}

func TestEpochClampsAllTimes(t *testing.T) {
	src := contextOf(t, map[string]string{"d/a": "1", "d/l": "-> a"})
	epoch := time.Unix(1000, 0)
	_, res := apply(t, nil, Request{Sources: items("d"), From: src, Dest: "/x/y", Epoch: &epoch})
	for e := range res.Index.Entries() {
		assert.Equal(t, e.MTime, epoch.UTC(), e.Path)
	}
}

func TestAccountFilesKeepTheirContent(t *testing.T) {
	src := contextOf(t, map[string]string{"etc/passwd": "me:x:5:6:::", "etc/other": "x"})
	_, res := apply(t, nil, Request{Sources: items("."), From: src, Dest: "/"})
	tr := buildTree(t).Push(res.Index)
	got, _ := apply(t, tr, Request{Sources: items("etc/other"), From: src, Dest: "/x", Chown: "me"})
	assert.DeepEqual(t, got, []string{"x file 644 5:6 x"})
}
