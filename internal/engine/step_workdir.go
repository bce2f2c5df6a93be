package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cairnbuild/cairn/internal/copier"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci/index"
)

// workdirOp does a WORKDIR.
type workdirOp struct{ *planner.Workdir }

func (op *workdirOp) inputs(context.Context, *workspace) ([]store.Input, error) { return nil, nil }

func (op *workdirOp) execute(ctx context.Context, w *workspace) (*layerRef, error) {
	t, err := w.below.Tree(ctx)
	if err != nil {
		return nil, err
	}
	ix, err := copier.Workdir(t, strings.TrimPrefix(op.Path, "/"), op.User, w.now())
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", op.Path, err)
	}
	return w.storeEntries(ctx, ix, noContent{})
}

// noContent is the source of a layer without files.
type noContent struct{}

func (noContent) Open(_ context.Context, e index.Entry) (io.ReadCloser, error) {
	if e.Size == 0 {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	return nil, errors.New("no content for " + e.Path)
}
