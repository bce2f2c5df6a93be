package fetch

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cairnbuild/cairn/internal/files"
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
	if files.Missing(filepath.Join(g.dir, "HEAD")) {
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
	if !files.Missing(filepath.Join(g.dir, "shallow")) {
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
