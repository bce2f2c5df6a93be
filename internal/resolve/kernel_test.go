package resolve_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/contextdir"
	"github.com/cairnbuild/cairn/internal/resolve"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
	"github.com/cairnbuild/cairn/oci/tree"
)

// FuzzAgainstKernel makes one tree on the disk and in every form that this program keeps trees in, walks one path through
// each of them, and wants the same place or the same error from all: the disk's answer is openat2's with RESOLVE_IN_ROOT.
func FuzzAgainstKernel(f *testing.F) {
	for _, seed := range []string{"", "\x00\x00\x00\x01\x02\x05\x03\x02\x00\x08\x04\x01\x00\x02", "links and links to links, in a directory or two"} {
		f.Add([]byte(seed))
	}
	for seed := range uint64(8) {
		f.Add(noise(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) <= 200 {
			againstKernel(t, data)
		}
	})
}

func TestRandomTreesAgainstKernel(t *testing.T) {
	ends := map[string]int{}
	for seed := range uint64(2000) {
		ends[againstKernel(t, noise(seed))]++
	}
	for _, end := range []string{"ok", "ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG"} {
		assert.Assert(t, ends[end] > 10, "the trees are worth something if they end in all ways: %v", ends)
	}
}

func noise(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, seed))
	data := make([]byte, 150)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}

// plan reads decisions from bytes, zeros after their end.
type plan struct{ data []byte }

func (p *plan) below(n int) int {
	if len(p.data) == 0 {
		return 0
	}
	b := p.data[0]
	p.data = p.data[1:]
	return int(b) % n
}

// path is made of few names, so that it often leads somewhere.
func (p *plan) path() string {
	var s strings.Builder
	if p.below(4) == 0 {
		s.WriteString("/")
	}
	for n := 1 + p.below(5); n > 0; n-- {
		s.WriteString([]string{"a", "b", "c", "a", "b", "d", "..", ".", "a", "b", "c", "..", strings.Repeat("n", 255), strings.Repeat("n", 256)}[p.below(14)])
		if n > 1 || p.below(5) == 0 {
			s.WriteString([]string{"/", "/", "/", "//", "/./"}[p.below(5)])
		}
	}
	return s.String()
}

// node is a file of the made up tree: a directory where kids is not nil, a link where link is not empty, else a file.
type node struct {
	link string
	kids map[string]*node
}

func (n *node) kind() resolve.Kind {
	switch {
	case n.kids != nil:
		return resolve.Directory
	case n.link != "":
		return resolve.Symlink
	}
	return resolve.Other
}

func (p *plan) tree() (root *node, entries []index.Entry) {
	root = &node{kids: map[string]*node{}}
	dirs, at := []*node{root}, []string{"."}
	for n := 3 + p.below(14); n > 0; n-- {
		d := p.below(len(dirs))
		name := []string{"a", "b", "c", "d", "a", "b"}[p.below(6)]
		if dirs[d].kids[name] != nil {
			continue
		}
		e := index.Entry{Path: index.Join(at[d], name), Type: index.Regular, Mode: 0o755, MTime: time.Unix(1, 0), Offset: -1}
		made := &node{}
		switch p.below(7) {
		case 0:
		case 1, 2:
			e.Type, made.kids = index.Directory, map[string]*node{}
			dirs, at = append(dirs, made), append(at, e.Path)
		default:
			e.Type, e.Link = index.Symlink, p.path()
			made.link = e.Link
		}
		dirs[d].kids[name] = made
		entries = append(entries, e)
	}
	return root, entries
}

// answer is what a walk ended with.
type answer struct {
	path string
	kind resolve.Kind
	err  syscall.Errno
}

func (a answer) end() string {
	if a.err == 0 {
		return "ok"
	}
	return unix.ErrnoName(a.err)
}

func againstKernel(t *testing.T, data []byte) string {
	p := &plan{data}
	root, entries := p.tree()
	name, mode := p.path(), resolve.Mode(0)
	if p.below(2) == 1 {
		mode = resolve.NoFollow
	}
	dir := t.TempDir()
	defer os.RemoveAll(dir)
	onDisk(t, dir, entries)
	want := kernel(t, dir, name, mode)

	look := func(dir *node, p string) (resolve.Found[*node], error) {
		n := dir.kids[path.Base(p)]
		if n == nil {
			return resolve.Found[*node]{}, nil
		}
		return resolve.Found[*node]{Node: n, Kind: n.kind(), Link: n.link}, nil
	}
	at, err := resolve.Walk(root, name, look, mode)
	same(t, "Walk", want, name, mode, at.Path, at.Kind, err)
	half := len(entries) / 2
	top := tree.NewBuilder(tree.New(indexOf(t, entries[:half])))
	for _, e := range entries[half:] {
		assert.NilError(t, top.Put(e))
	}
	tarred := tarOf(t, entries)
	if mode == 0 {
		whole := tree.New(indexOf(t, entries))
		real, n, err := whole.Resolve(name)
		same(t, "Tree", want, name, mode, real, kindOf(n.Type), err)
		real, n, err = top.Resolve(name)
		same(t, "Builder", want, name, mode, real, kindOf(n.Type), err)
		inLayer(t, tarred, name, want)
	}
	onlyDisk, err := contextdir.Open(dir, nil, contextdir.Options{})
	assert.NilError(t, err)
	defer onlyDisk.Close()
	fromTar, err := contextdir.FromTar(t.Context(), bytes.NewReader(tarred), dir)
	assert.NilError(t, err)
	defer fromTar.Close()
	for what, c := range map[string]*contextdir.Context{"Context": onlyDisk, "Context of a tar": fromTar} {
		f, err := c.Lookup(name)
		if mode == 0 {
			f, err = c.Resolve(t.Context(), name)
		}
		same(t, what, want, name, mode, f.Path, kindOf(f.Type), err)
	}
	return want.end()
}

func kindOf(t index.Type) resolve.Kind {
	return map[index.Type]resolve.Kind{index.Directory: resolve.Directory, index.Symlink: resolve.Symlink, index.Regular: resolve.Other}[t]
}

func same(t *testing.T, what string, want answer, name string, mode resolve.Mode, real string, kind resolve.Kind, err error) {
	t.Helper()
	got := answer{path: real, kind: kind}
	if err != nil {
		got = answer{}
		assert.Assert(t, errors.As(err, &got.err), "%s: %v", what, err)
	}
	assert.Equal(t, got, want, "%s of %q, mode %d", what, name, mode)
}

func onDisk(t *testing.T, dir string, entries []index.Entry) {
	for _, e := range entries {
		at := filepath.Join(dir, e.Path)
		switch e.Type {
		case index.Directory:
			assert.NilError(t, os.Mkdir(at, 0o755))
		case index.Symlink:
			assert.NilError(t, os.Symlink(e.Link, at))
		default:
			assert.NilError(t, os.WriteFile(at, nil, 0o644))
		}
	}
}

// kernel asks openat2, which is in Linux since 5.6.
func kernel(t *testing.T, dir, name string, mode resolve.Mode) answer {
	root, err := os.Open(dir)
	assert.NilError(t, err)
	defer root.Close()
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	if mode&resolve.NoFollow != 0 {
		how.Flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Openat2(int(root.Fd()), name, &how)
	for errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) { // something was renamed meanwhile, anywhere
		fd, err = unix.Openat2(int(root.Fd()), name, &how)
	}
	if errors.Is(err, unix.ENOSYS) {
		t.Skip("this kernel has no openat2")
	}
	var a answer
	if errors.As(err, &a.err) {
		return a
	}
	defer unix.Close(fd)
	real, err := os.Readlink(filepath.Join("/proc/self/fd", strconv.Itoa(fd)))
	assert.NilError(t, err)
	base, err := os.Readlink(filepath.Join("/proc/self/fd", strconv.Itoa(int(root.Fd()))))
	assert.NilError(t, err)
	a.path, err = filepath.Rel(base, real)
	assert.NilError(t, err)
	info, err := os.Lstat(real)
	assert.NilError(t, err)
	switch {
	case info.IsDir():
		a.kind = resolve.Directory
	case info.Mode()&fs.ModeSymlink != 0:
		a.kind = resolve.Symlink
	default:
		a.kind = resolve.Other
	}
	return a
}

func indexOf(t *testing.T, entries []index.Entry) *index.Index {
	b := index.NewBuilder()
	for _, e := range entries {
		assert.NilError(t, b.Add(e))
	}
	ix, err := b.Build()
	assert.NilError(t, err)
	return ix
}

func tarOf(t *testing.T, entries []index.Entry) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	put := func(h tar.Header) { assert.NilError(t, w.WriteHeader(&h)) }
	for _, e := range entries {
		typ := map[index.Type]byte{index.Directory: tar.TypeDir, index.Symlink: tar.TypeSymlink, index.Regular: tar.TypeReg}[e.Type]
		put(tar.Header{Name: e.Path, Typeflag: typ, Linkname: e.Link, Mode: 0o755})
	}
	assert.NilError(t, w.Flush())
	return buf.Bytes() // without its end, so that something can follow
}

// inLayer has a layer name a file behind the path: it lands where the kernel finds the directory.
func inLayer(t *testing.T, tarred []byte, name string, want answer) {
	if strings.Contains(name, "..") || want.err == syscall.ENOENT || want.err == syscall.ENAMETOOLONG {
		return // names in a tar are cleaned first, and directories that are missing are made
	}
	var rest bytes.Buffer
	w := tar.NewWriter(&rest)
	assert.NilError(t, w.WriteHeader(&tar.Header{Name: name + "/new", Typeflag: tar.TypeReg, Mode: 0o644}))
	assert.NilError(t, w.Close())
	ix, err := layer.Read(t.Context(), bytes.NewReader(append(tarred, rest.Bytes()...)), layer.ReadOptions{})
	switch {
	case want.err != 0:
		assert.Assert(t, errors.Is(err, want.err), "%q in a layer: %v", name, err)
	case want.kind != resolve.Directory:
		assert.Assert(t, errors.Is(err, syscall.ENOTDIR), "%q in a layer: %v", name, err)
	default:
		assert.NilError(t, err)
		_, ok := ix.Find(index.Join(want.path, "new"))
		assert.Assert(t, ok, "%q in a layer is not in %q", name, want.path)
	}
}
