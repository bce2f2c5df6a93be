package fetch

import (
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"
)

// gitServer serves the repositories in a directory over smart http, with git's own program.
type gitServer struct {
	t   *testing.T
	dir string
	url string
	// auth, if it holds something, is the Authorization header that is needed.
	auth atomic.Value
}

func newGitServer(t *testing.T) *gitServer {
	t.Helper()
	s := &gitServer{t: t, dir: t.TempDir()}
	backend := "/usr/lib/git-core/git-http-backend"
	if out, err := exec.Command("git", "--exec-path").Output(); err == nil {
		backend = filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	}
	h := &cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + s.dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if auth, ok := s.auth.Load().(string); ok && r.Header.Get("Authorization") != auth {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// git runs git in a repository of the server.
func (s *gitServer) git(repo string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", filepath.Join(s.dir, repo)}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a",
		"GIT_COMMITTER_EMAIL=a@b", "GIT_AUTHOR_DATE=1000000000 +0000", "GIT_COMMITTER_DATE=1000000000 +0000", "GIT_ALLOW_PROTOCOL=http:file")
	out, err := cmd.CombinedOutput()
	assert.NilError(s.t, err, "git %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

// repo makes a repository with one commit of files and returns its URL and commit.
func (s *gitServer) repo(name string, files map[string]string) (url, hash string) {
	s.t.Helper()
	assert.NilError(s.t, os.MkdirAll(filepath.Join(s.dir, name), 0o755))
	s.git(name, "-c", "init.defaultBranch=main", "init", "-q")
	return s.url + "/" + name, s.commit(name, files)
}

func (s *gitServer) commit(name string, files map[string]string) string {
	s.t.Helper()
	for p, content := range files {
		full := filepath.Join(s.dir, name, p)
		assert.NilError(s.t, os.MkdirAll(filepath.Dir(full), 0o755))
		mode := fs.FileMode(0o600)
		if strings.HasPrefix(content, "#!") {
			mode = 0o700
		}
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			assert.NilError(s.t, os.Symlink(target, full))
			continue
		}
		assert.NilError(s.t, os.WriteFile(full, []byte(content), mode))
	}
	s.git(name, "add", "-A")
	s.git(name, "commit", "-q", "--allow-empty", "-m", "x")
	return s.git(name, "rev-parse", "HEAD")
}

// files lists what is in a directory: content, "-> target", or "/" for a directory.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	assert.NilError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		assert.NilError(t, err)
		rel, err := filepath.Rel(dir, p)
		assert.NilError(t, err)
		switch {
		case rel == ".":
		case d.IsDir():
			got[rel] = "/"
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			assert.NilError(t, err)
			got[rel] = "-> " + target
		default:
			data, err := os.ReadFile(p)
			assert.NilError(t, err)
			got[rel] = string(data)
		}
		return nil
	}))
	return got
}
