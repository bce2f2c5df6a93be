package layer_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
	"github.com/cairnbuild/cairn/oci/tree"
)

// below adapts a tree for Scan.
type below struct{ *tree.Tree }

func (b below) ReadDir(path string) (entries []index.Entry) {
	for _, n := range b.Tree.ReadDir(path) {
		entries = append(entries, n.Entry)
	}
	return entries
}

// overlay mounts the directories, uppermost first, and returns the mount point. upper is "" for a read-only view.
func overlay(t testing.TB, lowers []string, upper string) (merged string) {
	t.Helper()
	merged = mkdir(t, "merged")
	opts := "userxattr"
	if upper != "" {
		opts += ",volatile,upperdir=" + upper + ",workdir=" + mkdir(t, "work")
	} else if len(lowers) == 1 {
		lowers = append(lowers, mkdir(t, "empty"))
	}
	opts += ",lowerdir=" + strings.Join(lowers, ":")
	assert.NilError(t, unix.Mount("overlay", merged, "overlay", 0, opts))
	t.Cleanup(func() { _ = unix.Unmount(merged, unix.MNT_DETACH) })
	return merged
}

func unmount(t testing.TB, merged string) {
	t.Helper()
	assert.NilError(t, unix.Unmount(merged, 0))
}

// view is a mounted file system as lines in the form of treeView.
func view(t testing.TB, root string) []string {
	t.Helper()
	lines := []string{}
	assert.NilError(t, filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err != nil || name == root {
			return err
		}
		rel, _ := filepath.Rel(root, name)
		var st unix.Stat_t
		assert.NilError(t, unix.Lstat(name, &st))
		line := fmt.Sprintf("%s %o %d:%d %d", rel, st.Mode, st.Uid, st.Gid, st.Mtim.Sec)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			content, err := os.ReadFile(name)
			assert.NilError(t, err)
			line += fmt.Sprintf(" sha256:%x", sha256.Sum256(content))
		case unix.S_IFLNK:
			target, err := os.Readlink(name)
			assert.NilError(t, err)
			line += " -> " + target
		}
		lines = append(lines, line)
		return nil
	}))
	return lines
}

// treeView is what view should give for a tree, in the order of filepath.WalkDir.
func treeView(t testing.TB, tr *tree.Tree) []string {
	t.Helper()
	types := map[index.Type]uint32{index.Regular: unix.S_IFREG, index.Directory: unix.S_IFDIR, index.Symlink: unix.S_IFLNK, index.FIFO: unix.S_IFIFO}
	lines := []string{}
	assert.NilError(t, tr.Walk(".", func(n tree.Node) error {
		if n.Path == "." {
			return nil
		}
		line := fmt.Sprintf("%s %o %d:%d %d", n.Path, types[n.Type]|n.Mode, n.UID, n.GID, n.MTime.Unix())
		switch n.Type {
		case index.Regular:
			line += " " + n.Digest.String()
		case index.Symlink:
			line += " -> " + n.Link
		}
		lines = append(lines, line)
		return nil
	}))
	return lines
}

func equalViews(t testing.TB, got, want []string, what string) {
	t.Helper()
	assert.Assert(t, cmp.Equal(got, want), "%s\n%s", what, cmp.Diff(want, got))
}

// step is what one RUN does in a mounted root, and what its layer should be.
type step struct {
	name   string
	script string
	want   []string // type letter and path; nil for "as the view says"
}

const baseScript = `mkdir -p d/s/t e etc bin; echo 1 >d/a; echo 2 >d/s/b; echo 3 >d/s/t/c; echo 4 >e/x; echo f >f; echo root:x:0:0 >etc/passwd
ln -s d link; ln f hard; cp f bin/sh; chmod 4755 bin/sh; mkfifo fifo; mkdir -m 1777 tmp; find . -exec touch -h -d @1000000000 {} +`

var steps = []step{
	{"nothing", `true`, []string{}},
	{"reading", `cat d/a f >/dev/null; ls -R >/dev/null`, []string{}},
	{"rm", `rm f d/a`, []string{"dd", "wd/a", "wf"}},
	{"rm -r", `rm -r d`, []string{"wd"}},
	{"rm -r and mkdir", `rm -r d; mkdir d; echo n >d/n`, []string{"dd", "wd/a", "-d/n", "wd/s"}},
	{"rm -r and mkdir the same tree", `rm -r d; mkdir -p d/s/t; echo n >d/s/n`, []string{"dd", "wd/a", "dd/s", "wd/s/b", "-d/s/n", "dd/s/t", "wd/s/t/c"}},
	{"created and deleted", `mkdir d/new; echo x >d/new/x; rm -r d/new; echo x >y; rm y`, []string{}},
	{"deleted and created as it was", `rm -r e; mkdir e; touch -d @1000000000 e`, []string{"de", "we/x"}},
	{"directory by file", `rm -r d; echo n >d`, []string{"-d"}},
	{"directory by link", `rm -r d; ln -s e d`, []string{"ld"}},
	{"file by directory", `rm f; mkdir f; echo n >f/n`, []string{"df", "-f/n"}},
	{"link by directory", `rm link; mkdir link; echo n >link/n`, []string{"dlink", "-link/n"}},
	{"rename a file", `mv f d/s/f`, []string{"dd", "dd/s", "-d/s/f", "wf"}},
	{"rename a directory", `mv d moved`, []string{"wd", "dmoved", "-moved/a", "dmoved/s", "-moved/s/b", "dmoved/s/t", "-moved/s/t/c"}},
	{"rename over", `echo n >n; mv n f`, []string{"-f"}},
	{"chmod a directory and back", `chmod 700 d; chmod 755 d`, []string{}},
	{"chmod a directory", `chmod 700 d`, []string{"dd"}},
	{"chmod a file and back", `chmod 700 f; chmod 644 f`, []string{"-f"}},
	{"touch", `touch -d @1234567890 d/a`, []string{"dd", "-d/a"}},
	{"hard links break on copy-up", `echo n >>hard`, []string{"-hard"}},
	{"hard links", `echo n >d/n; ln d/n e/m; ln d/n zz`, []string{"dd", "-d/n", "de", "he/m", "hzz"}},
	{"setuid and links out", `chmod 6755 d/a; ln -s ../../../etc/shadow e/out; mkfifo e/p`, []string{"dd", "-d/a", "de", "le/out", "pe/p"}},
	{"root", `chmod 700 .; touch -d @5 .`, []string{}},
	{"sockets", `rm f; rm -r e; mkdir e`, []string{"de", "we/x", "wf"}},
	{"everything goes", `rm -rf * .[a-z]*`, []string{"wbin", "wd", "we", "wetc", "wf", "wfifo", "whard", "wlink", "wtmp"}},
	{"everything moves", `mkdir new; for i in *; do [ $i = new ] || mv $i new/; done`, nil},
}

func sh(t testing.TB, dir, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err, "%s\n%s", script, out)
}

// TestWhatARunLeaves makes real overlay upper directories and holds the layers read from them against what was mounted.
func TestWhatARunLeaves(t *testing.T) {
	everyNamespace(t, func(t *testing.T, mode owners.Mode) {
		base := mkdir(t, "base")
		sh(t, base, baseScript)
		baseIx := scanned(t, base, layer.ScanOptions{Owners: mode})
		for _, s := range steps {
			t.Run(s.name, func(t *testing.T) { runStep(t, s, base, baseIx, mode) })
		}
	})
}

func runStep(t *testing.T, s step, base string, baseIx *index.Index, mode owners.Mode) {
	upper := mkdir(t, "upper")
	merged := overlay(t, []string{base}, upper)
	sh(t, merged, s.script)
	if s.name == "sockets" {
		for _, name := range []string{"d/new", "f", "e/x"} {
			assert.NilError(t, unix.Mknod(filepath.Join(merged, name), unix.S_IFSOCK|0o600, 0))
		}
	}
	unmount(t, merged)
	tr := tree.New(baseIx)
	ix := scanned(t, upper, layer.ScanOptions{Below: below{tr}, Owners: mode})
	if s.want != nil {
		got := []string{}
		for e := range ix.Entries() {
			assert.Assert(t, !e.Opaque)
			got = append(got, e.Type.String()+e.Path)
		}
		assert.Assert(t, cmp.Equal(got, s.want), cmp.Diff(s.want, got))
	}
	assert.NilError(t, filepath.WalkDir(upper, func(name string, _ fs.DirEntry, err error) error {
		n, _ := unix.Lgetxattr(name, "user.overlay.opaque", make([]byte, 9))
		assert.Assert(t, n <= 0, "%s is opaque", name)
		return err
	}))
	want := treeView(t, tr.Push(ix))
	merged = overlay(t, []string{upper, base}, "")
	equalViews(t, view(t, merged), want, "the upper directory as a layer")
	unmount(t, merged)

	tar, full := tarOf(t, ix, layer.DirSource(upper))
	form, _ := formOf(t, full, tar, mode)
	same(t, scanned(t, form, layer.ScanOptions{Owners: mode}), full, "through the blob")
	same(t, scanned(t, upper, layer.ScanOptions{Below: below{tr}, Owners: mode}), full, "scanned again")
	merged = overlay(t, []string{form, base}, "")
	equalViews(t, view(t, merged), want, "the blob extracted again")
	unmount(t, merged)
}

func TestScanClampsToTheEpoch(t *testing.T) {
	dir := mkdir(t, "d", "sub")
	root := filepath.Dir(dir)
	for name, sec := range map[string]int64{"old": 100, "new": 4_000_000_000} {
		file := filepath.Join(dir, name)
		assert.NilError(t, os.WriteFile(file, nil, 0o644))
		assert.NilError(t, os.Chtimes(file, time.Unix(sec, 5), time.Unix(sec, 5)))
	}
	epoch := time.Unix(1000, 0)
	ix, err := layer.Scan(t.Context(), root, layer.ScanOptions{Epoch: &epoch, Owners: owners.Record})
	assert.NilError(t, err)
	for i, want := range []int64{1000, 1000, 100} { // sub, sub/new, sub/old
		assert.Equal(t, ix.At(i).MTime.Unix(), want, ix.PathAt(i))
		info, err := os.Stat(filepath.Join(root, ix.PathAt(i)))
		assert.NilError(t, err)
		assert.Equal(t, info.ModTime().UnixNano(), want*1e9)
	}
}

func TestScanRefusesWhiteoutNames(t *testing.T) {
	dir := mkdir(t, "d")
	assert.NilError(t, os.WriteFile(filepath.Join(dir, ".wh.foo"), nil, 0o644))
	_, err := layer.Scan(t.Context(), dir, layer.ScanOptions{Below: below{tree.New()}})
	var name *index.NameError
	assert.Assert(t, asError(err, &name))
	assert.Equal(t, name.Path, ".wh.foo")
}

// randomOps is a shell script of random changes to a small name space.
func randomOps(r *rand.Rand) string {
	names := []string{"d", "d/a", "d/s", "d/s/b", "d/s/t", "d/s/t/c", "e", "e/x", "f", "hard", "link", "n", "n/m", "e/o"}
	pick := func() string { return names[r.Intn(len(names))] }
	var script strings.Builder
	for range 12 {
		a, b := pick(), pick()
		script.WriteString([]string{
			"rm -rf " + a, "mkdir " + a, "mkdir -p " + a, "echo " + b + " >" + a, "mv -T " + a + " " + b, "ln " + a + " " + b, "ln -s " + b + " " + a,
			"chmod 7" + fmt.Sprint(r.Intn(8)) + "5 " + a, "cp -a " + a + " " + b, "rm -rf " + a + "; mkdir " + a, "touch -h " + a, "ln -f " + a + " " + b,
		}[r.Intn(12)] + " 2>/dev/null || true\n")
	}
	return script.String()
}

// TestRandomRuns stacks layers of random changes and compares the fold of their indexes with the kernel's.
func TestRandomRuns(t *testing.T) {
	inNamespace(t, fullMap, func(t *testing.T, mode owners.Mode) {
		for seed := range int64(12) {
			r := rand.New(rand.NewSource(seed))
			base := mkdir(t, "base")
			sh(t, base, baseScript)
			dirs := []string{base}
			tr := tree.New(scanned(t, base, layer.ScanOptions{Owners: mode}))
			for range 4 {
				upper := mkdir(t, "upper")
				merged := overlay(t, dirs, upper)
				script := randomOps(r)
				sh(t, merged, script)
				live := view(t, merged)
				unmount(t, merged)
				ix := scanned(t, upper, layer.ScanOptions{Below: below{tr}, Owners: mode})
				tr = tr.Push(ix)
				want := treeView(t, tr)
				equalViews(t, withoutDirTimes(live), withoutDirTimes(want), fmt.Sprintf("seed %d: what the RUN saw\n%s", seed, script))
				tar, full := tarOf(t, ix, layer.DirSource(upper))
				form, _ := formOf(t, full, tar, mode)
				for _, top := range []string{upper, form} {
					merged := overlay(t, append([]string{top}, dirs...), "")
					equalViews(t, view(t, merged), want, fmt.Sprintf("seed %d\n%s", seed, script))
					unmount(t, merged)
				}
				dirs = append([]string{[]string{upper, form}[r.Intn(2)]}, dirs...)
			}
		}
	})
}

// withoutDirTimes drops the mtimes of directories: the index leaves out those that nothing else changed.
func withoutDirTimes(lines []string) []string {
	out := []string{}
	for _, l := range lines {
		if f := strings.Fields(l); strings.HasPrefix(f[1], "4") && len(f[1]) == 5 {
			l = strings.Join(f[:3], " ")
		}
		out = append(out, l)
	}
	return out
}

// TestForeignLayersFoldAsTheKernelFoldsThem extracts random layers, with whiteouts and opaque directories wherever a tar may
// have them, useful or not.
func TestForeignLayersFoldAsTheKernelFoldsThem(t *testing.T) {
	inNamespace(t, fullMap, func(t *testing.T, mode owners.Mode) {
		for seed := range int64(40) {
			r := rand.New(rand.NewSource(seed))
			tr, dirs := tree.New(), []string{}
			for range 1 + r.Intn(4) {
				ix, src := randomLayer(t, r)
				tar, full := tarOf(t, ix, src)
				form, _ := formOf(t, full, tar, mode)
				dirs = append([]string{form}, dirs...)
				tr = tr.Push(full)
			}
			merged := overlay(t, dirs, "")
			equalViews(t, view(t, merged), treeView(t, tr), fmt.Sprintf("seed %d", seed))
			unmount(t, merged)
		}
	})
}

func randomLayer(t testing.TB, r *rand.Rand) (*index.Index, contents) {
	b, src := index.NewBuilder(), contents{}
	var fill func(dir string, depth int)
	fill = func(dir string, depth int) {
		for _, name := range []string{"a", "a-", "b"} {
			e := index.Entry{Path: index.Join(dir, name), Mode: 0o755, UID: r.Intn(3), MTime: time.Unix(r.Int63n(1e9), 0)}
			switch k := r.Intn(10); {
			case k < 3:
				continue
			case k < 5:
				src[e.Path] = fmt.Sprint(r.Intn(1000))
				e.Type, e.Size = index.Regular, int64(len(src[e.Path]))
			case k < 6:
				e.Type = index.Whiteout
			case k < 7:
				e.Type, e.Link = index.Symlink, "a/b"
			default:
				e.Type, e.Opaque = index.Directory, r.Intn(4) == 0
				if depth > 0 {
					fill(e.Path, depth-1)
				}
			}
			assert.NilError(t, b.Add(e))
		}
	}
	fill(".", 3)
	ix, err := b.Build()
	assert.NilError(t, err)
	return ix, src
}
