package bundle

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/snapshot"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
	"github.com/cairnbuild/cairn/sandbox"
)

// image are Layers whose files have their path as content.
type image struct {
	tree *tree.Tree
	dirs []string
}

func (l *image) Tree(context.Context) (*tree.Tree, error) { return l.tree, nil }
func (l *image) Dirs(context.Context) ([]string, error)   { return l.dirs, nil }
func (l *image) Owners(dir string) (*owners.Table, error) { return owners.NewTable(), nil }
func (l *image) Open(_ context.Context, n tree.Node) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(n.LinkPath)), nil
}

func newImage(t *testing.T) *image {
	t.Helper()
	at := time.Unix(1e9, 0).UTC()
	b := index.NewBuilder()
	for _, d := range []string{".", "dev", "etc", "proc", "srv", "sys"} {
		assert.NilError(t, b.Add(index.Entry{Path: d, Type: index.Directory, Mode: 0o755, MTime: at, Offset: -1}))
	}
	for _, f := range []string{"etc/hosts", "srv/file"} {
		assert.NilError(t, b.Add(index.Entry{Path: f, Type: index.Regular, Mode: 0o644, Size: int64(len(f)), MTime: at, Offset: -1}))
	}
	ix, err := b.Build()
	assert.NilError(t, err)
	l := &image{tree: tree.New(ix)}
	for _, name := range []string{"top", "base"} {
		dir := filepath.Join(t.TempDir(), name)
		assert.NilError(t, os.MkdirAll(filepath.Join(dir, "srv"), 0o755))
		l.dirs = append(l.dirs, dir)
	}
	return l
}

// ids are full for root and one for others, as directories can be made.
func ids() sandbox.IDs {
	if os.Getuid() == 0 {
		return sandbox.IDs{Mode: sandbox.MapFull}
	}
	return sandbox.IDs{Mode: sandbox.MapOne}
}

func overlays() Machine { return Machine{Isolation: sandbox.IsolationNamespaces, IDs: ids()} }

func copies() Machine {
	return Machine{Isolation: sandbox.IsolationChroot, IDs: ids(), Snapshots: &snapshot.Maker{Kind: snapshot.Copy}}
}

// recorder is an attacher that only writes down what it was asked for.
type recorder struct{ calls []string }

func (r *recorder) attach(m mount.Mount, at string) error {
	r.calls = append(r.calls, string(m.Type)+" "+filepath.Base(filepath.Dir(at))+"/"+filepath.Base(at))
	return nil
}

func (r *recorder) detach(at string) error {
	r.calls = append(r.calls, "detach "+filepath.Base(filepath.Dir(at))+"/"+filepath.Base(at))
	return nil
}

// made is the Bundle for the options, in a new directory when there is none, and what was mounted for it.
func made(t *testing.T, m Machine, o Options) (*Bundle, *recorder) {
	t.Helper()
	k := &recorder{}
	maker := newMaker(m, fill(t, o))
	maker.kernel = k
	b, err := maker.make(t.Context())
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, b.Close()) })
	return b, k
}

func fill(t *testing.T, o Options) Options {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "bundle")
		assert.NilError(t, os.Mkdir(o.Dir, 0o700))
	}
	if o.Layers == nil {
		o.Layers = newImage(t)
	}
	if o.Now.IsZero() {
		o.Now = time.Unix(17e8, 0)
	}
	return o
}

func lent(dir string) func(context.Context, func() (string, error)) (string, func(), error) {
	return func(context.Context, func() (string, error)) (string, func(), error) { return dir, func() {}, nil }
}

func TestSpec(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bundle")
	outside, cache := t.TempDir(), t.TempDir()
	file := filepath.Join(outside, "file")
	assert.NilError(t, os.WriteFile(file, nil, 0o644))
	l := newImage(t)
	bind := func(source, target string, readOnly bool) mount.Mount {
		return mount.Mount{Type: mount.Bind, Source: source, Target: target, ReadOnly: readOnly}
	}
	makeDir := func(_ context.Context, dir string) (string, error) { return dir, os.Mkdir(dir, 0o755) }
	for _, c := range []struct {
		name     string
		mount    Mount
		want     mount.Mount
		attached []string
	}{
		{"directory outside", Mount{Target: "/a", Source: Outside(outside)}, bind(outside, "/a", false), nil},
		{"file outside, read-only", Mount{Target: "/srv/b", Source: Outside(file), ReadOnly: true}, bind(file, "/srv/b", true), nil},
		{"made, read-only", Mount{Target: "/m", Source: Made(makeDir), ReadOnly: true}, bind(dir+"/mount-0", "/m", true), nil},
		{"made, writable", Mount{Target: "/m", Source: Made(makeDir)}, bind(dir+"/mount-0/merged", "/m", false), []string{"overlay mount-0/merged"}},
		{"below /dev", Mount{Target: "/dev/pipes", Source: Made(makeDir), ReadOnly: true}, bind(dir+"/mount-0", "/dev/pipes", true), nil},
		{"part of layers", Mount{Target: "/p", Source: Part{Layers: &image{l.tree, l.dirs[:1]}, Path: "srv"}, ReadOnly: true},
			bind(l.dirs[0]+"/srv", "/p", true), nil},
		{"all of some layers", Mount{Target: "/p", Source: Part{Layers: l}, ReadOnly: true}, bind(dir+"/mount-0/root", "/p", true),
			[]string{"overlay mount-0/root"}},
		{"tmpfs", Mount{Target: "/t", Source: Tmpfs{Size: 1 << 20}},
			mount.Mount{Type: mount.Tmpfs, Target: "/t", Size: 1 << 20, Mode: 0o1777, NoSuid: true, NoDev: true}, nil},
		{"secret", Mount{Target: "/run/secrets/x", Source: File{Content: []byte("s"), Memory: true}, ReadOnly: true},
			bind(dir+"/mount-0/file", "/run/secrets/x", true), []string{"tmpfs bundle/mount-0"}},
		{"file", Mount{Target: "/etc/hostname", Source: File{}}, bind(dir+"/mount-0/file", "/etc/hostname", false), nil},
		{"agent", Mount{Target: "/agent", Source: Agent{Socket: "/nowhere"}}, bind(dir+"/mount-0/agent", "/agent", false), nil},
		{"cache", Mount{Target: "/c", Source: Cache{ID: "x", Lend: lent(cache)}}, bind(cache, "/c", false), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.NilError(t, os.Mkdir(dir, 0o700))
			defer os.RemoveAll(dir)
			limits := sandbox.Limits{ShmSize: 1, Rlimits: []sandbox.Rlimit{{Name: "nofile", Soft: 1, Hard: 2}}}
			b, k := made(t, overlays(), Options{
				Dir: dir, Layers: l, Mounts: []Mount{c.mount}, Hostname: "h", Network: Network{Mode: sandbox.NetworkNone},
				Limits: limits, Insecure: true, ReadonlyRoot: true,
			})
			process := sandbox.Process{Args: []string{"true"}, UID: 5}
			assert.DeepEqual(t, b.Spec(process), sandbox.Spec{
				Root: mount.Mount{
					Type: mount.Overlay, Lower: append([]string{dir + "/points"}, l.dirs...),
					Upper: dir + "/upper", Work: dir + "/work",
				},
				Mounts: []mount.Mount{
					bind(dir+"/resolv.conf", "/etc/resolv.conf", false), bind(dir+"/hosts", "/etc/hosts", false), c.want,
				},
				Process: process, Hostname: "h", Network: sandbox.NetworkNone, Limits: limits, Insecure: true, ReadonlyRoot: true,
			}, cmpopts.IgnoreFields(sandbox.Spec{}, "Owners"))
			assert.DeepEqual(t, k.calls, c.attached, cmpopts.EquateEmpty())
			attached := len(k.calls)
			assert.NilError(t, b.Close())
			assert.Equal(t, len(k.calls), 2*attached, "%q: not everything was detached", k.calls)
		})
	}
}

// TestMountPointsAreNoChanges: what is mounted leaves no trace, the working directory stays (docs/semantics.md 75).
func TestMountPointsAreNoChanges(t *testing.T) {
	for name, m := range map[string]Machine{"overlay": overlays(), "copy": copies()} {
		t.Run(name, func(t *testing.T) {
			b, _ := made(t, m, Options{WorkingDir: "/work/deep", Mounts: []Mount{
				{Target: "/etc/new", Source: File{Attr: Attr{Mode: 0o644}}},
				{Target: "/work/tmp", Source: Tmpfs{}},
			}})
			c, err := b.Changes(t.Context(), nil)
			assert.NilError(t, err)
			assert.DeepEqual(t, paths(c.Index), []string{"work", "work/deep"})
		})
	}
}

// paths are those of an index but for the root.
func paths(ix *index.Index) (list []string) {
	for e := range ix.Entries() {
		if e.Path != "." {
			list = append(list, e.Path)
		}
	}
	return list
}

// TestWithoutMounts: where nothing can be mounted things are moved into the root for the time being, but never the
// user's own.
func TestWithoutMounts(t *testing.T) {
	store := t.TempDir()
	dir, cache := filepath.Join(store, "bundle"), filepath.Join(store, "cache")
	for _, d := range []string{dir, cache} {
		assert.NilError(t, os.Mkdir(d, 0o755))
	}
	assert.NilError(t, os.WriteFile(cache+"/kept", nil, 0o644))
	outside := t.TempDir()
	b, k := made(t, copies(), Options{Dir: dir, Mounts: []Mount{
		{Target: "/srv/file", Source: File{Content: []byte("other"), Attr: Attr{Mode: 0o644}, Memory: true}},
		{Target: "/cache", Source: Cache{ID: "x", Lend: lent(cache)}},
		{Target: "/out", Source: Outside(outside)},
	}})
	assert.Equal(t, len(k.calls), 0, "mounted: %q", k.calls)
	spec := b.Spec(sandbox.Process{})
	assert.DeepEqual(t, spec.Mounts, []mount.Mount{{Type: mount.Bind, Source: outside, Target: "/out"}})
	root := spec.Root.Source
	assert.DeepEqual(t, spec.Root, mount.Mount{Type: mount.Bind, Source: root})
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(root, name))
		assert.NilError(t, err)
		return string(data)
	}
	assert.Equal(t, read("srv/file"), "other")
	assert.Assert(t, strings.Contains(read("etc/hosts"), "localhost"))
	_, err := os.Stat(cache)
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.NilError(t, os.WriteFile(root+"/cache/new", nil, 0o644))
	assert.NilError(t, os.WriteFile(root+"/srv/made", nil, 0o644))

	c, err := b.Changes(t.Context(), nil)
	assert.NilError(t, err)
	assert.DeepEqual(t, paths(c.Index), []string{"srv", "srv/made"})
	assert.Equal(t, read("srv/file"), "srv/file")
	assert.Equal(t, read("etc/hosts"), "etc/hosts")
	for _, name := range []string{"kept", "new"} {
		_, err := os.Stat(filepath.Join(cache, name))
		assert.NilError(t, err)
	}

	// The copy is as good as the layers with the changes.
	again, _ := made(t, copies(), Options{Copy: c.Copy})
	assert.Equal(t, again.Spec(sandbox.Process{}).Root.Source, root)
}

// TestNothingIsLostWhenMakeFails: a cache that was moved into the root goes back to the store, and its lease ends.
func TestNothingIsLostWhenMakeFails(t *testing.T) {
	store := t.TempDir()
	dir, cache := filepath.Join(store, "bundle"), filepath.Join(store, "cache")
	for _, d := range []string{dir, cache} {
		assert.NilError(t, os.Mkdir(d, 0o755))
	}
	released := false
	lend := func(context.Context, func() (string, error)) (string, func(), error) {
		return cache, func() { released = true }, nil
	}
	_, err := Make(t.Context(), copies(), fill(t, Options{Dir: dir, Mounts: []Mount{
		{Target: "/c", Source: Cache{ID: "x", Lend: lend}},
		{Target: "/again", Source: Cache{ID: "y", Lend: lend}}, // moved away already
	}}))
	assert.ErrorContains(t, err, "put something at /again")
	_, err = os.Stat(cache)
	assert.NilError(t, err)
	assert.Assert(t, released)
}

func TestMountErrorsNameTheMount(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	assert.NilError(t, os.WriteFile(file, nil, 0o644))
	for _, c := range []struct {
		mount Mount
		want  string
	}{
		{Mount{Target: "/x", Source: Outside("/nowhere/at/all"), Name: "mount it"}, "mount it: stat /nowhere/at/all: "},
		{Mount{Target: "/etc", Source: Outside(file), Name: "x"}, "mount point /etc: is not a file in the image"},
		{Mount{Target: "/x", Source: Part{Layers: newImage(t), Path: "nope"}, Name: "x"}, "x: find /nope: "},
		{Mount{Target: "/x", Source: Made(func(context.Context, string) (string, error) { return file, nil }), Name: "x"},
			"x: a single file can only be mounted read-only"},
		{Mount{Target: "/x", Source: Cache{Lend: func(context.Context, func() (string, error)) (string, func(), error) {
			return "", nil, errors.New("too many")
		}}, Name: "x"}, "x: too many"},
	} {
		b, err := Make(t.Context(), overlays(), fill(t, Options{Mounts: []Mount{c.mount}}))
		assert.ErrorContains(t, err, c.want)
		assert.Assert(t, b == nil)
	}
}

// TestCachesAreLeasedInOneOrder: two commands that lock the same caches in different orders would wait for each other
// for ever.
func TestCachesAreLeasedInOneOrder(t *testing.T) {
	var got []string
	cache := func(id, target string, private bool) Mount {
		c := Cache{ID: id, Private: private}
		c.Lend = func(_ context.Context, create func() (string, error)) (string, func(), error) {
			got = append(got, id)
			dir, err := create()
			return dir, func() { got = append(got, "-"+id) }, err
		}
		return Mount{Target: target, Source: c}
	}
	b, _ := made(t, overlays(), Options{Mounts: []Mount{
		cache("b", "/1", false), cache("a", "/2", false), cache("b", "/3", false), cache("p", "/4", true), cache("p", "/5", true),
	}})
	assert.DeepEqual(t, got, []string{"a", "b", "p", "p"})
	sources := map[string]string{}
	for _, m := range b.Spec(sandbox.Process{}).Mounts {
		sources[m.Target] = m.Source
	}
	assert.Equal(t, sources["/1"], sources["/3"])
	assert.Assert(t, sources["/4"] != sources["/5"])
	assert.NilError(t, b.Close())
	slices.Sort(got[4:])
	assert.DeepEqual(t, got[4:], []string{"-a", "-b", "-p", "-p"})
}

// TestFileHasItsOwner: content, mode and owner of what a secret shows.
func TestFileHasItsOwner(t *testing.T) {
	file := File{Content: []byte("s"), Attr: Attr{UID: 7, GID: 8, Mode: 0o440}}
	b, _ := made(t, overlays(), Options{Mounts: []Mount{{Target: "/x", Source: file}}})
	spec := b.Spec(sandbox.Process{})
	name := spec.Mounts[2].Source
	data, err := os.ReadFile(name)
	assert.NilError(t, err)
	assert.Equal(t, string(data), "s")
	st, err := os.Stat(name)
	assert.NilError(t, err)
	assert.Equal(t, st.Mode().Perm(), os.FileMode(0o440))
	if overlays().Owners() == owners.Record {
		assert.DeepEqual(t, spec.Owners.Lower[filepath.Dir(name)].Get("file"), owners.Owner{UID: 7, GID: 8})
	}
}

// TestLayerThatOccursTwice: it counts where it is uppermost, under whatever name.
func TestLayerThatOccursTwice(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"base", "empty", "work"} {
		assert.NilError(t, os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	assert.NilError(t, os.Symlink("empty", filepath.Join(dir, "alias")))
	in := func(names ...string) (list []string) {
		for _, n := range names {
			list = append(list, filepath.Join(dir, n))
		}
		return list
	}
	got, err := withoutRepeats(in("alias", "work", "empty", "base", "empty"))
	assert.NilError(t, err)
	assert.DeepEqual(t, got, in("alias", "work", "base"))
}

func TestAsUser(t *testing.T) {
	b := index.NewBuilder()
	assert.NilError(t, b.Add(index.Entry{Path: "etc", Type: index.Directory, Mode: 0o755, Offset: -1}))
	for name, data := range map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/var/www:/bin/sh\n",
		"etc/group":  "root:x:0:\nwww:x:34:\nextra:x:50:web\n",
	} {
		e := index.Entry{Path: name, Type: index.Regular, Mode: 0o644, Size: int64(len(data)), Data: []byte(data), Offset: -1}
		assert.NilError(t, b.Add(e))
	}
	ix, err := b.Build()
	assert.NilError(t, err)
	const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, c := range []struct {
		user string
		env  []string
		want sandbox.Process
	}{
		{"", nil, sandbox.Process{Env: []string{path, "HOME=/root"}}},
		{"web", []string{"A=1", "PATH=/bin", "A=2"},
			sandbox.Process{UID: 33, GID: 34, Groups: []uint32{50}, Env: []string{"A=2", "PATH=/bin", "HOME=/var/www"}}},
		{"web:extra", []string{"PATH=", "HOME=", "B="},
			sandbox.Process{UID: 33, GID: 50, Env: []string{"PATH=", "HOME=/var/www", "B="}}},
		{"33", []string{path, "HOME=/h"},
			sandbox.Process{UID: 33, GID: 34, Groups: []uint32{50}, Env: []string{path, "HOME=/h"}}},
		{"1234:5", []string{path}, sandbox.Process{UID: 1234, GID: 5, Env: []string{path, "HOME=/"}}},
	} {
		got, err := AsUser(sandbox.Process{Env: c.env}, tree.New(ix), c.user)
		assert.NilError(t, err)
		assert.DeepEqual(t, got, c.want, cmpopts.EquateEmpty())
	}
	for bad, want := range map[string]string{
		"nobody": "unable to find user nobody", "web:nogroup": "unable to find group nogroup", "99999999999": "range",
	} {
		_, err := AsUser(sandbox.Process{}, tree.New(ix), bad)
		assert.ErrorContains(t, err, want)
	}
}
