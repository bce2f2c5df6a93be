package snapshot

import (
	"testing"
	"time"

	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
	"gotest.tools/v3/assert"
)

func imageOf(t *testing.T, entries ...index.Entry) *tree.Tree {
	t.Helper()
	b := index.NewBuilder()
	for _, e := range entries {
		e.MTime, e.Offset = time.Unix(1e9, 0).UTC(), -1
		assert.NilError(t, b.Add(e))
	}
	ix, err := b.Build()
	assert.NilError(t, err)
	return tree.New(ix)
}

func TestPoints(t *testing.T) {
	p := NewPoints(imageOf(t,
		index.Entry{Path: "etc", Type: index.Directory, Mode: 0o700, UID: 7},
		index.Entry{Path: "etc/hosts", Type: index.Regular, Mode: 0o600},
		index.Entry{Path: "etc/resolv.conf", Type: index.Symlink, Mode: 0o777, Link: "../run/r/resolv.conf"},
		index.Entry{Path: "proc", Type: index.Directory, Mode: 0o555},
		index.Entry{Path: "up", Type: index.Symlink, Mode: 0o777, Link: "../../../etc"},
	))
	for _, tc := range []struct {
		target string
		dir    bool
		want   string
	}{
		{"/proc", true, "/proc"},
		{"/etc/hosts", false, "/etc/hosts"},
		{"/etc/resolv.conf", false, "/run/r/resolv.conf"}, // where the link leads, which is nowhere yet
		{"/a/b/../c", true, "/a/c"},
		{"/up/new", false, "/etc/new"}, // no link leads out of the image
	} {
		got, err := p.Need(tc.target, tc.dir)
		assert.NilError(t, err, tc.target)
		assert.Equal(t, got, tc.want)
	}
	ix, err := p.Index()
	assert.NilError(t, err)
	var got []string
	for e := range ix.Entries() {
		got = append(got, e.Path)
	}
	assert.DeepEqual(t, got, []string{"a", "a/c", "etc", "etc/new", "run", "run/r", "run/r/resolv.conf"})
	i, _ := ix.Find("etc")
	assert.Equal(t, ix.At(i).UID, 7, "a parent is as in the image")
	assert.Equal(t, ix.At(i).Mode, uint32(0o700))

	for _, tc := range []struct {
		target string
		dir    bool
		want   string
	}{
		{"/etc/hosts", true, "mount point /etc/hosts: is not a directory in the image"},
		{"/proc", false, "mount point /proc: is not a file in the image"},
		{"/", true, "the root itself is no mount point"},
		{"/etc/hosts/x", false, "mount point /etc/hosts/x"},
	} {
		_, err := p.Need(tc.target, tc.dir)
		assert.ErrorContains(t, err, tc.want)
	}
}
