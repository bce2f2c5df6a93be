package container

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
	"github.com/cairnbuild/cairn/sandbox"
)

func imageConfig(c ispec.ImageConfig) dockerspec.DockerOCIImageConfig {
	return dockerspec.DockerOCIImageConfig{ImageConfig: c}
}

func users(t *testing.T) *tree.Tree {
	t.Helper()
	b := index.NewBuilder()
	file := func(name, data string) {
		assert.NilError(t, b.Add(index.Entry{
			Path: name, Type: index.Regular, Mode: 0o644, Size: int64(len(data)), Data: []byte(data), MTime: time.Unix(0, 0).UTC(), Offset: -1,
		}))
	}
	assert.NilError(t, b.Add(index.Entry{Path: "etc", Type: index.Directory, Mode: 0o755, MTime: time.Unix(0, 0).UTC(), Offset: -1}))
	file("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/var/www:/bin/sh\n")
	file("etc/group", "root:x:0:\nwww:x:34:\nextra:x:50:web\n")
	ix, err := b.Build()
	assert.NilError(t, err)
	return tree.New(ix)
}

func TestCommand(t *testing.T) {
	empty, prog := "", "prog"
	both := imageConfig(ispec.ImageConfig{Entrypoint: []string{"entry"}, Cmd: []string{"cmd"}})
	for _, c := range []struct {
		name   string
		config dockerspec.DockerOCIImageConfig
		o      Options
		want   string
	}{
		{"both", both, Options{}, "entry cmd"},
		{"arguments replace CMD", both, Options{Args: []string{"a", "b"}}, "entry a b"},
		{"given entrypoint drops CMD", both, Options{Process: ProcessOptions{Entrypoint: &prog}}, "prog"},
		{"given entrypoint and arguments", both, Options{Process: ProcessOptions{Entrypoint: &prog}, Args: []string{"a"}}, "prog a"},
		{"empty entrypoint", both, Options{Process: ProcessOptions{Entrypoint: &empty}, Args: []string{"a"}}, "a"},
		{"CMD alone", imageConfig(ispec.ImageConfig{Cmd: []string{"cmd"}}), Options{}, "cmd"},
		{"nothing", imageConfig(ispec.ImageConfig{}), Options{}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, strings.Join(command(c.config, c.o), " "), c.want)
			assert.DeepEqual(t, both.Entrypoint, []string{"entry"})
		})
	}
}

func TestProcessOfTheImage(t *testing.T) {
	config := imageConfig(ispec.ImageConfig{
		Cmd: []string{"x"}, User: "web", WorkingDir: "/srv", Env: []string{"A=1", "PATH=/bin", "B=2"},
	})
	p, err := newProcess(config, users(t), Options{Process: ProcessOptions{Env: []string{"B=3", "C=4"}}})
	assert.NilError(t, err)
	assert.DeepEqual(t, p.Env, []string{"A=1", "PATH=/bin", "B=3", "C=4", "HOME=/var/www"})
	assert.Equal(t, p.UID, uint32(33))
	assert.Equal(t, p.GID, uint32(34))
	assert.DeepEqual(t, p.Groups, []uint32{50})
	assert.Equal(t, p.Dir, "/srv")

	p, err = newProcess(config, users(t), Options{Process: ProcessOptions{User: "0:extra", Dir: "/x/../y", Env: []string{"HOME=/h"}}})
	assert.NilError(t, err)
	assert.Equal(t, p.UID, uint32(0))
	assert.Equal(t, p.GID, uint32(50))
	assert.Equal(t, p.Dir, "/y")
	assert.DeepEqual(t, p.Env, []string{"A=1", "PATH=/bin", "B=2", "HOME=/h"})

	p, err = newProcess(config, users(t), Options{Process: ProcessOptions{User: "1234"}, Streams: Streams{TTY: os.Stdin}})
	assert.NilError(t, err)
	assert.Equal(t, p.UID, uint32(1234))
	assert.DeepEqual(t, p.Env, []string{"TERM=xterm", "A=1", "PATH=/bin", "B=2", "HOME=/"})
}

func TestProcessErrors(t *testing.T) {
	_, err := newProcess(imageConfig(ispec.ImageConfig{}), users(t), Options{})
	assert.ErrorContains(t, err, "no command")
	_, err = newProcess(imageConfig(ispec.ImageConfig{Cmd: []string{"x"}}), users(t), Options{Process: ProcessOptions{User: "nobody"}})
	assert.ErrorContains(t, err, "unable to find user nobody")
}

func newContainer(t *testing.T, root, name string, remove bool) *container {
	t.Helper()
	c, err := create(root, oci.Image{}, Options{Name: name, Image: "x", Remove: remove}, []string{"cmd"})
	assert.NilError(t, err)
	return c
}

func TestNamesAreUnique(t *testing.T) {
	root := t.TempDir()
	first := newContainer(t, root, "db", false)
	_, err := create(root, oci.Image{}, Options{Name: "db"}, nil)
	var taken *NameError
	assert.Assert(t, errors.As(err, &taken), "%v", err)
	assert.Equal(t, taken.Taken, first.id[:12])
	entries, err := os.ReadDir(root)
	assert.NilError(t, err)
	assert.Equal(t, len(entries), 2, "the second left something: %v", entries) // names, and the first

	assert.NilError(t, first.close(true))
	second := newContainer(t, root, "db", false)
	assert.NilError(t, os.RemoveAll(second.path())) // the name of a container that is gone is free
	assert.NilError(t, newContainer(t, root, "db", false).close(true))

	_, err = create(root, oci.Image{}, Options{Name: "a/b"}, nil)
	assert.ErrorContains(t, err, "only letters")
	assert.NilError(t, newContainer(t, root, "", false).close(true))
}

func TestRecordStays(t *testing.T) {
	root := t.TempDir()
	c := newContainer(t, root, "kept", false)
	assert.NilError(t, c.close(false))
	data, err := os.ReadFile(c.path("container.json"))
	assert.NilError(t, err)
	var r Record
	assert.NilError(t, json.Unmarshal(data, &r))
	assert.Equal(t, r.ID, c.id)
	assert.Equal(t, r.Name, "kept")
	assert.DeepEqual(t, r.Args, []string{"cmd"})
}

func TestListAndRemove(t *testing.T) {
	root := t.TempDir()
	list, err := List(root)
	assert.NilError(t, err)
	assert.Equal(t, len(list), 0)

	running := newContainer(t, root, "running", false)
	defer running.close(true)
	over := newContainer(t, root, "over", false)
	assert.NilError(t, over.ended(&sandbox.ExitError{Code: 7}, false))
	assert.NilError(t, over.close(false))

	list, err = List(root)
	assert.NilError(t, err)
	assert.Equal(t, len(list), 2)
	found, err := Find(root, over.id[:8])
	assert.NilError(t, err)
	assert.Equal(t, found.ID, over.id)
	assert.Equal(t, *found.ExitCode, 7)
	assert.Assert(t, !found.Running)
	found, err = Find(root, "running")
	assert.NilError(t, err)
	assert.Assert(t, found.Running)
	_, err = Find(root, "")
	assert.ErrorIs(t, err, ErrNotFound)
	_, err = Find(root, "nope")
	assert.ErrorIs(t, err, ErrNotFound)

	assert.ErrorIs(t, Remove(root, running.id), ErrRunning)
	assert.NilError(t, Remove(root, over.id))
	_, err = Find(root, "over")
	assert.ErrorIs(t, err, ErrNotFound)
	assert.NilError(t, newContainer(t, root, "over", false).close(true)) // its name is free
}

func TestSweep(t *testing.T) {
	root := t.TempDir()
	running := newContainer(t, root, "running", true)
	defer running.close(true)
	kept := newContainer(t, root, "kept", false)
	assert.NilError(t, kept.close(false))
	killed := newContainer(t, root, "killed", true)
	assert.NilError(t, killed.lock.Close()) // what the kernel does
	work := killed.path("work", "work")
	assert.NilError(t, os.MkdirAll(work, 0o700))
	assert.NilError(t, os.WriteFile(filepath.Join(work, "f"), nil, 0o600))
	assert.NilError(t, os.Chmod(work, 0)) // as overlayfs leaves it
	fresh := filepath.Join(root, strings.Repeat("a", 64))
	assert.NilError(t, os.Mkdir(fresh, 0o700)) // being made at this moment
	old := filepath.Join(root, strings.Repeat("b", 64))
	assert.NilError(t, os.Mkdir(old, 0o700))
	hourAgo := time.Now().Add(-time.Hour)
	assert.NilError(t, os.Chtimes(old, hourAgo, hourAgo))

	sweep(root)
	for path, there := range map[string]bool{
		running.path(): true, kept.path(): true, killed.path(): false, fresh: true, old: false,
		filepath.Join(namesDir(root), "killed"): false, filepath.Join(namesDir(root), "kept"): true,
	} {
		_, err := os.Lstat(path)
		assert.Equal(t, err == nil, there, path)
	}
	sweep(filepath.Join(root, "nowhere"))
}
