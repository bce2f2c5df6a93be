package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/dockerfile/ignore"
	"github.com/cairnbuild/cairn/internal/contextdir"
	"github.com/cairnbuild/cairn/internal/planner"
)

// parseContexts takes the named contexts apart, and finds out before anything happens that one is not there.
func parseContexts(given map[string]string) (planner.Contexts, error) {
	all := planner.Contexts{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		c, err := planner.ParseContext(name, given[name], exists)
		if err != nil {
			return nil, fmt.Errorf("open named context %s: %w", name, err)
		}
		if c.Kind == planner.DirectoryContext {
			info, err := os.Stat(c.Location)
			if err != nil {
				return nil, fmt.Errorf("open named context %s: %w", name, err)
			}
			if !info.IsDir() {
				return nil, fmt.Errorf("open named context %s: %s is not a directory", name, c.Location)
			}
		}
		all[name] = c
	}
	return all, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// openNamed returns a named context that is no image, opened once.
func (pr *project) openNamed(ctx context.Context, named planner.NamedContext) (*contextdir.Context, error) {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if c, ok := pr.named[named.Value]; ok {
		return c, nil
	}
	dir := named.Location
	if named.Kind == planner.RemoteContext {
		var err error
		if dir, err = pr.fetchNamed(ctx, named.Remote); err != nil {
			return nil, fmt.Errorf("fetch named context %s: %w", named.Value, err)
		}
	}
	var ig contextdir.Ignorer
	if data, err := os.ReadFile(filepath.Join(dir, ".dockerignore")); err == nil {
		m, err := ignore.Parse(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		ig = ignorer(m)
	}
	c, err := contextdir.Open(dir, ig, pr.contextOptions())
	if err != nil {
		return nil, fmt.Errorf("open named context: %w", err)
	}
	pr.named[named.Value] = c
	pr.onClose(c.Close)
	return c, nil
}

// fetchNamed makes a directory of a named context that is somewhere else: a git repository as it is checked out, and a
// URL as one file with the name "context", whatever it is, as with BuildKit.
func (pr *project) fetchNamed(ctx context.Context, src dockerfile.Source) (string, error) {
	client, err := pr.fetcher()
	if err != nil {
		return "", err
	}
	if src.Kind == dockerfile.GitSource {
		return pr.checkout(ctx, client, repoOf(src.Git))
	}
	file, err := client.HTTP(ctx, src.Text, "")
	if err != nil {
		return "", err
	}
	tmp, err := pr.store.TempDir("context")
	if err != nil {
		return "", err
	}
	pr.onClose(tmp.Close)
	data, err := os.Open(file.Path)
	if err != nil {
		return "", err
	}
	defer data.Close()
	name := filepath.Join(tmp.Path(), "context")
	to, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, data)
	if err = errors.Join(err, to.Close()); err != nil {
		return "", err
	}
	return tmp.Path(), os.Chtimes(name, time.Time{}, file.ModTime)
}
