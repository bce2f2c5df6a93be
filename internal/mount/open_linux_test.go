package mount

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/sys"
)

// inside runs the calling test once more as root of a user namespace with one id and reports whether it is there.
func inside(t *testing.T) bool {
	t.Helper()
	if os.Args[0] == "inside" {
		return true
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"inside", "-test.run=^" + t.Name() + "$", "-test.v"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err, "%s", out)
	assert.Assert(t, bytes.Contains(out, []byte("--- PASS: "+t.Name())), "%s", out)
	return false
}

// layers makes an overlay of two layers in a directory whose name overlayfs could not take as it stands.
func layers(t *testing.T) Mount {
	t.Helper()
	dir := filepath.Join(t.TempDir(), `a,b:c\d`)
	for _, name := range []string{"one", "two", "upper", "work"} {
		assert.NilError(t, os.MkdirAll(filepath.Join(dir, name), 0o755))
	}
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "one/who"), []byte("one"), 0o644))
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "two/who"), []byte("two"), 0o644))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "work/work"), 0o700) })
	return Mount{
		Type: Overlay, Lower: []string{filepath.Join(dir, "two"), filepath.Join(dir, "one")},
		Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"),
	}
}

func at(t *testing.T, fd sys.FD, name string) (sys.FD, error) {
	t.Helper()
	f, err := sys.OpenAt(fd, name, unix.O_RDWR|unix.O_CREAT, 0o644)
	return f, err
}

func TestOverlayBothWays(t *testing.T) {
	if !inside(t) {
		return
	}
	assert.Assert(t, takesLayersSingly(), "this kernel is older than Linux 6.7")
	for _, readOnly := range []bool{false, true} {
		m := layers(t)
		m.ReadOnly = readOnly
		for _, open := range []func() (sys.FD, error){m.Open, func() (sys.FD, error) {
			var d dirs
			defer d.close()
			return m.openOverlayLegacy([]sys.Parameter{
				{Key: "lowerdir+", Value: d.name(m.Lower[0])}, {Key: "lowerdir+", Value: d.name(m.Lower[1])},
				{Key: "upperdir", Value: d.name(m.Upper)}, {Key: "workdir", Value: d.name(m.Work)},
				{Key: "volatile"}, {Key: "userxattr"},
			})
		}} {
			fd, err := open()
			assert.NilError(t, err)
			who, err := sys.OpenAt(fd, "who", unix.O_RDONLY, 0)
			assert.NilError(t, err)
			var b [3]byte
			_, err = unix.Read(int(who), b[:])
			assert.NilError(t, err)
			assert.Equal(t, string(b[:]), "two")
			who.Close()
			f, err := at(t, fd, "new")
			assert.Equal(t, err != nil, readOnly, "%v", err)
			f.Close()
			fd.Close()
			// The next way needs a new work directory.
			assert.NilError(t, os.Chmod(filepath.Join(m.Work, "work"), 0o700))
			assert.NilError(t, os.RemoveAll(m.Work))
			assert.NilError(t, os.Mkdir(m.Work, 0o755))
		}
	}
}

func TestBind(t *testing.T) {
	if !inside(t) {
		return
	}
	dir := t.TempDir()
	below := filepath.Join(dir, "below")
	assert.NilError(t, os.Mkdir(below, 0o755))
	assert.NilError(t, Mount{Type: Tmpfs}.Attach(below))
	defer func() { assert.NilError(t, unix.Unmount(below, 0)) }()

	fd, err := Mount{Type: Bind, Source: dir, ReadOnly: true}.Open()
	assert.NilError(t, err)
	for _, name := range []string{"new", "below/new"} { // read-only with all that is mounted in it
		_, err = at(t, fd, name)
		assert.ErrorIs(t, err, unix.EROFS)
	}
	fd.Close()
	fd, err = Mount{Type: Bind, Source: dir}.Open()
	assert.NilError(t, err)
	f, err := at(t, fd, "below/new")
	assert.NilError(t, err)
	f.Close()
	fd.Close()
	_, err = os.Stat(filepath.Join(below, "new"))
	assert.NilError(t, err)
}

func TestTmpfs(t *testing.T) {
	if !inside(t) {
		return
	}
	fd, err := Mount{Type: Tmpfs, Size: 8 << 12, Mode: 0o711, NoExec: true, NoSuid: true, NoDev: true}.Open()
	assert.NilError(t, err)
	defer fd.Close()
	var st unix.Stat_t
	assert.NilError(t, unix.Fstat(int(fd), &st))
	assert.Equal(t, st.Mode&0o7777, uint32(0o711))
	var fs unix.Statfs_t
	assert.NilError(t, unix.Fstatfs(int(fd), &fs))
	assert.Equal(t, fs.Blocks, uint64(8))
	const flags = unix.ST_NOEXEC | unix.ST_NOSUID | unix.ST_NODEV
	assert.Equal(t, fs.Flags&flags, int64(flags))
}

func TestErrors(t *testing.T) {
	if !inside(t) {
		return
	}
	_, err := Mount{Type: "nfs", Target: "/x"}.Open()
	assert.ErrorContains(t, err, `unknown type "nfs"`)
	_, err = Mount{Type: Bind, Source: "/no/such"}.Open()
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = Mount{Type: Overlay, Lower: make([]string, MaxLower+1)}.Open()
	assert.ErrorIs(t, err, ErrTooManyLower)
	m := layers(t)
	m.Lower[1] += "/none"
	_, err = m.Open()
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.Assert(t, strings.Contains(err.Error(), m.Lower[1]), "%v", err)
	m = layers(t)
	m.Upper = "/proc"
	_, err = m.Open()
	assert.ErrorIs(t, err, unix.EINVAL)
	assert.ErrorContains(t, err, "overlay:") // the kernel's own words
}
