package copier

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
)

// StageContents gives the contents of a stage's files, layer by layer. Layers are numbered as in the stage's tree. Methods may be
// called from several goroutines.
type StageContents interface {
	// Open returns the content of a regular file of a layer; e is its entry in that layer's index.
	Open(ctx context.Context, layer int, e index.Entry) (io.ReadCloser, error)
	// Digests returns a layer's index with every file's digest.
	Digests(ctx context.Context, layer int) (*index.Index, error)
}

// Stage is the Source of COPY --from: another stage or an image. Owners are kept.
type Stage struct {
	tree     *tree.Tree
	contents StageContents
}

// NewStage makes a Source of a tree.
func NewStage(t *tree.Tree, contents StageContents) *Stage {
	return &Stage{tree: orEmpty(t), contents: contents}
}

// Resolve finds path, following every link, clipped at the root.
func (s *Stage) Resolve(_ context.Context, path string) (File, error) {
	real, n, err := s.tree.Resolve(rooted(path))
	if err != nil {
		return File{}, err
	}
	n.Path = real
	return stageFile(n), nil
}

// ReadDir lists a directory without following links.
func (s *Stage) ReadDir(_ context.Context, dir string) ([]File, error) {
	nodes := s.tree.ReadDir(dir)
	files := make([]File, len(nodes))
	for i, n := range nodes {
		files[i] = stageFile(n)
	}
	return files, nil
}

func stageFile(n tree.Node) File {
	f := File{Entry: n.Entry}
	if n.Type == index.Regular {
		f.Inode = strconv.Itoa(n.Layer) + ":" + n.LinkPath
	}
	return f
}

// Fill asks the layers for the digests that are missing; a layer of a pulled image has none until it is asked first.
func (s *Stage) Fill(ctx context.Context, files []File) error {
	complete := map[int]*index.Index{}
	for i := range files {
		f := &files[i]
		if f.Type != index.Regular || f.Digest != "" {
			continue
		}
		n, ok := s.tree.Lookup(f.Path)
		if !ok {
			return fmt.Errorf("%q is not in the stage", f.Path)
		}
		ix := complete[n.Layer]
		if ix == nil {
			var err error
			if ix, err = s.contents.Digests(ctx, n.Layer); err != nil {
				return fmt.Errorf("hash layer %d: %w", n.Layer, err)
			}
			complete[n.Layer] = ix
		}
		at, ok := ix.Find(n.LinkPath)
		if !ok {
			return fmt.Errorf("layer %d has no %q", n.Layer, n.LinkPath)
		}
		f.Digest = ix.At(at).Digest
	}
	return nil
}

// Open returns a file's content from the layer that has it.
func (s *Stage) Open(ctx context.Context, e index.Entry) (io.ReadCloser, error) {
	n, ok := s.tree.Lookup(e.Path)
	if !ok {
		return nil, fmt.Errorf("%q is not in the stage", e.Path)
	}
	inode := n.Entry
	inode.Path = n.LinkPath
	return s.contents.Open(ctx, n.Layer, inode)
}
