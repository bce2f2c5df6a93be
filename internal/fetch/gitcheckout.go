package fetch

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cairnbuild/cairn/internal/files"
)

// checkout fills dir with the commit's files.
func (g *gitRunner) checkout(ctx context.Context, r *Repo, at Commit, dir string) error {
	sub := strings.Trim(r.SubDir, "/")
	tree := dir
	if sub != "" && sub != "." {
		var err error
		if tree, err = os.MkdirTemp(dir, ".checkout-"); err != nil {
			return err
		}
		defer os.RemoveAll(tree)
	}
	keepGit := r.KeepGitDir && tree == dir
	work := *g
	if keepGit {
		if err := work.clone(ctx, r, at, dir); err != nil {
			return err
		}
	} else {
		index, err := os.CreateTemp(g.c.o.CacheDir, ".tmp-index-*")
		if err != nil {
			return err
		}
		index.Close()
		os.Remove(index.Name()) // git wants to make it
		defer os.Remove(index.Name())
		work.env = []string{"GIT_INDEX_FILE=" + index.Name()}
	}
	work.env = append(work.env, "GIT_WORK_TREE="+tree)
	if err := work.populate(ctx, r, at, keepGit); err != nil {
		return err
	}
	if !keepGit {
		if err := removeGitFiles(tree); err != nil {
			return err
		}
	}
	var when *time.Time
	if r.CommitTimes {
		t, err := g.commitTime(ctx, at)
		if err != nil {
			return err
		}
		when = &t
	}
	if tree != dir {
		if err := subdirectory(tree, sub, dir); err != nil {
			return err
		}
		if err := os.RemoveAll(tree); err != nil {
			return err
		}
	}
	return normalise(dir, when)
}

// populate writes the work tree, with its submodules.
func (g *gitRunner) populate(ctx context.Context, r *Repo, at Commit, keepGit bool) error {
	if _, err := g.run(ctx, "read-tree", "--reset", "-u", at.Hash); err != nil {
		return err
	}
	if !r.SkipSubmodules {
		if _, err := g.run(ctx, "submodule", "update", "--quiet", "--init", "--recursive", "--depth=1"); err != nil {
			return err
		}
	}
	if keepGit {
		return g.settle(ctx)
	}
	return nil
}

// settle makes .git depend on the commit alone, so that the same commit gives the same bytes: indexes, the submodules' too,
// without the inode numbers and times of this checkout, and no traces of how it was fetched.
func (g *gitRunner) settle(ctx context.Context) error {
	var repos []string
	err := filepath.WalkDir(g.dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() == "index" && !files.Missing(filepath.Join(filepath.Dir(p), "HEAD")) {
			repos = append(repos, filepath.Dir(p))
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, dir := range repos {
		for _, left := range []string{"index", "FETCH_HEAD", "ORIG_HEAD", "logs"} {
			if err := os.RemoveAll(filepath.Join(dir, left)); err != nil {
				return err
			}
		}
		repo := *g
		repo.dir = dir
		if _, err := repo.run(ctx, "read-tree", "HEAD"); err != nil {
			return err
		}
	}
	return nil
}

// clone makes dir/.git with the one commit and points g at it.
func (g *gitRunner) clone(ctx context.Context, r *Repo, at Commit, dir string) error {
	if _, err := g.run(ctx, "config", "pack.threads", "1"); err != nil { // packs that do not depend on luck
		return err
	}
	bare := g.dir
	g.dir = filepath.Join(dir, ".git")
	init := []string{"init", "--quiet", "--template="}
	if len(at.Hash) == 64 {
		init = append(init, "--object-format=sha256")
	}
	local := *g
	local.env = []string{"GIT_ALLOW_PROTOCOL=file", "GIT_WORK_TREE=" + dir}
	name := at.Ref
	if name == "" {
		name = "refs/cairn/head"
	}
	for _, args := range [][]string{
		init,
		{"remote", "add", "origin", redacted(r.Remote)},
		{"fetch", "--quiet", "--update-head-ok", "--depth=1", "--no-tags", "--", "file://" + bare, pinned(at) + ":" + name},
		{"update-ref", "--no-deref", "HEAD", at.Hash},
	} {
		if _, err := local.run(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

func (g *gitRunner) commitTime(ctx context.Context, at Commit) (time.Time, error) {
	out, err := g.run(ctx, "show", "--no-patch", "--format=%ct", at.Hash)
	if err != nil {
		return time.Time{}, err
	}
	sec, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("read commit time: %w", err)
	}
	return time.Unix(sec, 0), nil
}

// removeGitFiles removes what links the submodules to the bare repository.
func removeGitFiles(dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == ".git" && p != dir {
			err = os.RemoveAll(p)
			if d.IsDir() && err == nil {
				err = filepath.SkipDir
			}
		}
		return err
	})
}

// normalise gives everything in dir the mode that git knows, and the time when, if not nil.
func normalise(dir string, when *time.Time) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.Type() == fs.ModeSymlink {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if d.IsDir() || fi.Mode()&0o100 != 0 {
			mode = 0o755
		}
		if err := root.Chmod(p, mode); err != nil || when == nil {
			return err
		}
		return root.Chtimes(p, *when, *when)
	})
}
