package layer_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
)

// TestIdentity is rule 11: index -> blob -> directory -> index -> blob is the identity, with owners held either way.
func TestIdentity(t *testing.T) {
	everyNamespace(t, func(t *testing.T, mode owners.Mode) {
		ix, src := sample(t)
		tar, full := tarOf(t, ix, src)
		assert.Assert(t, full.Complete())

		read, err := readHashed(t, tar, layer.ReadOptions{})
		assert.NilError(t, err)
		same(t, read, full, "read without a directory")

		for _, how := range []string{"Read", "Extract"} {
			dir, table := mkdir(t, how), owners.NewTable()
			o := layer.ReadOptions{Dir: dir, Owners: mode, Table: table}
			if how == "Read" {
				read, err := readHashed(t, tar, o)
				assert.NilError(t, err)
				same(t, read, full, "read with a directory")
				assert.DeepEqual(t, slices.Collect(read.Entries()), slices.Collect(full.Entries())) // Offsets too
			} else {
				assert.NilError(t, layer.Extract(t.Context(), full, bytes.NewReader(tar), dir, o))
			}
			saved := filepath.Join(t.TempDir(), "owners")
			assert.NilError(t, table.Save(saved))
			table, err := owners.LoadTable(saved)
			assert.NilError(t, err)
			again := scanned(t, dir, layer.ScanOptions{Owners: mode, Table: table})
			same(t, again, full, how+" and Scan")
			assert.Equal(t, again.ID(), full.ID())
			tar2, _ := tarOf(t, again, layer.DirSource(dir))
			assert.Assert(t, bytes.Equal(tar2, tar), "%s: the blob differs", how)
		}
	})
}

// TestDirectoryFirst starts where a RUN does: from a directory that system calls made.
func TestDirectoryFirst(t *testing.T) {
	inNamespace(t, fullMap, func(t *testing.T, mode owners.Mode) {
		dir := mkdir(t, "upper")
		in := func(name string) string { return filepath.Join(dir, name) }
		assert.NilError(t, os.Mkdir(in("a"), 0o755))
		assert.NilError(t, os.Mkdir(in("b"), 0o755))
		assert.NilError(t, os.Chmod(in("b"), 0o750|os.ModeSetgid))
		assert.NilError(t, os.WriteFile(in("b/file"), []byte("x"), 0o644))
		assert.NilError(t, os.Link(in("b/file"), in("a/name")))
		assert.NilError(t, os.Lchown(in("b/file"), 12, 34))
		assert.NilError(t, os.Chmod(in("b/file"), 0o755|os.ModeSetuid|os.ModeSticky))
		assert.NilError(t, unix.Setxattr(in("b/file"), "security.capability", []byte(capabilityValue), 0))
		assert.NilError(t, unix.Setxattr(in("b/file"), "user.overlay.origin", []byte("kernel's"), 0))
		assert.NilError(t, unix.Setxattr(in("b/file"), "user.overlay.overlay.origin", []byte("image's"), 0))
		assert.NilError(t, unix.Setxattr(in("a"), "user.overlay.opaque", []byte("y"), 0))
		assert.NilError(t, unix.Mknod(in("gone"), unix.S_IFCHR, 0))
		assert.NilError(t, os.WriteFile(in("gone2"), nil, 0o644))
		assert.NilError(t, unix.Setxattr(in("gone2"), "user.overlay.whiteout", []byte("y"), 0))
		assert.NilError(t, os.Symlink("../../out", in("link")))
		assert.NilError(t, unix.Lchown(in("link"), 5, 6))
		assert.NilError(t, unix.Mknod(in("sock"), unix.S_IFSOCK|0o600, 0))
		for _, name := range []string{"a", "b", "b/file", "link"} {
			ts := unix.NsecToTimespec(time.Unix(1234, 567_890).UnixNano())
			assert.NilError(t, unix.UtimesNanoAt(unix.AT_FDCWD, in(name), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
		}
		ix := scanned(t, dir, layer.ScanOptions{Owners: mode})
		got := []string{}
		for e := range ix.Entries() {
			e.Digest = ""
			got = append(got, e.String())
		}
		assert.DeepEqual(t, got, []string{
			`d 0755 0:0 0 1234 "a" opaque`,
			`- 5755 12:34 1 1234 "a/name" map["security.capability":"` + `\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00` + `" "user.overlay.origin":"image's"]`,
			`d 2750 0:0 0 1234 "b"`,
			`h "b/file" -> "a/name"`,
			`w "gone"`,
			`w "gone2"`,
			`l 0777 5:6 0 1234 "link" -> "../../out"`,
		})
		var st unix.Stat_t
		assert.NilError(t, unix.Lstat(in("b/file"), &st))
		assert.Equal(t, st.Mtim.Nsec, int64(0), "the directory has the index's mtimes")
		tar, full := tarOf(t, ix, layer.DirSource(dir))
		form, _ := formOf(t, full, tar, mode)
		same(t, scanned(t, form, layer.ScanOptions{Owners: mode}), full, "through the blob")
	})
}

func TestSparseFile(t *testing.T) {
	const size = 1 << 30
	dir := mkdir(t, "big")
	f, err := os.Create(filepath.Join(dir, "sparse"))
	assert.NilError(t, err)
	_, err = f.WriteAt([]byte("middle"), size/2)
	assert.NilError(t, err)
	assert.NilError(t, f.Truncate(size))
	assert.NilError(t, f.Close())
	ix, err := layer.Scan(t.Context(), dir, layer.ScanOptions{Owners: owners.Record})
	assert.NilError(t, err)

	pr, pw, err := os.Pipe()
	assert.NilError(t, err)
	out := mkdir(t, "out")
	done := make(chan error)
	var read *index.Index
	go func() {
		var err error
		read, err = layer.Read(t.Context(), pr, layer.ReadOptions{Dir: out, Owners: owners.Record})
		done <- err
	}()
	packed, err := layer.Pack(t.Context(), discard{}, ix, layer.DirSource(dir), compress.Options{Algorithm: compress.Zstd}, pw)
	assert.NilError(t, err)
	assert.NilError(t, pw.Close())
	assert.NilError(t, <-done)
	assert.Equal(t, read.At(0).Size, int64(size))
	assert.Assert(t, packed.Size < 1<<20 && packed.TarSize > size, "%+v", packed)
	var st syscall.Stat_t
	assert.NilError(t, syscall.Stat(filepath.Join(out, "sparse"), &st))
	assert.Equal(t, st.Size, int64(size))
	assert.Assert(t, st.Blocks*512 < 1<<20, "%d blocks", st.Blocks)
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
