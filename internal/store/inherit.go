package store

import (
	"context"
	"fmt"
	"io"
	"io/fs"

	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
	"github.com/cairnbuild/cairn/oci/tree"
)

// inherited is a file of a layer in a chain whose content is not in its tar: there it is a hard link to a file of a layer below.
type inherited struct {
	Path  string
	Layer string
	From  string
}

// inheritance finds where the files of strict come from that loose has as hard links to the layers below.
func inheritance(ctx context.Context, loose, strict *index.Index, below []*Layer, under *tree.Tree) ([]inherited, error) {
	var all []inherited
	merged := under.Push(strict)
	for e := range loose.Entries() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if e.Type != index.Hardlink {
			continue
		}
		if _, own := loose.Find(e.Link); own {
			continue
		}
		path, err := throughLinks(merged, e.Path)
		if err != nil {
			return nil, err
		}
		i, ok := strict.Find(path)
		if !ok {
			continue // replaced by a later entry
		}
		if file := strict.At(i); file.Type != index.Regular || file.Size == 0 || file.Offset != -1 {
			continue
		}
		target, err := throughLinks(under, e.Link)
		if err != nil {
			return nil, err
		}
		n, ok := under.Lookup(target)
		if !ok || n.Layer < 0 {
			return nil, fmt.Errorf("%q: hard link to %q, which does not exist", e.Path, e.Link)
		}
		all = append(all, inherited{Path: path, Layer: below[n.Layer].ID(), From: n.LinkPath})
	}
	return all, nil
}

// throughLinks resolves all of path but its last component, as link(2) does.
func throughLinks(t *tree.Tree, path string) (string, error) {
	dir, _, err := t.ResolveNew(index.Parent(path))
	if err != nil {
		return "", err
	}
	return index.Join(dir, index.Base(path)), nil
}

// heir is a Source for a layer in a chain: what the layer's own tar has not, the layers below have.
type heir struct {
	own  layer.Source // nil for none
	s    *Store
	from map[string]inherited
}

// inheriting makes own a Source that has the inherited files too.
func (l *Layer) inheriting(own layer.Source) layer.Source {
	m := l.meta()
	if len(m.Inherited) == 0 {
		return own
	}
	h := &heir{own: own, s: l.s, from: make(map[string]inherited, len(m.Inherited))}
	for _, in := range m.Inherited {
		h.from[in.Path] = in
	}
	return h
}

// Open implements layer.Source.
func (h *heir) Open(ctx context.Context, e index.Entry) (io.ReadCloser, error) {
	in, ok := h.from[e.Path]
	if !ok {
		if h.own == nil {
			return nil, fmt.Errorf("%q: its content is nowhere: %w", e.Path, fs.ErrNotExist)
		}
		return h.own.Open(ctx, e)
	}
	l, err := h.s.Layer(in.Layer)
	if err != nil {
		return nil, err
	}
	r, err := l.OpenFile(ctx, in.From)
	if err != nil {
		l.Release()
		return nil, err
	}
	return &releasing{r, l}, nil
}

// OpenFile opens the content of the file that has this path in the layer's index. An entry of any other index of the same layer, such
// as the one a RUN leaves before its files are packed, need not say where in a tar the content is. The errors are those of Source.
func (l *Layer) OpenFile(ctx context.Context, path string) (io.ReadCloser, error) {
	ix, err := l.Index()
	if err != nil {
		return nil, err
	}
	i, ok := ix.Find(path)
	if !ok {
		return nil, fmt.Errorf("%q in layer %s: %w", path, l.st.id, fs.ErrNotExist)
	}
	src, err := l.Source(ctx)
	if err != nil {
		return nil, err
	}
	return src.Open(ctx, ix.At(i))
}

// releasing releases a layer with the last use of its content.
type releasing struct {
	io.ReadCloser
	l *Layer
}

func (r *releasing) Close() error {
	defer r.l.Release()
	return r.ReadCloser.Close()
}
