package tests

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// lastModified is what every file of cmdHTTP has as its time.
const lastModified = "Tue, 14 Nov 2023 22:13:20 GMT"

// cmdHTTP serves a directory over http on loopback: "http DIR" sets $URL, and each request is a line "METHOD PATH STATUS" of the file
// $WORK/http.log. A file has an ETag, unless its name contains "plain", and a Last-Modified; "/moved/X" redirects to "/X", and
// "/private/X" wants the bearer token "sesame".
func cmdHTTP(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: http DIR")
	}
	h := &fileServer{dir: ts.MkAbs(args[0]), log: ts.MkAbs("http.log")}
	s := httptest.NewServer(h)
	ts.Defer(s.Close)
	ts.Setenv("URL", s.URL)
	ts.Setenv("HOSTPORT", strings.TrimPrefix(s.URL, "http://"))
}

type fileServer struct {
	dir, log string
	mu       sync.Mutex
}

func (s *fileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := s.answer(w, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := os.OpenFile(s.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintln(f, r.Method, r.URL.Path, status)
}

func (s *fileServer) answer(w http.ResponseWriter, r *http.Request) int {
	name := r.URL.Path
	if to, ok := strings.CutPrefix(name, "/moved/"); ok {
		http.Redirect(w, r, "/"+to, http.StatusFound)
		return http.StatusFound
	}
	if to, ok := strings.CutPrefix(name, "/private/"); ok {
		if r.Header.Get("Authorization") != "Bearer sesame" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return http.StatusUnauthorized
		}
		name = "/" + to
	}
	if name == "/" {
		name = "/index"
	}
	data, err := os.ReadFile(filepath.Join(s.dir, filepath.Clean(name)))
	if err != nil {
		http.NotFound(w, r)
		return http.StatusNotFound
	}
	w.Header().Set("Last-Modified", lastModified)
	if !strings.Contains(name, "plain") {
		sum := sha256.Sum256(data)
		tag := `"` + hex.EncodeToString(sum[:8]) + `"`
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return http.StatusNotModified
		}
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(data)
	}
	return http.StatusOK
}

// cmdGit makes a repository of a directory and serves it over http with git's own server: "git DIR" sets $GIT to its URL, $COMMIT to
// the hash of the only commit of branch main, which also has the tag v1, and $GITDIR to the bare repository.
func cmdGit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: git DIR")
	}
	dir, root := ts.MkAbs(args[0]), ts.MkAbs("git-root")
	bare := filepath.Join(root, "repo.git")
	git := func(args ...string) string {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@t",
			"GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@t", "GIT_AUTHOR_DATE=1700000000 +0000", "GIT_COMMITTER_DATE=1700000000 +0000")
		out, err := cmd.CombinedOutput()
		if err != nil {
			ts.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "main")
	git("add", "-A")
	git("commit", "-q", "-m", "one")
	git("tag", "v1")
	ts.Check(os.MkdirAll(root, 0o755))
	git("clone", "-q", "--bare", dir, bare)
	ts.Setenv("COMMIT", git("rev-parse", "HEAD"))
	ts.Check(os.RemoveAll(filepath.Join(dir, ".git")))
	backend := filepath.Join(git("--exec-path"), "git-http-backend")
	s := httptest.NewServer(&cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"}})
	ts.Defer(s.Close)
	ts.Setenv("GIT", s.URL+"/repo.git")
	ts.Setenv("GITDIR", bare)
}

// cmdAgent starts a real ssh-agent with one fresh key, whose comment is given: "agent COMMENT" sets $AGENT to its socket, leaves the
// key's file at $WORK/COMMENT.key, and $AGENTLS is a program that lists an agent's keys.
func cmdAgent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: agent COMMENT")
	}
	dir, err := os.MkdirTemp("", "agent") // the socket's name must be short
	ts.Check(err)
	ts.Defer(func() { os.RemoveAll(dir) })
	socket, key := filepath.Join(dir, "s"), ts.MkAbs(args[0]+".key")
	cmd := exec.Command("ssh-agent", "-D", "-a", socket)
	ts.Check(cmd.Start())
	ts.Defer(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 100 {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	for _, argv := range [][]string{{"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", args[0], "-f", key}, {"ssh-add", "-q", key}} {
		c := exec.Command(argv[0], argv[1:]...)
		c.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
		if out, err := c.CombinedOutput(); err != nil {
			ts.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
		}
	}
	program, err := shared.once.agentls.get()
	ts.Check(err)
	ts.Setenv("AGENT", socket)
	ts.Setenv("AGENTLS", program)
}
