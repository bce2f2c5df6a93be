package copier

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"gotest.tools/v3/assert"
)

// TestSymbolicModesAreThoseOfChmod asks the system's chmod. The sticky bit is left out: BuildKit follows BSD there, where it
// belongs to no class of users, and GNU gives it to the others.
func TestSymbolicModesAreThoseOfChmod(t *testing.T) {
	copies := regexp.MustCompile("=[ugo]")
	dir := t.TempDir()
	for _, change := range []string{
		"u=rwX,go=rX", "a+x", "+x", "-w", "=r", "u+s", "g+s", "ug+s", "o+s", "+t", "u=g", "g=u", "o=g", "go=u-w", "u=rwx,g=rx,o=",
		"u+X", "go-rwx", "u=,g=,o=", "=", "u+rw-x", "ug=rw,o=r", "u-s", "-t", "o=u", "ug+X,o-r", "g-s", "u=s", "u+x,g=u", "a=",
	} {
		for _, mode := range []uint32{0o644, 0o755, 0o600, 0o000, 0o4755, 0o2755, 0o711, 0o6777, 0o444} {
			for _, isDir := range []bool{false, true} {
				if mode&0o6000 != 0 && (isDir || copies.MatchString(change)) {
					// GNU chmod keeps a directory's setuid and setgid unless told more clearly, and takes them away when it copies
					// one class's permissions; BSD's, whose meaning BuildKit has, does neither.
					continue
				}
				m, err := parseMode(change)
				assert.NilError(t, err, change)
				p := filepath.Join(dir, fmt.Sprintf("%o-%v", mode, isDir))
				assert.NilError(t, os.RemoveAll(p)) // chmod does not take setuid off a directory
				if isDir {
					assert.NilError(t, os.MkdirAll(p, 0o755))
				} else {
					assert.NilError(t, os.WriteFile(p, nil, 0o600))
				}
				out, err := exec.Command("sh", "-c", fmt.Sprintf("umask 0; chmod %o %s && chmod -- %s %s && stat -c %%a %s", mode, p, change, p, p)).CombinedOutput()
				assert.NilError(t, err, "%s: %s", change, out)
				assert.Equal(t, fmt.Sprintf("%o\n", m.apply(mode, isDir)), string(out), "%s of %o, directory %v", change, mode, isDir)
			}
		}
	}
}

func TestStickyBit(t *testing.T) {
	for change, want := range map[string]uint32{
		"+t": 0o1755, "u+t": 0o1755, "o+t": 0o755, "u=rwxt,go=": 0o1700, "+rt": 0o1755, "o=": 0o750, "a=rwxst": 0o7777,
	} {
		m, err := parseMode(change)
		assert.NilError(t, err)
		assert.Equal(t, m.apply(0o755, false), want, change)
	}
	for change, want := range map[string]uint32{"-t": 0o755, "o=rx": 0o1755, "o-t": 0o1755, "=": 0o1000, "u-t": 0o755} {
		m, err := parseMode(change)
		assert.NilError(t, err)
		assert.Equal(t, m.apply(0o1755, false), want, change)
	}
}

func TestConditionalExecuteLooksAtTheModeBefore(t *testing.T) {
	m, err := parseMode("a-x,a+X")
	assert.NilError(t, err)
	assert.Equal(t, m.apply(0o700, false), uint32(0o711))
	assert.Equal(t, m.apply(0o644, false), uint32(0o644))
	assert.Equal(t, m.apply(0o644, true), uint32(0o755))
}

func TestCopyingAClassLeavesSetuidAlone(t *testing.T) {
	m, err := parseMode("u=g,g=o")
	assert.NilError(t, err)
	assert.Equal(t, m.apply(0o6754, false), uint32(0o6544))
}

func TestOctalModes(t *testing.T) {
	for in, want := range map[string]uint32{"0": 0, "755": 0o755, "0755": 0o755, "7777": 0o7777, "00004755": 0o4755, "1": 1} {
		m, err := parseMode(in)
		assert.NilError(t, err, in)
		assert.Equal(t, m.apply(0o123, false), want)
	}
	m, err := parseMode("")
	assert.NilError(t, err)
	assert.Equal(t, m.apply(0o123, true), uint32(0o123))
}

func TestBadModes(t *testing.T) {
	for _, in := range []string{"8", "10000", "0x1", "755x", "u", "u+r,", ",u+r", "u+q", "z=r", "u r", "rw", "u=rw g=r", "-8", "+1", "é"} {
		_, err := parseMode(in)
		assert.ErrorContains(t, err, "--chmod", "%q", in)
	}
}

func FuzzParseMode(f *testing.F) {
	for _, s := range []string{"755", "u=rwX,go=rX", "a+x-w=s", "u=g,g=o", "+t", "=", ""} {
		f.Add(s, uint32(0o644), true)
	}
	f.Fuzz(func(t *testing.T, s string, mode uint32, isDir bool) {
		m, err := parseMode(s)
		if err != nil {
			return
		}
		if got := m.apply(mode&0o7777, isDir); got > 0o7777 {
			t.Fatalf("%q of %o gives %o", s, mode&0o7777, got)
		}
	})
}
