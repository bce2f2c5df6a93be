package engine

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cairnbuild/cairn/internal/copier"
	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
	"golang.org/x/sync/errgroup"
)

// manifestOf lists a file or a directory with its contents.
func manifestOf(ctx context.Context, from copier.Source, path string) ([]store.Input, error) {
	g, err := copier.Gather(ctx, copier.Request{Sources: []copier.Item{{Pattern: path, Literal: true}}, From: from, Dest: "/"})
	if err != nil {
		return nil, err
	}
	return storeInputs(g), nil
}

// contextMount copies the part of a context that a mount shows into dir, as COPY would: what .dockerignore hides is not there,
// and owners are root's. It returns the path of the file or directory that is to be mounted.
func (w *workspace) contextMount(ctx context.Context, c copier.Source, rel, dir string) (string, error) {
	dest := "/context/"
	f, err := c.Resolve(ctx, rel)
	if err != nil {
		return "", fmt.Errorf("find %s in the context: %w", rel, err)
	}
	if f.Type != index.Directory {
		dest = "/context/file"
	}
	g, err := copier.Gather(ctx, copier.Request{Sources: []copier.Item{{Pattern: "/" + rel, Literal: true}}, From: c, Dest: dest, Now: w.now()})
	if err != nil {
		return "", err
	}
	res, err := g.Apply(ctx, nil)
	if err != nil {
		return "", err
	}
	defer res.Close()
	if err := os.MkdirAll(filepath.Join(dir, "source"), 0o755); err != nil {
		return "", err
	}
	root := filepath.Join(dir, "source")
	if err := extractWith(ctx, res.Index, res, root, w.opts.Machine.Owners()); err != nil {
		return "", err
	}
	return mount.Inside(root, inside(dest))
}

// extractWith writes a directory from an index and a source, by way of a tar that is never stored.
func extractWith(ctx context.Context, ix *index.Index, src layer.Source, dir string, mode owners.Mode) error {
	pr, pw := io.Pipe()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		_, err := layer.WriteTar(gctx, pw, ix, src)
		pw.CloseWithError(err)
		return err
	})
	g.Go(func() error {
		_, err := layer.Read(gctx, pr, layer.ReadOptions{Dir: dir, Owners: mode, Table: owners.NewTable()})
		pr.CloseWithError(err)
		return err
	})
	return g.Wait()
}
