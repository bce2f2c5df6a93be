package layer_test

import (
	"bytes"
	"io"
	"slices"
	"testing"

	umoci "github.com/opencontainers/umoci/oci/layer"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
)

// without returns the index without some entries.
func without(t testing.TB, ix *index.Index, drop func(index.Entry) bool) *index.Index {
	t.Helper()
	b := index.NewBuilder()
	for e := range ix.Entries() {
		if !drop(e) {
			assert.NilError(t, b.Add(e))
		}
	}
	out, err := b.Build()
	assert.NilError(t, err)
	return out
}

func isDevice(e index.Entry) bool {
	return e.Type == index.CharDevice || e.Type == index.BlockDevice || e.Path == "dev/null2"
}

// TestUmociAgrees holds both directions against umoci: the directory that it makes of our blob, and the blob that it makes of
// our directory. It cannot keep devices, nor, with one id, the owners of links and FIFOs.
func TestUmociAgrees(t *testing.T) {
	everyNamespace(t, func(t *testing.T, mode owners.Mode) {
		format := umoci.OverlayfsRootfs{UserXattr: true}
		format.MapOptions.Rootless = mode == owners.Record
		ix, src := sample(t)
		ix = without(t, ix, isDevice)
		tar, full := tarOf(t, ix, src)
		want := full
		if mode == owners.Record {
			want = ownedByRoot(t, full)
		}

		theirs := mkdir(t, "theirs")
		assert.NilError(t, umoci.UnpackLayer(theirs, bytes.NewReader(tar), &umoci.UnpackOptions{OnDiskFormat: format}))
		same(t, scanned(t, theirs, layer.ScanOptions{Owners: mode}), withoutEmptyXattrs(t, want), "umoci's directory of our blob")

		ours, _ := formOf(t, full, tar, mode)
		blob := umoci.GenerateInsertLayer(ours, "/", false, &umoci.RepackOptions{OnDiskFormat: format})
		defer blob.Close()
		data, err := io.ReadAll(blob)
		assert.NilError(t, err)
		read, err := readHashed(t, data, layer.ReadOptions{})
		assert.NilError(t, err)
		read = without(t, read, func(e index.Entry) bool { return e.Path == "." })
		same(t, read, withoutEmptyXattrs(t, want), "umoci's blob of our directory")
	})
}

// ownedByRoot gives links and FIFOs to root.
func ownedByRoot(t testing.TB, ix *index.Index) *index.Index {
	return edited(t, ix, func(e *index.Entry) {
		if e.Type == index.Symlink || e.Type == index.FIFO {
			e.UID, e.GID = 0, 0
		}
	})
}

// withoutEmptyXattrs drops xattrs without value, as umoci does.
func withoutEmptyXattrs(t testing.TB, ix *index.Index) *index.Index {
	return edited(t, ix, func(e *index.Entry) { delete(e.Xattrs, "user.empty") })
}

func edited(t testing.TB, ix *index.Index, edit func(*index.Entry)) *index.Index {
	t.Helper()
	b := index.NewBuilder()
	for _, e := range slices.Collect(ix.Entries()) {
		edit(&e)
		assert.NilError(t, b.Add(e))
	}
	out, err := b.Build()
	assert.NilError(t, err)
	return out
}
