package copier

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnbuild/cairn/internal/contextdir"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
	"gotest.tools/v3/assert"
)

func TestRow18Parents(t *testing.T) {
	src := stageOf(t, `
		test d 755
		test/a d 700 1:1
		test/a/b d 711 2:2
		test/a/b/c d
		test/a/b/c/d d
		test/a/b/c/d/e d
		test/a/b/c/d/e/bay f 644 0:0 bay
		test/a/b/c/d/foo f 644 0:0 foo
		test/a/b/c2 d
		test/a/b/c2/d d
		test/a/b/c2/d/e d
		test/a/b/c2/d/e/baz f 644 0:0 baz
		test/a/b/c2/d/e2 d
		test/a/b/c2/d/e2/baz f 644 0:0 baz
		test/a/b2 d
		test/a/b2/c d
		test/a/b2/c/d d
		test/a/b2/c/d/e d
		test/a/b2/c/d/e/bar f 644 0:0 bar`)
	out := func(lines ...string) []string { return append([]string{d("out")}, lines...) }
	cd := []string{d("out/c/d"), d("out/c/d/e"), f("out/c/d/e/bay", "bay"), f("out/c/d/foo", "foo")}
	for _, tc := range []struct {
		sources []string
		want    []string
	}{
		{[]string{"/test/a/b/./c/d"}, out(append([]string{d("out/c")}, cd...)...)},
		{[]string{"/test/a/b/c/d/foo"}, out(d("out/test"), "out/test/a directory 700 1:1", "out/test/a/b directory 711 2:2", d("out/test/a/b/c"),
			d("out/test/a/b/c/d"), f("out/test/a/b/c/d/foo", "foo"))},
		{[]string{"./test/a/b/c/d/e/."}, out(d("out/test"), "out/test/a directory 700 1:1", "out/test/a/b directory 711 2:2", d("out/test/a/b/c"),
			d("out/test/a/b/c/d"), d("out/test/a/b/c/d/e"), f("out/test/a/b/c/d/e/bay", "bay"))},
		{[]string{"/test/a/./b2/./c"}, out(d("out/b2"), d("out/b2/c"), d("out/b2/c/d"), d("out/b2/c/d/e"), f("out/b2/c/d/e/bar", "bar"))},
		{[]string{"/test/a/./b2*/c"}, out(d("out/b2"), d("out/b2/c"), d("out/b2/c/d"), d("out/b2/c/d/e"), f("out/b2/c/d/e/bar", "bar"))},
		{[]string{"/test/a/b*/./c/**/e"}, out(d("out/c"), d("out/c/d"), d("out/c/d/e"), f("out/c/d/e/bar", "bar"), f("out/c/d/e/bay", "bay"))},
		{[]string{"/test/a/b/c*/./d/**/baz", "/test/a/b*/./c/**/bar"}, out(d("out/c"), d("out/c/d"), d("out/c/d/e"), f("out/c/d/e/bar", "bar"),
			d("out/d"), d("out/d/e"), f("out/d/e/baz", "baz"), d("out/d/e2"), f("out/d/e2/baz", "baz"))},
		{[]string{"/test/a/b/./nope*"}, out()},
		{[]string{"/test/a/nope*/c"}, out()},
	} {
		got, _ := apply(t, nil, Request{Sources: items(tc.sources...), From: src, Dest: "/out/", Parents: true})
		assert.DeepEqual(t, got, tc.want)
	}
	fails(t, nil, Request{Sources: items("/test/nonexistent"), From: src, Dest: "/out/", Parents: true}, "not found")
	all, _ := apply(t, nil, Request{Sources: items("."), From: src, Dest: "/out/", Parents: true})
	assert.Equal(t, len(all), 20)
}

func TestRow18ParentsAndLinks(t *testing.T) {
	src := contextOf(t, map[string]string{"d/f": "1", "l": "-> d", "d/to": "-> f"})
	fails(t, nil, Request{Sources: items("l/f"), From: src, Dest: "/x/", Parents: true}, "symbolic link")
	got, _ := apply(t, nil, Request{Sources: items("d/to"), From: src, Dest: "/x/", Parents: true})
	assert.DeepEqual(t, got, []string{d("x"), d("x/d"), "x/d/to symlink 0:0 -> f"})
	got, _ = apply(t, nil, Request{Sources: items("l/./f"), From: src, Dest: "/x/", Parents: true})
	assert.DeepEqual(t, got, []string{d("x"), f("x/f", "1")})
}

func TestRow18ParentsOverExistingDirectories(t *testing.T) {
	src := stageOf(t, "a d 700 1:1\na/b d 711 2:2\na/b/f f 600 3:3 x")
	got, _ := apply(t, buildTree(t, "out d 750 9:9\nout/a d 755 8:8"), Request{Sources: items("a/b/f"), From: src, Dest: "/out", Parents: true})
	// One that is only passed through gives its mode, not its owner.
	assert.DeepEqual(t, got, []string{"out directory 750 9:9", "out/a directory 700 8:8", "out/a/b directory 711 2:2", "out/a/b/f file 600 3:3 x"})
}

func TestRow19Exclude(t *testing.T) {
	src := contextOf(t, map[string]string{
		"d/a.txt": "1", "d/b.md": "2", "d/e/c.txt": "3", "d/e/deep/x": "4", "home1.txt": "5", "home2.md": "6", "home3": "7", "empty/e/": "",
	})
	for _, tc := range []struct {
		source  string
		exclude []string
		want    []string
	}{
		{"d", []string{"*.txt"}, []string{f("x/b.md", "2"), d("x/e"), f("x/e/c.txt", "3"), d("x/e/deep"), f("x/e/deep/x", "4")}},
		{"d", []string{"**/*.txt", "*.md"}, []string{d("x/e"), d("x/e/deep"), f("x/e/deep/x", "4")}},
		{"d", []string{"e"}, []string{f("x/a.txt", "1"), f("x/b.md", "2")}},
		{"d", []string{"e", "!e/deep"}, []string{f("x/a.txt", "1"), f("x/b.md", "2"), d("x/e"), d("x/e/deep"), f("x/e/deep/x", "4")}},
		{"d", []string{"*"}, []string{}},
		{".", []string{"d", "home*"}, []string{d("x/empty"), d("x/empty/e")}},
		{"hom*", []string{"*.txt", "*.md"}, []string{f("x/home3", "7")}},
		{"home1.txt", []string{"*.txt"}, []string{f("x/home1.txt", "5")}},
	} {
		got, _ := apply(t, nil, Request{Sources: items(tc.source), From: src, Dest: "/x/", Exclude: tc.exclude})
		assert.DeepEqual(t, got, append([]string{d("x")}, tc.want...))
	}
	fails(t, nil, Request{Sources: items("d"), From: src, Dest: "/x/", Exclude: []string{"[a"}}, "--exclude")
}

func TestRow29OwnerFromContextIsRoot(t *testing.T) {
	src := contextOf(t, map[string]string{"d/a": "1"})
	got, _ := apply(t, nil, Request{Sources: items("d"), From: src, Dest: "/x"})
	assert.DeepEqual(t, got, []string{d("x"), f("x/a", "1")})
}

// testCopyChownExistingDir of BuildKit.
func TestRow30And31And32OwnersFromAStage(t *testing.T) {
	src := stageOf(t, "file f 644 100:200 1\ndir d 700 100:200\ndir/subdir d 711 101:201\ndir/subdir/nested f 644 102:202 2")
	below := buildTree(t, "existing d 750 500:600\nexisting/file f 644 501:601 3\nexisting/sub d 705 501:601")
	for _, tc := range []struct {
		chown string
		r     Request
		want  []string
	}{
		{"", Request{Sources: items("/file"), Dest: "."}, []string{"file file 644 100:200 1"}},
		{"", Request{Sources: items("/dir"), Dest: "/dir"}, []string{
			d("dir"), "dir/subdir directory 711 101:201", "dir/subdir/nested file 644 102:202 2"}},
		{"", Request{Sources: items("/dir/."), Dest: "/existing"}, []string{
			"existing directory 750 500:600", "existing/subdir directory 711 101:201", "existing/subdir/nested file 644 102:202 2"}},
		{"300:400", Request{Sources: items("/file"), Dest: "/p/q"}, []string{"p directory 755 300:400", "p/q file 644 300:400 1"}},
		{"300:400", Request{Sources: items("/dir"), Dest: "/dir"}, []string{
			"dir directory 755 300:400", "dir/subdir directory 711 300:400", "dir/subdir/nested file 644 300:400 2"}},
		{"300:400", Request{Sources: items("/dir/."), Dest: "/existing"}, []string{
			"existing directory 750 500:600", "existing/subdir directory 711 300:400", "existing/subdir/nested file 644 300:400 2"}},
	} {
		tc.r.From, tc.r.Chown = src, tc.chown
		got, _ := apply(t, below, tc.r)
		assert.DeepEqual(t, got, tc.want)
	}
}

func TestRow32NestedDirectoryThatExistsGetsTheSourcesAttributes(t *testing.T) {
	src := stageOf(t, "dir d 700 100:200\ndir/sub d 711 101:201\ndir/sub/f f 644 1:1 2")
	below := buildTree(t, "x d 750 500:600\nx/sub d 705 501:601\nx/sub/old f 644 7:7 o")
	got, _ := apply(t, below, Request{Sources: items("dir"), From: src, Dest: "/x"})
	assert.DeepEqual(t, got, []string{"x directory 750 500:600", "x/sub directory 711 101:201", "x/sub/f file 644 1:1 2"})
	got, _ = apply(t, below, Request{Sources: items("dir"), From: src, Dest: "/x", Chown: "3:4", Chmod: "770"})
	assert.DeepEqual(t, got, []string{"x directory 750 500:600", "x/sub directory 770 3:4", "x/sub/f file 770 3:4 2"})
}

// accounts is a tree with these account files; empty ones are not there.
func accounts(t *testing.T, passwd, group string) *tree.Tree {
	t.Helper()
	b := tree.NewBuilder(tree.New())
	_, err := b.MkdirAll("etc", 0o755, 0, 0, now)
	assert.NilError(t, err)
	for name, text := range map[string]string{"etc/passwd": passwd, "etc/group": group} {
		if text != "" {
			assert.NilError(t, b.Put(index.Entry{Path: name, Type: index.Regular, Data: []byte(text)}))
		}
	}
	tr, err := b.Tree()
	assert.NilError(t, err)
	return tr
}

func TestRow33And34Owner(t *testing.T) {
	below := accounts(t, "root:x:0:0:root:/root:/bin/sh\nme:x:1000:1001::/home/me:/bin/sh\n1234:x:5:6:::\n",
		"root:x:0:\nstaff:x:50:me\n99:x:7:\n")
	owner := func(below *tree.Tree, spec string) (Owner, error) { return resolveOwner(below, "--chown", spec) }
	for _, tc := range []struct {
		spec     string
		uid, gid int
	}{
		{"55", 55, 55}, {"55:66", 55, 66}, {"me", 1000, 1001}, {"me:", 1000, 1001}, {"me:staff", 1000, 50}, {"me:7", 1000, 7}, {"55:staff", 55, 50},
		{"root", 0, 0}, {"root:staff", 0, 50}, {"me:root", 1000, 0}, {"0", 0, 0}, {"1234", 1234, 1234}, {":50", 0, 50}, {"1:99", 1, 99},
		{"4294967294", 4294967294, 4294967294},
	} {
		got, err := owner(below, tc.spec)
		assert.NilError(t, err, tc.spec)
		assert.Equal(t, got, Owner{tc.uid, tc.gid}, tc.spec)
	}
	for _, spec := range []string{"nobody", "me:nogroup", "", ":", "-1", "4294967295", "99999999999999999999", "1:-5"} {
		_, err := owner(below, spec)
		assert.ErrorContains(t, err, "--chown", spec)
	}
	for _, spec := range []string{"5", "5:6", "root:root"} { // a scratch image
		_, err := owner(tree.New(), spec)
		assert.NilError(t, err)
	}
	_, err := owner(tree.New(), "me")
	assert.ErrorContains(t, err, `no user "me"`)
	src := contextOf(t, map[string]string{"a": "1"})
	got, _ := apply(t, below, Request{Sources: items("a"), From: src, Dest: "/x/", Chown: "me:staff"})
	assert.DeepEqual(t, got, []string{"x directory 755 1000:50", "x/a file 644 1000:50 1"})
	fails(t, below, Request{Sources: items("a"), From: src, Dest: "/x/", Chown: "nobody"}, `invalid --chown "nobody": no user "nobody"`)
}

func TestRow35Chmod(t *testing.T) {
	dir := dirOf(t, map[string]string{"d/f": "1", "d/sh": "2", "d/l": "-> f", "d/e/": ""})
	assert.NilError(t, os.Chmod(filepath.Join(dir, "d/sh"), 0o700))
	assert.NilError(t, os.Chmod(filepath.Join(dir, "d/e"), 0o700))
	src, err := contextdir.Open(dir, nil, contextdir.Options{})
	assert.NilError(t, err)
	defer src.Close()
	link := "x/y/l symlink 0:0 -> f"
	for chmod, want := range map[string][]string{
		"640":         {"x directory 640 0:0", "x/y directory 640 0:0", "x/y/e directory 640 0:0", "x/y/f file 640 0:0 1", link, "x/y/sh file 640 0:0 2"},
		"7755":        {d("x"), d("x/y"), "x/y/e directory 7755 0:0", "x/y/f file 7755 0:0 1", link, "x/y/sh file 7755 0:0 2"},
		"u=rwX,go=rX": {d("x"), d("x/y"), d("x/y/e"), f("x/y/f", "1"), link, "x/y/sh file 755 0:0 2"},
		"go-rwx":      {d("x"), d("x/y"), "x/y/e directory 700 0:0", "x/y/f file 600 0:0 1", link, "x/y/sh file 700 0:0 2"},
		"u+s,g=u,o=":  {d("x"), d("x/y"), "x/y/e directory 4770 0:0", "x/y/f file 4660 0:0 1", link, "x/y/sh file 4770 0:0 2"},
	} {
		got, _ := apply(t, nil, Request{Sources: items("d"), From: src, Dest: "/x/y", Chmod: chmod})
		assert.DeepEqual(t, got, want)
	}
	fails(t, nil, Request{Sources: items("d"), From: src, Dest: "/x", Chmod: "888"}, "--chmod")
}

func TestRow36ModesOfTheContextAreKept(t *testing.T) {
	dir := dirOf(t, map[string]string{"d/f": "1"})
	assert.NilError(t, os.Chmod(filepath.Join(dir, "d/f"), 0o751|os.ModeSetuid|os.ModeSetgid))
	assert.NilError(t, os.Chmod(filepath.Join(dir, "d"), 0o777|os.ModeSticky))
	src, err := contextdir.Open(dir, nil, contextdir.Options{})
	assert.NilError(t, err)
	defer src.Close()
	got, _ := apply(t, nil, Request{Sources: items("."), From: src, Dest: "/"})
	assert.DeepEqual(t, got, []string{"d directory 1777 0:0", "d/f file 6751 0:0 1"})
}

func TestRow37TimesAreKept(t *testing.T) {
	dir := dirOf(t, map[string]string{"d/e/f": "1", "d/e/l": "-> f"})
	when := time.Unix(1_000_000_000, 999)
	for _, p := range []string{"d/e/f", "d/e", "d"} {
		assert.NilError(t, os.Chtimes(filepath.Join(dir, p), when, when))
	}
	src, err := contextdir.Open(dir, nil, contextdir.Options{})
	assert.NilError(t, err)
	defer src.Close()
	_, res := apply(t, buildTree(t, "p d\np/x d"), Request{Sources: items("d"), From: src, Dest: "/p/x"})
	for p, want := range map[string]time.Time{
		"p": now.Add(-time.Hour), "p/x": time.Unix(1_000_000_000, 0).UTC(), "p/x/e": time.Unix(1_000_000_000, 0).UTC(),
		"p/x/e/f": time.Unix(1_000_000_000, 0).UTC(),
	} {
		i, ok := res.Index.Find(p)
		assert.Assert(t, ok, p)
		assert.Equal(t, res.Index.At(i).MTime, want, p)
	}
	_, res = apply(t, nil, Request{Sources: items("d/e/f"), From: src, Dest: "/new/"})
	assert.Equal(t, res.Index.At(0).MTime, now)
}

func TestRow38HardLinksInsideOneSource(t *testing.T) {
	for name, src := range map[string]Source{
		"context": contextOf(t, map[string]string{"d/b": "1", "d/a": "=> d/b", "d/e/c": "=> d/b", "d/z": "1"}),
		"stage":   stageOf(t, "d d\nd/a f 644 0:0 1\nd/b h 0 0:0 d/a\nd/e d\nd/e/c h 0 0:0 d/a\nd/z f 644 0:0 1"),
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := apply(t, nil, Request{Sources: items("d"), From: src, Dest: "/x"})
			assert.DeepEqual(t, got, []string{d("x"), f("x/a", "1"), "x/b => x/a", d("x/e"), "x/e/c => x/a", f("x/z", "1")})
			got, _ = apply(t, nil, Request{Sources: items("d/b", "d/e"), From: src, Dest: "/x/"})
			assert.DeepEqual(t, got, []string{d("x"), f("x/b", "1"), f("x/c", "1")})
			got, _ = apply(t, nil, Request{Sources: items("d"), From: src, Dest: "/x", Exclude: []string{"a"}})
			assert.DeepEqual(t, got, []string{d("x"), f("x/b", "1"), d("x/e"), "x/e/c => x/b", f("x/z", "1")})
		})
	}
}

func TestRow38LinkThatIsOverwrittenLeavesTheInodeToTheOthers(t *testing.T) {
	src := contextOf(t, map[string]string{"d/a": "1", "d/b": "=> d/a", "d/c": "=> d/a", "n/a": "2"})
	got, _ := apply(t, nil, Request{Sources: items("d", "n"), From: src, Dest: "/x/"})
	assert.DeepEqual(t, got, []string{d("x"), f("x/a", "2"), f("x/b", "1"), "x/c => x/b"})
}

func TestRow39SparseFiles(t *testing.T) {
	dir := dirOf(t, map[string]string{"f": "start"})
	assert.NilError(t, os.Truncate(filepath.Join(dir, "f"), 3<<20))
	src, err := contextdir.Open(dir, nil, contextdir.Options{})
	assert.NilError(t, err)
	defer src.Close()
	_, res := apply(t, nil, Request{Sources: items("f"), From: src, Dest: "/"}) // which reads and compares it
	assert.Equal(t, res.Index.At(0).Size, int64(3<<20))
}

func TestRow40FileCapabilities(t *testing.T) {
	src := &xattrSource{stageOf(t, "d d\nd/f f 755 1:2 x")}
	_, res := apply(t, nil, Request{Sources: items("d"), From: src, Dest: "/x", Chown: "3"})
	i, _ := res.Index.Find("x/f")
	assert.DeepEqual(t, res.Index.At(i).Xattrs, map[string]string{"security.capability": "cap"})
}

func TestStageLayersAreCopiedAsOneTree(t *testing.T) {
	src := stageOf(t, "d d\nd/old f 644 0:0 old\nd/gone f 644 0:0 x\nd/both f 644 0:0 1", "d d 711 1:1\nd/gone w\nd/both f 600 2:2 2\nd/new f 644 0:0 new")
	got, _ := apply(t, nil, Request{Sources: items("d/*"), From: src, Dest: "/x/"})
	assert.DeepEqual(t, got, []string{d("x"), "x/both file 600 2:2 2", f("x/new", "new"), f("x/old", "old")})
}

func TestInputsNameEverythingButTimes(t *testing.T) {
	files := map[string]string{"d/a": "1", "d/l": "-> a", "d/e/": "", "d/h": "=> d/a", "other": "x"}
	base := func(t *testing.T) (string, Request) {
		dir := dirOf(t, files)
		src, err := contextdir.Open(dir, nil, contextdir.Options{})
		assert.NilError(t, err)
		t.Cleanup(func() { src.Close() })
		return dir, Request{Sources: items("d"), From: src, Dest: "/x"}
	}
	read := func(t *testing.T, r Request) []Input {
		g, err := Gather(t.Context(), r)
		assert.NilError(t, err)
		return slices.Collect(g.Inputs())
	}
	sum := func(t *testing.T, r Request) string {
		var all []string
		for _, in := range read(t, r) {
			all = append(all, in.Name, in.Digest().String())
		}
		return strings.Join(all, " ")
	}
	_, r := base(t)
	want := sum(t, r)
	m := read(t, r)
	var names []string
	for _, in := range m {
		names = append(names, in.Name)
	}
	assert.DeepEqual(t, names, []string{"d", "d/a", "d/e", "d/h", "d/l"})
	assert.Equal(t, m[3].Entry.Type, index.Hardlink)
	assert.Equal(t, m[1].Detail()[:13], "- 0644 0:0 1 ")
	for name, tc := range map[string]struct {
		change func(dir string) error
		same   bool
	}{
		"nothing":   {func(string) error { return nil }, true},
		"time":      {func(d string) error { return os.Chtimes(d+"/d/a", time.Unix(9, 9), time.Unix(9, 9)) }, true},
		"unrelated": {func(d string) error { return os.WriteFile(d+"/other", []byte("y"), 0o600) }, true},
		"root mode": {func(d string) error { return os.Chmod(d+"/d", 0o700) }, true},
		"content":   {func(d string) error { return os.WriteFile(d+"/d/a", []byte("2"), 0o600) }, false},
		"mode":      {func(d string) error { return os.Chmod(d+"/d/a", 0o600) }, false},
		"dir mode":  {func(d string) error { return os.Chmod(d+"/d/e", 0o700) }, false},
		"new":       {func(d string) error { return os.WriteFile(d+"/d/e/n", nil, 0o600) }, false},
		"removed":   {func(d string) error { return os.Remove(d + "/d/e") }, false},
		"renamed":   {func(d string) error { return os.Rename(d+"/d/e", d+"/d/E") }, false},
		"unlinked":  {func(d string) error { os.Remove(d + "/d/h"); return os.WriteFile(d+"/d/h", []byte("1"), 0o644) }, false},
		"target":    {func(d string) error { os.Remove(d + "/d/l"); return os.Symlink("b", d+"/d/l") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir, r := base(t)
			assert.NilError(t, tc.change(dir))
			assert.Equal(t, sum(t, r) == want, tc.same)
		})
	}
}

func TestRow73And74Workdir(t *testing.T) {
	below := buildTree(t, "d d 700 7:8\ns l 777 0:0 /d\nf f 644 0:0 x\netc d 711 9:9")
	for _, tc := range []struct {
		path string
		want []string
	}{
		{"/a/b", []string{"a directory 755 5:6", "a/b directory 755 5:6"}},
		{"/etc", []string{}}, {"/", []string{}}, {"", []string{}},
		{"/etc/x", []string{"etc directory 711 9:9", "etc/x directory 755 5:6"}},
		{"/s/w", []string{"d directory 700 7:8", "d/w directory 755 5:6"}},
		{"/s/../../q", []string{"q directory 755 5:6"}},
	} {
		ix, err := Workdir(below, tc.path, "5:6", now.Add(time.Millisecond))
		assert.NilError(t, err)
		assert.DeepEqual(t, show(t, &Result{Index: ix}), tc.want)
	}
	_, err := Workdir(below, "/f/x", "", now)
	assert.ErrorContains(t, err, "/f/x")
	_, err = Workdir(below, "/f", "", now)
	assert.ErrorContains(t, err, "is a file")
	_, err = Workdir(below, "/.wh.x", "", now)
	assert.ErrorContains(t, err, "whiteout")
	ix, err := Workdir(nil, "/a", "", now)
	assert.NilError(t, err)
	assert.Equal(t, ix.Len(), 1)
}
