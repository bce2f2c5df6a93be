package copier

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairnbuild/cairn/internal/contextdir"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
	"github.com/opencontainers/go-digest"
	"gotest.tools/v3/assert"
)

var now = time.Unix(1_700_000_000, 0).UTC()

// buildTree makes a tree of layers, each described by lines "path type mode uid:gid [content or target]" where type is f, d, l, h
// (hard link), w (whiteout) or p (fifo). Missing fields of a directory and file are 755 or 644 and 0:0.
func buildTree(t testing.TB, layers ...string) *tree.Tree {
	t.Helper()
	tr := tree.New()
	for _, text := range layers {
		b := index.NewBuilder()
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); len(f) > 0 {
				assert.NilError(t, b.Add(entry(t, f)), line)
			}
		}
		ix, err := b.Build()
		assert.NilError(t, err)
		assert.Assert(t, !ix.Loose())
		tr = tr.Push(ix)
	}
	return tr
}

func entry(t testing.TB, f []string) index.Entry {
	t.Helper()
	e := index.Entry{Path: f[0], Mode: 0o644, MTime: now.Add(-time.Hour), Offset: -1}
	rest := ""
	if len(f) > 2 {
		_, err := fmt.Sscanf(f[2], "%o", &e.Mode)
		assert.NilError(t, err)
	}
	if len(f) > 3 {
		_, err := fmt.Sscanf(f[3], "%d:%d", &e.UID, &e.GID)
		assert.NilError(t, err)
	}
	if len(f) > 4 {
		rest = f[4]
	}
	switch f[1] {
	case "f":
		e.Type, e.Size, e.Digest = index.Regular, int64(len(rest)), digest.FromString(rest)
		if e.Path == "etc/passwd" || e.Path == "etc/group" {
			e.Data = []byte(rest)
		}
	case "d":
		e.Type = index.Directory
		if len(f) < 3 {
			e.Mode = 0o755
		}
	case "l":
		e.Type, e.Mode, e.Link = index.Symlink, 0o777, rest
	case "h":
		e = index.Entry{Path: f[0], Type: index.Hardlink, Link: rest, Offset: -1}
	case "w":
		e = index.Entry{Path: f[0], Type: index.Whiteout, Offset: -1}
	case "p":
		e.Type = index.FIFO
	}
	return e
}

// stageOf makes a Source of a tree made by buildTree: a file's content is what the line said.
func stageOf(t testing.TB, layers ...string) *Stage {
	t.Helper()
	c := &textContents{t: buildTree(t, layers...), text: map[string]string{}}
	for n, text := range layers {
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); len(f) > 4 {
				c.text[fmt.Sprint(n, f[0])] = f[4]
			}
		}
	}
	return NewStage(c.t, c)
}

type textContents struct {
	t    *tree.Tree
	text map[string]string
}

func (c *textContents) Open(_ context.Context, layer int, e index.Entry) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(c.text[fmt.Sprint(layer, e.Path)])), nil
}

func (c *textContents) Digests(context.Context, int) (*index.Index, error) {
	return nil, fmt.Errorf("every digest is there")
}

// contextOf makes a context of "path" -> content; "path/" is a directory, "-> x" a link to x, "=> x" a hard link to x.
func contextOf(t testing.TB, files map[string]string) *contextdir.Context {
	t.Helper()
	c, err := contextdir.Open(dirOf(t, files), nil, contextdir.Options{})
	assert.NilError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func dirOf(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	var links [][2]string
	for p, content := range files {
		full := filepath.Join(dir, p)
		assert.NilError(t, os.MkdirAll(filepath.Dir(full), 0o755))
		switch {
		case strings.HasSuffix(p, "/"):
			assert.NilError(t, os.MkdirAll(full, 0o755))
		case strings.HasPrefix(content, "-> "):
			assert.NilError(t, os.Symlink(content[3:], full))
		case strings.HasPrefix(content, "=> "):
			links = append(links, [2]string{filepath.Join(dir, content[3:]), full})
		default:
			assert.NilError(t, os.WriteFile(full, []byte(content), 0o644))
		}
	}
	for _, l := range links {
		assert.NilError(t, os.Link(l[0], l[1]))
	}
	return dir
}

// items are sources by name.
func items(patterns ...string) []Item {
	var list []Item
	for _, p := range patterns {
		list = append(list, Item{Pattern: p})
	}
	return list
}

// show lists a layer: one line per entry, with the content of files.
func show(t testing.TB, r *Result) []string {
	t.Helper()
	lines := []string{}
	for e := range r.Index.Entries() {
		kind := map[index.Type]string{
			index.Regular: "file", index.Directory: "directory", index.Symlink: "symlink", index.FIFO: "fifo",
			index.CharDevice: "char", index.BlockDevice: "block",
		}[e.Type]
		s := fmt.Sprintf("%s %s %o %d:%d", e.Path, kind, e.Mode, e.UID, e.GID)
		switch e.Type {
		case index.Regular:
			rc, err := r.Open(t.Context(), e)
			assert.NilError(t, err, e.Path)
			data, err := io.ReadAll(rc)
			assert.NilError(t, err, e.Path)
			assert.NilError(t, rc.Close())
			assert.Equal(t, e.Digest, digest.FromBytes(data), e.Path)
			assert.Equal(t, e.Size, int64(len(data)), e.Path)
			s += " " + string(data)
		case index.Symlink:
			s = fmt.Sprintf("%s %s %d:%d -> %s", e.Path, kind, e.UID, e.GID, e.Link)
		case index.Hardlink:
			s = fmt.Sprintf("%s => %s", e.Path, e.Link)
		case index.Whiteout:
			s = fmt.Sprintf("%s whiteout", e.Path)
		}
		if e.Opaque {
			s += " opaque"
		}
		lines = append(lines, s)
	}
	return lines
}

// layerOf gathers what r copies and applies it.
func layerOf(t testing.TB, below *tree.Tree, r Request) (*Result, error) {
	t.Helper()
	if r.TempDir == nil {
		r.TempDir = func() (string, error) { return t.TempDir(), nil }
	}
	g, err := Gather(t.Context(), r)
	if err != nil {
		return nil, err
	}
	return g.Apply(t.Context(), below)
}

// apply runs a request, checks what every layer must be, and lists it.
func apply(t testing.TB, below *tree.Tree, r Request) ([]string, *Result) {
	t.Helper()
	if r.Now.IsZero() {
		r.Now = now
	}
	res, err := layerOf(t, below, r)
	assert.NilError(t, err)
	t.Cleanup(func() { res.Close() })
	assert.Assert(t, !res.Index.Loose())
	assert.Assert(t, res.Index.Complete())
	return show(t, res), res
}

func fails(t testing.TB, below *tree.Tree, r Request, text string) error {
	t.Helper()
	_, err := layerOf(t, below, r)
	assert.ErrorContains(t, err, text)
	return err
}

// xattrSource gives every file a capability.
type xattrSource struct{ *Stage }

func (s *xattrSource) Fill(ctx context.Context, files []File) error {
	for i := range files {
		if files[i].Type == index.Regular {
			files[i].Xattrs = map[string]string{"security.capability": "cap"}
		}
	}
	return s.Stage.Fill(ctx, files)
}
