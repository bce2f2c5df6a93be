package index

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
	"gotest.tools/v3/assert"
)

func at(sec int64) time.Time { return time.Unix(sec, 0).UTC() }

func build(t testing.TB, entries ...Entry) *Index {
	t.Helper()
	b := NewBuilder()
	for _, e := range entries {
		assert.NilError(t, b.Add(e))
	}
	ix, err := b.Build()
	assert.NilError(t, err)
	return ix
}

const (
	goldenID        = "sha256:ce40ef84ecfc174539b34ce4c436ca38489f232238ec672d6bbd6a41abf72878"
	goldenContentID = "sha256:f078193ebb103fd590813a6b6be1967bb98710813d8fa7f3c1075ece33866750"
)

func dir(path string) Entry { return Entry{Path: path, Type: Directory, Mode: 0o755, MTime: at(1)} }

func file(path, content string) Entry {
	return Entry{Path: path, Type: Regular, Mode: 0o644, Size: int64(len(content)), MTime: at(2), Digest: digest.FromString(content)}
}

func sample() []Entry {
	return []Entry{
		{Path: "usr", Type: Directory, Mode: 0o1777, UID: 4294967294, GID: 7, MTime: at(-5), Opaque: true},
		file("usr/a.txt", "a"),
		dir("usr/a"),
		{Path: "usr/a/x", Type: Hardlink, Link: "usr/z"},
		{Path: "usr/z", Type: Regular, Mode: 0o4755, Size: 1 << 40, MTime: at(1 << 40), Digest: digest.SHA512.FromString("z"), Offset: 512,
			Xattrs: map[string]string{"security.capability": "\x01\x00", "user.x": ""}},
		{Path: "usr/a-b", Type: Symlink, Link: "../../etc", MTime: at(3), UID: 1},
		{Path: "dev", Type: CharDevice, Mode: 0o600, Major: 1, Minor: 1 << 19, MTime: at(4)},
		{Path: "blk", Type: BlockDevice, Mode: 0o600, Major: 8, MTime: at(4)},
		{Path: "ff", Type: FIFO, Mode: 0o600, MTime: at(4)},
		{Path: "gone", Type: Whiteout},
		dir("etc"),
		{Path: "etc/passwd", Type: Regular, Mode: 0o644, Size: 4, MTime: at(2), Digest: digest.FromString("root"), Data: []byte("root"), Offset: 1024},
	}
}

func TestOrderPutsADirectoryRightBeforeItsContent(t *testing.T) {
	want := []string{".", "a", "a/b", "a/b/c", "a/b-", "a/b.", "a\x01", "a b", "a-", "a.b", "a0", "é"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, Compare)
	assert.DeepEqual(t, got, want)
	for _, p := range want {
		assert.Equal(t, Compare(p, p), 0)
	}
}

func TestIndexHoldsWhatWasAdded(t *testing.T) {
	ix := build(t, sample()...)
	var got []string
	for e := range ix.Entries() {
		got = append(got, e.String())
	}
	want := []string{
		`b 0600 0:0 8,0 4 "blk"`,
		`c 0600 0:0 1,524288 4 "dev"`,
		`d 0755 0:0 0 1 "etc"`,
		`- 0644 0:0 4 2 "etc/passwd" sha256:4813494d137e1631bba301d5acab6e7bb7aa74ce1185d456565ef51d737677b2`,
		`p 0600 0:0 0 4 "ff"`,
		`w "gone"`,
		`d 1777 4294967294:7 0 -5 "usr" opaque`,
		`d 0755 0:0 0 1 "usr/a"`,
		`- 4755 0:0 1099511627776 1099511627776 "usr/a/x" map["security.capability":"\x01\x00" "user.x":""] ` + digest.SHA512.FromString("z").String(),
		`l 0777 1:0 0 3 "usr/a-b" -> "../../etc"`,
		`- 0644 0:0 1 2 "usr/a.txt" ` + digest.FromString("a").String(),
		`h "usr/z" -> "usr/a/x"`,
	}
	assert.Assert(t, cmp.Equal(got, want), cmp.Diff(want, got))
	assert.Assert(t, !ix.Loose())
	assert.Assert(t, ix.Complete())
	e, _ := ix.Find("etc/passwd")
	assert.DeepEqual(t, ix.At(e).Data, []byte("root"))
	assert.Equal(t, ix.At(e).Offset, int64(1024))
	x, _ := ix.Find("usr/a/x")
	assert.Equal(t, ix.At(x).Offset, int64(512), "the promoted name takes the content along")
}

func TestFindRangeAndChildren(t *testing.T) {
	ix := build(t, dir("a"), dir("a/b"), file("a/b/1", ""), file("a/b/2", ""), file("a/c", ""), file("a-", ""), dir("z"))
	names := func(d string) (out []string) {
		for e := range ix.Children(d) {
			out = append(out, e.Path)
		}
		return out
	}
	assert.DeepEqual(t, names("."), []string{"a", "a-", "z"})
	assert.DeepEqual(t, names("a"), []string{"a/b", "a/c"})
	assert.Assert(t, names("z") == nil)
	for _, c := range []struct {
		dir      string
		from, to int
	}{{".", 0, 7}, {"a", 1, 5}, {"a/b", 2, 4}, {"z", 7, 7}, {"nope", 6, 6}} {
		from, to := ix.Range(c.dir)
		assert.DeepEqual(t, []int{from, to}, []int{c.from, c.to})
	}
	for i := range ix.Len() {
		j, ok := ix.Find(ix.PathAt(i))
		assert.Assert(t, ok && i == j)
	}
	_, ok := ix.Find("a/b/3")
	assert.Assert(t, !ok)
}

func TestEveryOrderGivesTheSameFile(t *testing.T) {
	entries := sample()
	var want bytes.Buffer
	_, err := build(t, entries...).WriteTo(&want)
	assert.NilError(t, err)
	slices.Reverse(entries)
	var got bytes.Buffer
	_, err = build(t, entries...).WriteTo(&got)
	assert.NilError(t, err)
	assert.Assert(t, bytes.Equal(got.Bytes(), want.Bytes()))
}

func TestFileRoundTrip(t *testing.T) {
	ix := build(t, sample()...)
	name := filepath.Join(t.TempDir(), "index")
	f, err := os.Create(name)
	assert.NilError(t, err)
	_, err = ix.WriteTo(f)
	assert.NilError(t, err)
	assert.NilError(t, f.Close())

	mapped, err := Open(name)
	assert.NilError(t, err)
	want := slices.Collect(ix.Entries())
	got := slices.Collect(mapped.Entries())
	assert.Equal(t, mapped.ID(), ix.ID())
	assert.NilError(t, mapped.Close())
	assert.NilError(t, mapped.Close())
	assert.DeepEqual(t, got, want, cmpopts.EquateEmpty())

	data, err := os.ReadFile(name)
	assert.NilError(t, err)
	read, err := Read(bytes.NewReader(data))
	assert.NilError(t, err)
	assert.DeepEqual(t, slices.Collect(read.Entries()), want)
	for i := range data {
		data[i] ^= 0x40
		_, err := Read(bytes.NewReader(data))
		assert.Assert(t, errors.Is(err, ErrCorrupt), "byte %d: %v", i, err)
		data[i] ^= 0x40
	}
	for _, n := range []int{0, 7, 39, 40, len(data) - 1} {
		assert.NilError(t, os.WriteFile(name, data[:n], 0o600))
		_, err := Open(name)
		assert.Assert(t, errors.Is(err, ErrCorrupt), "%d bytes: %v", n, err)
	}
}

func TestIDsAreStable(t *testing.T) {
	ix := build(t, sample()...)
	// Changing these invalidates every store: change idVersion with them.
	assert.Equal(t, ix.ID().String(), goldenID)
	assert.Equal(t, ix.ContentID().String(), goldenContentID)

	touched := sample()
	touched[1].MTime = at(99)
	touched[1].Offset = 4096
	other := build(t, touched...)
	assert.Assert(t, other.ID() != ix.ID())
	assert.Equal(t, other.ContentID(), ix.ContentID())

	touched[1].Digest = ""
	assert.Equal(t, build(t, touched...).ID(), digest.Digest(""))
	for i, change := range []func(e *Entry){
		func(e *Entry) { e.Path = "usr/a.txu" },
		func(e *Entry) { e.Mode = 0o645 },
		func(e *Entry) { e.UID = 1 },
		func(e *Entry) { e.GID = 1 },
		func(e *Entry) { e.Size = 2 },
		func(e *Entry) { e.Digest = digest.FromString("b") },
		func(e *Entry) { e.Xattrs = map[string]string{"user.a": ""} },
		func(e *Entry) { e.Type, e.Link = Symlink, "x" },
	} {
		changed := sample()
		change(&changed[1])
		assert.Assert(t, build(t, changed...).ContentID() != ix.ContentID(), "change %d", i)
	}
}

func TestLoose(t *testing.T) {
	for name, c := range map[string]struct {
		entries []Entry
		loose   bool
	}{
		"strict":              {[]Entry{dir("a"), file("a/b", "")}, false},
		"missing parent":      {[]Entry{file("a/b", "")}, true},
		"missing grandparent": {[]Entry{dir("a/b"), file("a/b/c", "")}, true},
		"missing after":       {[]Entry{dir("a"), dir("a/b"), file("b/c", "")}, true},
		"implied":             {[]Entry{{Path: "a", Type: Implied}, file("a/b", "")}, true},
		"link out":            {[]Entry{{Path: "a", Type: Hardlink, Link: "b"}}, true},
		"link in":             {[]Entry{{Path: "a", Type: Hardlink, Link: "b"}, file("b", "")}, false},
		"root":                {[]Entry{dir("."), file("b", "")}, false},
		"opaque root":         {[]Entry{{Path: ".", Type: Directory, Opaque: true}}, true},
		"empty":               {nil, false},
	} {
		assert.Equal(t, build(t, c.entries...).Loose(), c.loose, name)
	}
}

func TestAddRefuses(t *testing.T) {
	long := string(bytes.Repeat([]byte("abcdefg/"), 512)) + "x"
	for _, e := range []Entry{
		dir(""), dir("/a"), dir("a/"), dir("a//b"), dir("./a"), dir("a/../b"), dir(".."), dir("a\x00b"), dir(long),
		dir(".wh.a"), dir("a/.wh..wh..opq"), dir(".wh./a"), dir(string(bytes.Repeat([]byte("n"), 256))),
		{Path: "a", Type: 99}, {Path: "a"}, {Path: ".", Type: Regular},
		{Path: "a", Type: Regular, Mode: 0o100644}, {Path: "a", Type: Regular, UID: -1}, {Path: "a", Type: Regular, Size: -1},
		{Path: "a", Type: Symlink}, {Path: "a", Type: Regular, Link: "b"}, {Path: "a", Type: Hardlink, Link: "../b"},
		{Path: "a", Type: Regular, Digest: "sha256:nonsense"},
		{Path: "a", Type: Regular, Xattrs: map[string]string{"": "x"}},
	} {
		assert.Assert(t, NewBuilder().Add(e) != nil, "%v", e)
	}
	var name *NameError
	assert.Assert(t, errors.As(NewBuilder().Add(dir("a/.wh.foo")), &name))
	assert.Equal(t, name.Path, "a/.wh.foo")
}

func TestBuildRefuses(t *testing.T) {
	for name, entries := range map[string][]Entry{
		"twice":             {file("a", ""), file("a", "x")},
		"below a file":      {file("a", ""), file("a/b", "")},
		"below a whiteout":  {{Path: "a", Type: Whiteout}, file("a/b", "")},
		"link to directory": {dir("a"), {Path: "b", Type: Hardlink, Link: "a"}},
		"circle":            {{Path: "a", Type: Hardlink, Link: "b"}, {Path: "b", Type: Hardlink, Link: "a"}},
		"self":              {{Path: "a", Type: Hardlink, Link: "a"}},
	} {
		b := NewBuilder()
		for _, e := range entries {
			assert.NilError(t, b.Add(e))
		}
		_, err := b.Build()
		assert.Assert(t, err != nil, name)
	}
}

func TestHardLinksChain(t *testing.T) {
	ix := build(t, Entry{Path: "c", Type: Hardlink, Link: "b"}, Entry{Path: "b", Type: Hardlink, Link: "d"}, file("d", "x"), Entry{Path: "e", Type: Hardlink, Link: "c"})
	var got []string
	for e := range ix.Entries() {
		got = append(got, e.Type.String()+e.Path+e.Link)
	}
	assert.DeepEqual(t, got, []string{"-b", "hcb", "hdb", "heb"})
}

func FuzzRead(f *testing.F) {
	var buf bytes.Buffer
	_, err := build(f, sample()...).WriteTo(&buf)
	assert.NilError(f, err)
	f.Add(buf.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > headerSize { // get past the checksum
			data = bytes.Clone(data)
			le.PutUint32(data[8:], checksum(data))
		}
		if inspect(data) == nil { // what Open would accept must not panic
			for e := range newIndex(data).Entries() {
				_ = e.String()
			}
		}
		ix, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again bytes.Buffer
		_, err = ix.WriteTo(&again)
		assert.NilError(t, err)
		assert.Assert(t, bytes.Equal(again.Bytes(), data))
	})
}
