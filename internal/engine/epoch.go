package engine

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/fetch"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
)

const epochArg = "SOURCE_DATE_EPOCH"

// resolveEpoch returns the options with the time that SOURCE_DATE_EPOCH asks for: the number in --build-arg, in the
// environment or in an ARG before the first FROM; or the age of the context, of a named context or of what a stage
// adds, when it names one of them. From then on it is a number that every ARG SOURCE_DATE_EPOCH sees.
func (pr *project) resolveEpoch(ctx context.Context, opts *Options) (*Options, error) {
	value, given := opts.Args[epochArg]
	if !given && opts.Epoch != nil {
		value, given = strconv.FormatInt(opts.Epoch.Unix(), 10), true
	}
	if !given {
		args, err := pr.arguments(opts)
		if err != nil {
			return opts, nil // the plan says it better
		}
		value, _ = args.Global.Get(epochArg)
	}
	if value == "" {
		return opts, nil
	}
	t, err := pr.epoch(ctx, value, opts)
	if err != nil {
		return nil, fmt.Errorf("%s=%s: %w", epochArg, value, err)
	}
	resolved := *opts
	resolved.Epoch, resolved.Args = t, map[string]string{}
	maps.Copy(resolved.Args, opts.Args)
	delete(resolved.Args, epochArg)
	if t != nil {
		resolved.Args[epochArg] = strconv.FormatInt(t.Unix(), 10)
	}
	return &resolved, nil
}

// arguments are those of the build for its first platform.
func (pr *project) arguments(opts *Options) (dockerfile.Arguments, error) {
	host := oci.HostPlatform()
	p := host
	if len(opts.Platforms) > 0 {
		p = opts.Platforms[0]
	}
	return pr.file.Arguments(host, p, opts.Target, planner.GivenArgs(opts.Args))
}

// epoch reads one value; nil is no time at all.
func (pr *project) epoch(ctx context.Context, value string, opts *Options) (*time.Time, error) {
	if n, err := strconv.ParseInt(value, 10, 64); err == nil {
		t := time.Unix(n, 0).UTC()
		return &t, nil
	}
	if value == "context" {
		return pr.made, nil
	}
	if c, ok := pr.contexts.Find(value); ok {
		if c.Kind != planner.RemoteContext {
			return nil, nil
		}
		return pr.remoteTime(ctx, c.Remote)
	}
	stage, ok := pr.file.Stage(value, len(pr.file.Stages))
	if !ok {
		return nil, errors.New("it is neither seconds since 1970, nor context, nor a named context, nor a stage")
	}
	src, err := pr.onlySource(stage, opts)
	if err != nil {
		return nil, fmt.Errorf("stage %s: %w", stage.Name, err)
	}
	return pr.remoteTime(ctx, src)
}

// onlySource is what a stage adds that has nothing but one ADD of a URL or of a repository.
func (pr *project) onlySource(stage *dockerfile.Stage, opts *Options) (dockerfile.Source, error) {
	var none dockerfile.Source
	wrong := errors.New("it must be FROM scratch with exactly one ADD of a URL or a git repository")
	args, err := pr.arguments(opts)
	if err != nil {
		return none, err
	}
	if from, err := pr.file.From(stage, args); err != nil || from.Name.Text != "scratch" {
		return none, errors.Join(wrong, err)
	}
	scope := dockerfile.NewScope(pr.file, args, dockerfile.Scratch(oci.HostPlatform()))
	found := none
	for _, i := range stage.Instructions {
		var applied dockerfile.Applied
		if scope, applied, err = scope.Apply(i); err != nil {
			return none, err
		}
		switch i := applied.Instruction.(type) {
		case *dockerfile.Arg:
		case *dockerfile.Copy:
			if !i.Add || len(i.Sources) != 1 || len(i.Heredocs) > 0 || found.Text != "" {
				return none, wrong
			}
			if found, err = dockerfile.ParseSource(i.Sources[0]); err != nil {
				return none, err
			}
		default:
			return none, wrong
		}
	}
	if found.Kind == dockerfile.LocalSource {
		return none, wrong
	}
	return found, nil
}

// remoteTime is how old a URL or a repository is; nil when that can't be known.
func (pr *project) remoteTime(ctx context.Context, src dockerfile.Source) (*time.Time, error) {
	client, err := pr.fetcher()
	if err != nil {
		return nil, err
	}
	if src.Kind == dockerfile.GitSource {
		return pr.commitTime(ctx, client, repoOf(src.Git))
	}
	file, err := client.HTTP(ctx, src.Text, "")
	if err != nil {
		return nil, err
	}
	return fileTime(ctx, file)
}

// commitTime is when the commit was made: the time that its files get in a checkout that wants commit times.
func (pr *project) commitTime(ctx context.Context, client *fetch.Client, repo fetch.Repo) (*time.Time, error) {
	repo.CommitTimes, repo.KeepGitDir, repo.SkipSubmodules = true, false, true
	dir, err := pr.checkout(ctx, client, repo)
	if err != nil {
		return nil, err
	}
	var found *time.Time
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		t := info.ModTime().UTC()
		found = &t
		return fs.SkipAll
	})
	return found, err
}

// fileTime is the server's Last-Modified of a download or, for a tar, the time of its newest file; nil when neither is
// known.
func fileTime(ctx context.Context, file fetch.File) (*time.Time, error) {
	if t := file.ModTime.UTC(); t.Unix() > 0 {
		return &t, nil
	}
	f, err := os.Open(file.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	plain, _, err := compress.NewReader(f)
	if err != nil {
		return nil, nil //nolint:nilerr // no archive: no time
	}
	defer plain.Close()
	var newest *time.Time
	for r := tar.NewReader(plain); ctx.Err() == nil; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return newest, nil
		}
		if err != nil {
			return nil, nil //nolint:nilerr // no archive: no time
		}
		if t := h.ModTime.UTC(); h.Typeflag == tar.TypeReg && (newest == nil || t.After(*newest)) {
			newest = &t
		}
	}
	return nil, ctx.Err()
}
