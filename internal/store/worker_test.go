package store

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/oci/index"
)

// work is a worker process: its arguments are what to do, the store's root, and more.
func work(ctx context.Context, args []string) error {
	s, err := Open(ctx, args[1])
	if err != nil {
		return err
	}
	defer s.Close()
	if s.host.form == "" {
		s.host.form = recordForm
	}
	switch args[0] {
	case "tag":
		m, err := s.Resolve(ctx, args[2])
		if err != nil {
			return err
		}
		r, err := oci.ParseReference(args[3])
		if err != nil {
			return err
		}
		return s.Tag(ctx, r, m.Image.Descriptor)
	case "ingest":
		data, err := os.ReadFile(args[2])
		if err != nil {
			return err
		}
		desc := Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
		_, err = s.IngestBlob(ctx, desc, bytes.NewReader(data), IngestOptions{Extract: true})
		return err
	case "garbage":
		_, err := fmt.Println(s.NeedsNamespaceToClean())
		return err
	case "full":
		return fillDisk(ctx, s)
	case "churn":
		return churn(ctx, s, args[2])
	}
	return fmt.Errorf("worker: %q", args[0])
}

func parseRef(name string) (oci.Reference, error) { return oci.ParseReference(name) }

// churn does everything that changes a store, until it is killed.
func churn(ctx context.Context, s *Store, seed string) error {
	n, err := strconv.ParseUint(seed, 10, 64)
	if err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(n, 1))
	acts := []func(context.Context, *Store, *rand.Rand) error{churnImage, churnImage, churnLayer, churnLayer, churnIngest, churnIngest, churnTemp, churnCollect, churnSync}
	for {
		if err := acts[r.IntN(len(acts))](ctx, s, r); err != nil {
			return err
		}
	}
}

// churnImage stores and tags an image; a collector in another process must not get at it in between.
func churnImage(ctx context.Context, s *Store, r *rand.Rand) error {
	img, err := putImage(ctx, s, fmt.Sprint("layer ", r.IntN(50)))
	if err != nil {
		return err
	}
	name, err := oci.ParseReference(fmt.Sprintf("me/x:%d", r.IntN(20)))
	if err != nil {
		return err
	}
	if err := s.Tag(ctx, name, img.Manifest); err != nil {
		return err
	}
	if r.IntN(3) == 0 {
		return errIgnoring(s.Untag(ctx, name), fs.ErrNotExist)
	}
	return nil
}

// churnLayer adds a layer with a directory and a record for it.
func churnLayer(ctx context.Context, s *Store, r *rand.Rand) error {
	name := fmt.Sprint("file", r.IntN(20))
	b := index.NewBuilder()
	if err := b.Add(index.Entry{
		Path: name, Type: index.Regular, Mode: 0o644, Size: int64(len(name)), MTime: time.Unix(1e9, 0), Digest: digest.FromString(name), Offset: -1,
	}); err != nil {
		return err
	}
	ix, err := b.Build()
	if err != nil {
		return err
	}
	t, err := s.TempDir("run")
	if err != nil {
		return err
	}
	defer t.Close()
	dir := filepath.Join(t.Path(), "upper")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644)); err != nil {
		return err
	}
	key := digest.FromString("step " + name)
	unlock, err := s.LockKey(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	if step, ok := s.LookupStep(key); ok {
		l, err := s.Layer(step.Layer)
		if err != nil {
			return fmt.Errorf("a layer went away between lookup and use: %w", err)
		}
		defer l.Release()
		data, err := os.ReadFile(filepath.Join(mustDir(l), name))
		if err != nil || string(data) != name {
			return fmt.Errorf("%q in the directory of a step: %w", data, err)
		}
		return nil
	}
	l, err := s.AddLayer(ctx, LayerContent{Index: ix, Dir: dir})
	if err != nil {
		return err
	}
	defer l.Release()
	return errors.Join(s.PutStep(Step{Key: key, Layer: l.ID()}), s.PutHint(digest.FromString("def "+name), key))
}

func mustDir(l *Layer) string {
	dir, _ := l.Dir(l.s.host.form)
	return dir
}

// churnIngest reads a layer that others made, extracts it where that can be done, and packs it anew.
func churnIngest(ctx context.Context, s *Store, r *rand.Rand) error {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	text := strings.Repeat(fmt.Sprint("content ", r.IntN(10)), 1+r.IntN(10000))
	h := &tar.Header{Typeflag: tar.TypeReg, Name: "file", Mode: 0o644, Size: int64(len(text)), ModTime: time.Unix(1e9, 0)}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	desc := Descriptor{Digest: digest.FromBytes(b.Bytes()), Size: int64(b.Len())}
	l, err := s.IngestBlob(ctx, desc, bytes.NewReader(b.Bytes()), IngestOptions{Extract: true})
	if err != nil {
		return err
	}
	defer l.Release()
	if s.Form() != "" {
		if _, err := l.EnsureDir(ctx, nil); err != nil {
			return err
		}
	}
	if _, err := l.EnsureDigests(ctx); err != nil {
		return err
	}
	_, err = l.EnsureBlob(ctx, compress.Options{Algorithm: compress.Zstd})
	return err
}

func churnTemp(_ context.Context, s *Store, r *rand.Rand) error {
	t, err := s.TempDir("x")
	if err != nil {
		return err
	}
	err = os.WriteFile(filepath.Join(t.Path(), "f"), []byte(strings.Repeat("x", r.IntN(1e6))), 0o600)
	return errors.Join(err, t.Close())
}

func churnCollect(ctx context.Context, s *Store, r *rand.Rand) error {
	report, err := s.Collect(ctx, CollectOptions{KeepSteps: time.Duration(r.IntN(2)) * time.Hour, Untagged: r.IntN(2) == 0})
	for _, p := range report.Problems {
		err = errors.Join(err, fmt.Errorf("%s: %w", p.What, p.Err))
	}
	return err
}

func churnSync(ctx context.Context, s *Store, _ *rand.Rand) error { return s.Sync(ctx) }
