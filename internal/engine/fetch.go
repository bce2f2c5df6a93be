package engine

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/contextdir"
	"github.com/cairnbuild/cairn/internal/copier"
	"github.com/cairnbuild/cairn/internal/fetch"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/opencontainers/go-digest"
)

// fetcher makes the client for URLs and git repositories; downloads are kept in the store.
func (pr *project) fetcher() (*fetch.Client, error) {
	sock, err := pr.agents.socket("default")
	if err != nil {
		return nil, err
	}
	if sock == "" {
		sock = os.Getenv("SSH_AUTH_SOCK") // git runs here, as the user: no step sees this agent
	}
	return fetch.New(fetch.Options{
		CacheDir:    pr.store.Downloads(),
		SSHAuthSock: sock,
		UserAgent:   "cairn",
		Secret: func(name string) ([]byte, bool) {
			v, ok, err := pr.opts.secret(name)
			return v, ok && err == nil
		},
	})
}

// fetch turns a URL or git source of ADD into something that can be copied from. Each is fetched once per build.
func (w *workspace) fetch(ctx context.Context, in *dockerfile.Copy, s dockerfile.Source) (copier.Item, error) {
	keep := ""
	if in.KeepGitDir != nil {
		keep = strconv.FormatBool(*in.KeepGitDir)
	}
	key := s.Text + "\x00" + in.Checksum + "\x00" + keep
	w.mu.Lock()
	item, ok := w.fetched[key]
	w.mu.Unlock()
	if !ok {
		client, err := w.project.fetcher()
		if err != nil {
			return copier.Item{}, err
		}
		if s.Kind == dockerfile.GitSource {
			item, err = w.fetchGit(ctx, client, in, s)
		} else {
			item, err = w.fetchHTTP(ctx, client, in, s)
		}
		if err != nil {
			return copier.Item{}, err
		}
		w.mu.Lock()
		w.fetched[key] = item
		w.mu.Unlock()
	}
	item.Unpack = s.Kind == dockerfile.HTTPSource && in.Unpack != nil && *in.Unpack
	return item, nil
}

func (w *workspace) fetchHTTP(ctx context.Context, client *fetch.Client, in *dockerfile.Copy, s dockerfile.Source) (copier.Item, error) {
	var sum digest.Digest
	if in.Checksum != "" {
		var err error
		if sum, err = digest.Parse(in.Checksum); err != nil {
			return copier.Item{}, fmt.Errorf("--checksum=%s: %w", in.Checksum, err)
		}
	}
	f, err := client.HTTP(ctx, s.Text, sum)
	if err != nil {
		return copier.Item{}, err
	}
	return fileItem(f), nil
}

func (w *workspace) fetchGit(ctx context.Context, client *fetch.Client, in *dockerfile.Copy, s dockerfile.Source) (copier.Item, error) {
	repo := repoOf(s.Git)
	if in.KeepGitDir != nil {
		repo.KeepGitDir = *in.KeepGitDir
	}
	if in.Checksum != "" {
		repo.Checksum = in.Checksum
	}
	dir, err := w.project.checkout(ctx, client, repo)
	if err != nil {
		return copier.Item{}, err
	}
	c, err := contextdir.Open(dir, nil, contextdir.Options{})
	if err != nil {
		return copier.Item{}, err
	}
	w.onClose(func() { _ = c.Close() })
	return copier.Item{Pattern: "/", From: c, Literal: true}, nil
}

// checkout makes a directory of what a repository has, which stays until close.
func (pr *project) checkout(ctx context.Context, client *fetch.Client, repo fetch.Repo) (string, error) {
	commit, err := client.ResolveGit(ctx, repo)
	if err != nil {
		return "", err
	}
	tmp, err := pr.store.TempDir("git")
	if err != nil {
		return "", err
	}
	pr.onClose(tmp.Close)
	dir := filepath.Join(tmp.Path(), "tree")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	_, err = client.Git(ctx, repo, commit, dir)
	return dir, err
}

func repoOf(g *dockerfile.GitRef) fetch.Repo {
	return fetch.Repo{
		Remote: g.Remote, Ref: g.Ref, Checksum: g.Checksum, SubDir: g.SubDir, CommitTimes: g.CommitTimes, FetchByCommit: g.FetchByCommit,
		KeepGitDir:     g.KeepGitDir != nil && *g.KeepGitDir,
		SkipSubmodules: g.Submodules != nil && !*g.Submodules,
	}
}

// fileSource is a downloaded file as something to copy from.
type fileSource struct {
	file fetch.File
	now  index.Entry
}

func fileItem(f fetch.File) copier.Item {
	e := index.Entry{Path: f.Name, Type: index.Regular, Mode: 0o600, Size: f.Size, Digest: f.Digest, MTime: f.ModTime.UTC().Truncate(time.Second), Offset: -1}
	return copier.Item{Pattern: f.Name, From: fileSource{f, e}, Literal: true}
}

func (s fileSource) Resolve(_ context.Context, p string) (copier.File, error) {
	if path.Clean("/"+p) != "/"+s.now.Path {
		return copier.File{}, fs.ErrNotExist
	}
	return copier.File{Entry: s.now}, nil
}

func (s fileSource) ReadDir(context.Context, string) ([]copier.File, error) {
	return nil, fs.ErrNotExist
}

func (s fileSource) Fill(context.Context, []copier.File) error { return nil }

func (s fileSource) Open(context.Context, index.Entry) (io.ReadCloser, error) {
	return os.Open(s.file.Path)
}
