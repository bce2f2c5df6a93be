package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cairnbuild/cairn/internal/copy"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci/index"
)

// workdirOp does a WORKDIR.
type workdirOp struct{ *planner.Workdir }

func (op *workdirOp) inputs(context.Context, *workspace) ([]store.Input, error) { return nil, nil }

func (op *workdirOp) execute(ctx context.Context, w *workspace) (*layerRef, error) {
	t, err := w.below.tree(ctx)
	if err != nil {
		return nil, err
	}
	uid, gid := 0, 0
	if op.User != "" {
		if uid, gid, err = copy.ResolveOwner(t.Passwd(), t.Group(), op.User); err != nil {
			var option *copy.OptionError
			if errors.As(err, &option) {
				option.Option = "USER"
			}
			return nil, err
		}
	}
	ix, err := copy.Workdir(t, strings.TrimPrefix(op.Path, "/"), uid, gid, w.now())
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
