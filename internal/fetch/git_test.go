package fetch

import (
	"cmp"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

func TestRow22GitTreeWithItsModes(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	s := newGitServer(t)
	u, hash := s.repo("r.git", map[string]string{"a": "1", "run": "#!", "d/e/f": "2", "l": "-> d/e/f", "out": "-> /etc/passwd"})
	dir := t.TempDir()
	at, err := client(t, Options{}).Git(t.Context(), Repo{Remote: u}, Commit{}, dir)
	assert.NilError(t, err)
	assert.DeepEqual(t, at, Commit{Ref: "refs/heads/main", Object: hash, Hash: hash})
	assert.DeepEqual(t, tree(t, dir), map[string]string{
		"a": "1", "run": "#!", "d": "/", "d/e": "/", "d/e/f": "2", "l": "-> d/e/f", "out": "-> /etc/passwd",
	})
	for p, want := range map[string]fs.FileMode{"a": 0o644, "run": 0o755, "d": 0o755, "d/e/f": 0o644} {
		fi, err := os.Stat(filepath.Join(dir, p))
		assert.NilError(t, err)
		assert.Equal(t, fi.Mode().Perm(), want, p)
	}
}

func TestGitRefs(t *testing.T) {
	s := newGitServer(t)
	u, first := s.repo("r.git", map[string]string{"v": "1"})
	s.git("r.git", "tag", "light")
	s.git("r.git", "tag", "-a", "-m", "x", "noted")
	noted := s.git("r.git", "rev-parse", "noted")
	s.git("r.git", "checkout", "-q", "-b", "side/branch")
	side := s.commit("r.git", map[string]string{"v": "side"})
	s.git("r.git", "tag", "both", first)
	s.git("r.git", "branch", "both", side)
	s.git("r.git", "checkout", "-q", "main")
	second := s.commit("r.git", map[string]string{"v": "2"})
	c := client(t, Options{})
	for _, tc := range []struct {
		repo Repo
		want Commit
		v    string
	}{
		{Repo{}, Commit{"refs/heads/main", second, second}, "2"},
		{Repo{Ref: "main"}, Commit{"refs/heads/main", second, second}, "2"},
		{Repo{Ref: "side/branch"}, Commit{"refs/heads/side/branch", side, side}, "side"},
		{Repo{Ref: "refs/heads/side/branch"}, Commit{"refs/heads/side/branch", side, side}, "side"},
		{Repo{Ref: "heads/side/branch"}, Commit{"refs/heads/side/branch", side, side}, "side"},
		{Repo{Ref: "light"}, Commit{"refs/tags/light", first, first}, "1"},
		{Repo{Ref: "noted"}, Commit{"refs/tags/noted", noted, first}, "1"},
		{Repo{Ref: "refs/tags/both"}, Commit{"refs/tags/both", first, first}, "1"},
		{Repo{Ref: "both"}, Commit{"refs/heads/both", side, side}, "side"},
		{Repo{Ref: first}, Commit{"", first, first}, "1"},
		{Repo{Ref: "noted", Checksum: noted[:10]}, Commit{"refs/tags/noted", noted, first}, "1"},
		{Repo{Ref: "noted", Checksum: first[:10]}, Commit{"refs/tags/noted", noted, first}, "1"},
		{Repo{Ref: "main", Checksum: first, FetchByCommit: true}, Commit{"refs/heads/main", first, first}, "1"},
	} {
		tc.repo.Remote = u
		dir := t.TempDir()
		at, err := c.Git(t.Context(), tc.repo, Commit{}, dir)
		assert.NilError(t, err, "%+v", tc.repo)
		assert.DeepEqual(t, at, tc.want)
		assert.DeepEqual(t, tree(t, dir), map[string]string{"v": tc.v})
	}
	for _, r := range []Repo{{Ref: "main", Checksum: first}, {Ref: first, Checksum: second[:8]}} {
		r.Remote = u
		_, err := c.ResolveGit(t.Context(), r)
		var sum *ChecksumError
		assert.Assert(t, errors.As(err, &sum), "%v", err)
	}
	for _, r := range []Repo{{Ref: "nope"}, {Ref: strings.Repeat("1", 40)}, {Ref: "--upload-pack=x"}, {Ref: "a b"}, {Checksum: "xyz"},
		{FetchByCommit: true}, {Ref: "ma*"}} {
		r.Remote = u
		_, err := c.Git(t.Context(), r, Commit{}, t.TempDir())
		assert.Assert(t, err != nil, "%+v", r)
	}
	_, err := c.Git(t.Context(), Repo{Remote: s.url + "/none.git"}, Commit{}, t.TempDir())
	assert.ErrorContains(t, err, "git ls-remote")
}

func TestGitRefThatMovesAndCacheThatServes(t *testing.T) {
	s := newGitServer(t)
	u, first := s.repo("r.git", map[string]string{"v": "1"})
	c := client(t, Options{})
	_, err := c.Git(t.Context(), Repo{Remote: u}, Commit{}, t.TempDir())
	assert.NilError(t, err)
	second := s.commit("r.git", map[string]string{"v": "2"})
	dir := t.TempDir()
	at, err := c.Git(t.Context(), Repo{Remote: u}, Commit{}, dir)
	assert.NilError(t, err)
	assert.Equal(t, at.Hash, second)

	// A commit that was resolved before the branch moved on.
	third := s.commit("r.git", map[string]string{"v": "3"})
	s.commit("r.git", map[string]string{"v": "4"})
	dir = t.TempDir()
	_, err = c.Git(t.Context(), Repo{Remote: u}, Commit{Ref: "refs/heads/main", Object: third, Hash: third}, dir)
	assert.NilError(t, err)
	assert.DeepEqual(t, tree(t, dir), map[string]string{"v": "3"})

	assert.NilError(t, os.RemoveAll(filepath.Join(s.dir, "r.git"))) // what is there needs no server
	dir = t.TempDir()
	_, err = c.Git(t.Context(), Repo{Remote: u, Ref: first}, Commit{}, dir)
	assert.NilError(t, err)
	assert.DeepEqual(t, tree(t, dir), map[string]string{"v": "1"})
}

func TestGitSubDirectory(t *testing.T) {
	s := newGitServer(t)
	u, _ := s.repo("r.git", map[string]string{"top": "1", "a/b/f": "2", "a/.hidden": "3", "l": "-> a", "a/up": "-> ../top"})
	c := client(t, Options{})
	for sub, want := range map[string]map[string]string{
		"a": {"b": "/", "b/f": "2", ".hidden": "3", "up": "-> ../top"}, "/a/b/": {"f": "2"}, "a/../a/b": {"f": "2"},
	} {
		dir := t.TempDir()
		_, err := c.Git(t.Context(), Repo{Remote: u, SubDir: sub, KeepGitDir: true}, Commit{}, dir)
		assert.NilError(t, err)
		assert.DeepEqual(t, tree(t, dir), want)
	}
	for _, sub := range []string{"nope", "top", "l", "l/b"} {
		dir := t.TempDir()
		_, err := c.Git(t.Context(), Repo{Remote: u, SubDir: sub}, Commit{}, dir)
		assert.ErrorContains(t, err, "subdirectory", sub)
		assert.Equal(t, len(tree(t, dir)), 0)
	}
}

func TestGitKeepGitDir(t *testing.T) {
	s := newGitServer(t)
	u, hash := s.repo("r.git", map[string]string{"a": "1", "d/b": "2"})
	s.git("r.git", "tag", "-a", "-m", "x", "v1")
	withPassword := strings.Replace(u, "http://", "http://me:secret@", 1)
	for _, ref := range []string{"", "v1", hash} {
		var all []map[string]string
		for range 2 { // the same bytes from two checkouts and two caches
			dir := t.TempDir()
			_, err := client(t, Options{}).Git(t.Context(), Repo{Remote: withPassword, Ref: ref, KeepGitDir: true}, Commit{}, dir)
			assert.NilError(t, err)
			all = append(all, tree(t, dir))
			out, err := exec.Command("git", "-C", dir, "-c", "safe.directory=*", "rev-parse", "HEAD").Output()
			assert.NilError(t, err)
			assert.Equal(t, strings.TrimSpace(string(out)), hash)
			out, err = exec.Command("git", "-C", dir, "-c", "safe.directory=*", "log", "--oneline").Output()
			assert.NilError(t, err)
			assert.Equal(t, strings.Count(string(out), "\n"), 1)
			if ref == "v1" {
				out, err = exec.Command("git", "-C", dir, "-c", "safe.directory=*", "describe").Output()
				assert.NilError(t, err)
				assert.Equal(t, strings.TrimSpace(string(out)), "v1")
			}
			out, err = exec.Command("git", "-C", dir, "-c", "safe.directory=*", "status", "--porcelain").Output()
			assert.NilError(t, err)
			assert.Equal(t, string(out), "")
		}
		assert.DeepEqual(t, all[0], all[1])
		for p, data := range all[0] {
			assert.Assert(t, !strings.Contains(data, "secret"), p)
		}
	}
}

func TestGitSubmodules(t *testing.T) {
	s := newGitServer(t)
	inner, _ := s.repo("inner.git", map[string]string{"i": "in"})
	u, _ := s.repo("r.git", map[string]string{"a": "1"})
	s.git("r.git", "submodule", "add", "-q", inner, "sub/mod")
	s.commit("r.git", nil)
	c := client(t, Options{})
	dir := t.TempDir()
	_, err := c.Git(t.Context(), Repo{Remote: u}, Commit{}, dir)
	assert.NilError(t, err)
	got := tree(t, dir)
	assert.Equal(t, got["sub/mod/i"], "in")
	assert.Equal(t, got["sub/mod/.git"], "")
	dir = t.TempDir()
	_, err = c.Git(t.Context(), Repo{Remote: u, SkipSubmodules: true}, Commit{}, dir)
	assert.NilError(t, err)
	assert.Equal(t, tree(t, dir)["sub/mod/i"], "")
	dir = t.TempDir()
	_, err = c.Git(t.Context(), Repo{Remote: u, KeepGitDir: true}, Commit{}, dir)
	assert.NilError(t, err)
	assert.Equal(t, tree(t, dir)["sub/mod/i"], "in")
	again := t.TempDir()
	_, err = client(t, Options{}).Git(t.Context(), Repo{Remote: u, KeepGitDir: true}, Commit{}, again)
	assert.NilError(t, err)
	assert.DeepEqual(t, tree(t, again), tree(t, dir))

	evil, _ := s.repo("evil.git", map[string]string{"a": "1"})
	s.git("evil.git", "submodule", "add", "-q", filepath.Join(s.dir, "inner.git"), "mod")
	s.commit("evil.git", nil)
	_, err = c.Git(t.Context(), Repo{Remote: evil}, Commit{}, t.TempDir())
	assert.ErrorContains(t, err, "transport 'file' not allowed", "a submodule must not reach into this machine")
}

func TestGitCommitTimes(t *testing.T) {
	s := newGitServer(t)
	u, _ := s.repo("r.git", map[string]string{"a": "1", "d/b": "2"})
	dir := t.TempDir()
	_, err := client(t, Options{}).Git(t.Context(), Repo{Remote: u, CommitTimes: true}, Commit{}, dir)
	assert.NilError(t, err)
	for _, p := range []string{"a", "d", "d/b"} {
		fi, err := os.Stat(filepath.Join(dir, p))
		assert.NilError(t, err)
		assert.Equal(t, fi.ModTime().UTC(), time.Unix(1e9, 0).UTC(), p)
	}
}

func TestGitAuthSecrets(t *testing.T) {
	s := newGitServer(t)
	u, hash := s.repo("r.git", map[string]string{"a": "1"})
	host := strings.TrimPrefix(s.url, "http://")
	for secret, auth := range map[string]string{
		"GIT_AUTH_TOKEN":            "basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:tok")),
		"GIT_AUTH_TOKEN." + host:    "basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:tok")),
		"GIT_AUTH_HEADER":           "tok",
		"GIT_AUTH_HEADER." + host:   "tok",
		"GIT_AUTH_TOKEN.other.host": "",
	} {
		s.auth.Store(cmp.Or(auth, "never"))
		c := client(t, Options{Secret: func(name string) ([]byte, bool) { return []byte("tok\n"), name == secret }})
		at, err := c.Git(t.Context(), Repo{Remote: u}, Commit{}, t.TempDir())
		if auth == "" {
			assert.ErrorContains(t, err, "git ls-remote")
			continue
		}
		assert.NilError(t, err, secret)
		assert.Equal(t, at.Hash, hash)
	}
}

func TestGitIgnoresTheUsersConfig(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	assert.NilError(t, os.WriteFile(filepath.Join(home, ".gitconfig"), []byte("[core]\n\tautocrlf = true\n"), 0o600))
	s := newGitServer(t)
	u, _ := s.repo("r.git", map[string]string{"a": "1\n2\n"})
	dir := t.TempDir()
	_, err := client(t, Options{}).Git(t.Context(), Repo{Remote: u}, Commit{}, dir)
	assert.NilError(t, err)
	assert.DeepEqual(t, tree(t, dir), map[string]string{"a": "1\n2\n"})
}
