package layer

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/cairnbuild/cairn/oci/index"
)

// hashers is how many files are hashed at a time. More gain nothing: two keep a disk busy.
const hashers = 2

// Hash returns the index with the Digest (and Data) of every file that had none, read from src. The index may be loose. A
// content that has not its entry's size is a *ChangedError.
func Hash(ctx context.Context, ix *index.Index, src Source) (*index.Index, error) {
	if ix.Complete() {
		return ix, nil
	}
	jobs := make(chan *index.Entry)
	done := make(chan *index.Entry, 2*hashers)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(jobs)
		for e := range ix.Entries() {
			if e.Type != index.Regular || e.Digest != "" {
				continue
			}
			select {
			case jobs <- &e:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	workers, wctx := errgroup.WithContext(ctx)
	for range hashers {
		workers.Go(func() error { return hashJobs(wctx, jobs, done, src) })
	}
	g.Go(func() error {
		defer close(done)
		return workers.Wait()
	})
	b := index.NewBuilder()
	var failed error
	for e := range done {
		if failed == nil {
			failed = b.Add(*e)
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for e := range ix.Entries() {
		if failed == nil && (e.Type != index.Regular || e.Digest != "") {
			failed = b.Add(e)
		}
	}
	if failed != nil {
		return nil, failed
	}
	return b.Build()
}

func hashJobs(ctx context.Context, jobs <-chan *index.Entry, done chan<- *index.Entry, src Source) error {
	buf := make([]byte, bufferSize)
	for e := range jobs {
		if err := readContent(ctx, e, src, io.Discard, buf); err != nil {
			return fmt.Errorf("hash %q: %w", e.Path, err)
		}
		select {
		case done <- e:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
