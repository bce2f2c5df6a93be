package fetch

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// gitRunner runs the git program on one repository.
type gitRunner struct {
	c      *Client
	remote string
	dir    string   // --git-dir, if set
	env    []string // further variables
	config [][2]string
}

func (c *Client) git(remote string) *gitRunner {
	g := &gitRunner{c: c, remote: remote}
	if header, ok := c.gitHeader(remote); ok {
		scope := remote
		if u, err := url.Parse(remote); err == nil {
			scope = u.Scheme + "://" + u.Host + "/"
		}
		g.config = append(g.config, [2]string{"http." + scope + ".extraheader", "Authorization: " + header})
	}
	return g
}

// gitHeader makes the Authorization header for a remote from the build's secrets.
func (c *Client) gitHeader(remote string) (string, bool) {
	u, err := url.Parse(remote)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return "", false
	}
	for _, suffix := range []string{"." + u.Host, ""} {
		if v, ok := c.o.Secret("GIT_AUTH_HEADER" + suffix); ok {
			return strings.TrimSpace(string(v)), true
		}
		if v, ok := c.o.Secret("GIT_AUTH_TOKEN" + suffix); ok {
			login := "x-access-token:" + strings.TrimSpace(string(v))
			return "basic " + base64.StdEncoding.EncodeToString([]byte(login)), true
		}
	}
	return "", false
}

// environ is all that git sees of the environment: no configuration of the user's or the system's, no prompts, only
// transports that cannot read local files, and secrets where no other user can see them.
func (g *gitRunner) environ() []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "HOME=/nonexistent", "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_ALLOW_PROTOCOL=http:https:git:ssh", "GIT_SSH_COMMAND=" + g.c.sshCommand(),
		"GIT_ATTR_NOSYSTEM=1", "GIT_LFS_SKIP_SMUDGE=1",
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		for _, n := range []string{name, strings.ToLower(name)} {
			if v, ok := os.LookupEnv(n); ok {
				env = append(env, n+"="+v)
			}
		}
	}
	if g.c.o.SSHAuthSock != "" {
		env = append(env, "SSH_AUTH_SOCK="+g.c.o.SSHAuthSock)
	}
	config := append([][2]string{{"safe.directory", "*"}, {"advice.detachedHead", "false"}, {"init.defaultBranch", "master"}}, g.config...)
	env = append(env, "GIT_CONFIG_COUNT="+strconv.Itoa(len(config)))
	for i, kv := range config {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, kv[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, kv[1]))
	}
	return append(env, g.env...)
}

func (c *Client) sshCommand() string {
	if c.o.KnownHosts != "" {
		return "ssh -F /dev/null -o BatchMode=yes -o UserKnownHostsFile=" + shellQuote(c.o.KnownHosts)
	}
	return "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=" +
		shellQuote(filepath.Join(c.o.CacheDir, "known_hosts"))
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// run runs git and returns its standard output. When ctx ends, git and the helpers it started are killed.
func (g *gitRunner) run(ctx context.Context, args ...string) (string, error) {
	var full []string
	if g.dir != "" {
		full = append(full, "--git-dir", g.dir)
	}
	cmd := exec.CommandContext(ctx, "git", append(full, args...)...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &stderr, g.environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	for _, kv := range g.env {
		if tree, ok := strings.CutPrefix(kv, "GIT_WORK_TREE="); ok {
			cmd.Dir = tree
		}
	}
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("git repositories need the git program, which is not installed: %w", err)
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		for i := range args {
			args[i] = redacted(args[i])
		}
		return "", &GitError{Args: args, Stderr: stderr.String(), Err: err}
	}
	return out.String(), nil
}

// pinned is the name that a fetched commit has in the bare repository, so that it is not collected.
func pinned(at Commit) string { return "refs/cairn/" + at.Object }

// fetch makes sure that the bare repository has the commit.
func (g *gitRunner) fetch(ctx context.Context, r *Repo, at Commit) error {
	if !exists(filepath.Join(g.dir, "HEAD")) {
		args := []string{"init", "--quiet", "--bare", "--template="}
		if len(at.Hash) == 64 {
			args = append(args, "--object-format=sha256")
		}
		if _, err := g.run(ctx, args...); err != nil {
			return err
		}
	}
	if g.has(ctx, at) {
		return nil
	}
	os.Remove(filepath.Join(g.dir, "shallow.lock")) // of a git that was killed; we hold the lock
	want := at.Object
	if at.Ref != "" && !r.FetchByCommit {
		want = at.Ref
	}
	_, err := g.run(ctx, "fetch", "--quiet", "--depth=1", "--no-tags", "--force", "--", r.Remote, want+":"+pinned(at))
	if err == nil && g.has(ctx, at) {
		return nil
	}
	var failed *GitError
	if err != nil && !errors.As(err, &failed) {
		return err
	}
	// A server that gives no single commits, a remote without shallow clones, or a ref that moved: all of it then.
	args := []string{"fetch", "--quiet", "--force", "--tags"}
	if exists(filepath.Join(g.dir, "shallow")) {
		args = append(args, "--unshallow")
	}
	if _, err := g.run(ctx, append(args, "--", r.Remote, "+refs/heads/*:refs/remotes/origin/*")...); err != nil {
		return err
	}
	if !g.has(ctx, at) {
		return fmt.Errorf("commit %s is not in the repository", at.Hash)
	}
	_, err = g.run(ctx, "update-ref", pinned(at), at.Object)
	return err
}

func (g *gitRunner) has(ctx context.Context, at Commit) bool {
	for _, object := range []string{at.Hash + "^{tree}", at.Object} {
		if _, err := g.run(ctx, "cat-file", "-e", object); err != nil {
			return false
		}
	}
	return true
}

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
		if err == nil && !d.IsDir() && d.Name() == "index" && exists(filepath.Join(filepath.Dir(p), "HEAD")) {
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
