package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cairnbuild/cairn/internal/files"
)

// Repo is a git repository and what to take of it, as the URL forms of ADD and of build contexts say it.
type Repo struct {
	// Remote is what git takes: an http, https, git or ssh URL, or host:path.
	Remote string
	// Ref is a branch, a tag, a full ref or a full commit hash; empty for the remote's HEAD. A branch goes before a tag.
	Ref string
	// Checksum is the beginning of the commit's hash (or of the annotated tag's) that Ref must give; empty for any.
	Checksum string
	// SubDir is the directory to take; empty for all.
	SubDir string
	// KeepGitDir keeps a .git directory with this one commit; it is ignored with a SubDir.
	KeepGitDir bool
	// SkipSubmodules leaves submodules empty.
	SkipSubmodules bool
	// CommitTimes gives all files the commit's time, instead of that of the checkout.
	CommitTimes bool
	// FetchByCommit fetches the commit Checksum without asking what Ref is.
	FetchByCommit bool
}

// Commit is what a Repo's Ref stands for.
type Commit struct {
	// Ref is the full name, such as refs/heads/main; empty when the Repo names a commit itself.
	Ref string
	// Object is the hash that the ref has, which may be an annotated tag's.
	Object string
	// Hash is the commit's.
	Hash string
}

// GitError is a failure of the git program.
type GitError struct {
	// Args are the subcommand and its arguments, without passwords.
	Args []string
	// Stderr is what it said.
	Stderr string
	Err    error
}

func (e *GitError) Error() string {
	msg := strings.TrimSpace(e.Stderr)
	if msg == "" {
		msg = e.Err.Error()
	}
	return fmt.Sprintf("git %s: %s", e.Args[0], msg)
}

func (e *GitError) Unwrap() error { return e.Err }

var (
	fullHash = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	someHash = regexp.MustCompile(`^[0-9a-fA-F]+$`)
)

// check refuses what git would take for something else.
func (r *Repo) check() error {
	switch {
	case r.Remote == "" || strings.HasPrefix(r.Remote, "-"):
		return fmt.Errorf("fetch git: %q is no repository", r.Remote)
	case strings.HasPrefix(r.Ref, "-") || strings.ContainsAny(r.Ref, " \t\n:^~?*[\\"):
		return fmt.Errorf("fetch %s: %q is no ref", redacted(r.Remote), r.Ref)
	case r.Checksum != "" && !someHash.MatchString(r.Checksum):
		return fmt.Errorf("fetch %s: checksum %q is no commit hash", redacted(r.Remote), r.Checksum)
	case r.FetchByCommit && !fullHash.MatchString(r.Checksum):
		return fmt.Errorf("fetch %s: fetch-by-commit needs a full commit hash as checksum", redacted(r.Remote))
	}
	return nil
}

// redacted is a remote without its password.
func redacted(remote string) string {
	if u, err := url.Parse(remote); err == nil && u.User != nil {
		return u.Redacted()
	}
	return remote
}

// ResolveGit asks the remote what r's Ref stands for, unless r says it itself. It fetches nothing; the hash is what a cache key
// needs. Where Checksum names another commit the error is a *ChecksumError.
func (c *Client) ResolveGit(ctx context.Context, r Repo) (Commit, error) {
	if err := r.check(); err != nil {
		return Commit{}, err
	}
	switch {
	case fullHash.MatchString(r.Ref):
		return Commit{Object: r.Ref, Hash: r.Ref}, r.verify(r.Ref)
	case r.FetchByCommit:
		return Commit{Ref: qualified(r.Ref), Object: r.Checksum, Hash: r.Checksum}, nil
	}
	g := c.git(r.Remote)
	var out string
	var err error
	if r.Ref == "" {
		out, err = g.run(ctx, "ls-remote", "--symref", "--", r.Remote, "HEAD")
	} else {
		out, err = g.run(ctx, "ls-remote", "--", r.Remote, r.Ref, r.Ref+"^{}")
	}
	if err != nil {
		return Commit{}, fmt.Errorf("fetch %s: %w", redacted(r.Remote), err)
	}
	at, ok := pick(out, r.Ref)
	if !ok {
		return Commit{}, fmt.Errorf("fetch %s: the repository has no ref %q", redacted(r.Remote), r.Ref)
	}
	return at, r.verify(at.Object, at.Hash)
}

func qualified(ref string) string {
	if ref == "" || strings.HasPrefix(ref, "refs/") {
		return ref
	}
	return "refs/heads/" + ref
}

// pick finds a ref in the output of ls-remote: the full name first, then a branch, then a tag.
func pick(out, ref string) (Commit, bool) {
	refs := map[string]string{}
	head := ""
	for line := range strings.Lines(out) {
		left, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if target, ok := strings.CutPrefix(left, "ref: "); ok {
			head = target
			continue
		}
		refs[name] = left
	}
	if ref == "" {
		hash := refs["HEAD"]
		return Commit{Ref: head, Object: hash, Hash: hash}, fullHash.MatchString(hash)
	}
	for _, name := range []string{"refs/" + strings.TrimPrefix(ref, "refs/"), "refs/heads/" + ref, "refs/tags/" + ref} {
		hash, ok := refs[name]
		if !ok || !fullHash.MatchString(hash) {
			continue
		}
		at := Commit{Ref: name, Object: hash, Hash: hash}
		if commit := refs[name+"^{}"]; fullHash.MatchString(commit) {
			at.Hash = commit
		}
		return at, true
	}
	return Commit{}, false
}

// verify checks that one of the hashes is what Checksum asks for.
func (r *Repo) verify(hashes ...string) error {
	for _, h := range hashes {
		if strings.HasPrefix(h, strings.ToLower(r.Checksum)) {
			return nil
		}
	}
	return &ChecksumError{URL: redacted(r.Remote), Want: r.Checksum, Got: strings.Join(hashes, " or ")}
}

// Git checks a repository out into dir, an empty directory, and returns the commit. at is what ResolveGit said; the zero
// value asks again. Files get mode 0644 or 0755, directories 0755, whatever the umask. Symbolic links are left as the
// repository has them. Submodules are checked out too, from http, https, git and ssh remotes only. The user's and the
// system's git configuration have no effect.
func (c *Client) Git(ctx context.Context, r Repo, at Commit, dir string) (_ Commit, err error) {
	if err := r.check(); err != nil {
		return Commit{}, err
	}
	if at.Hash == "" {
		if at, err = c.ResolveGit(ctx, r); err != nil {
			return Commit{}, err
		}
	}
	bare := filepath.Join(c.o.CacheDir, "git-"+hashed(r.Remote))
	lock, err := files.Lock(ctx, bare+".lock", files.LockMode{Exclusive: true, Create: true})
	if err != nil {
		return Commit{}, fmt.Errorf("lock git cache: %w", err)
	}
	defer lock.Close()
	c.prune()
	g := c.git(r.Remote)
	g.dir = bare
	if err := g.fetch(ctx, &r, at); err != nil {
		return Commit{}, fmt.Errorf("fetch %s: %w", redacted(r.Remote), err)
	}
	touch(bare)
	touch(bare + ".lock")
	if err := g.checkout(ctx, &r, at, dir); err != nil {
		return Commit{}, fmt.Errorf("check out %s: %w", redacted(r.Remote), err)
	}
	return at, nil
}

// subdirectory moves what is in sub of from up into dir. No component of sub may be a link.
func subdirectory(from, sub, dir string) error {
	root, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer root.Close()
	sub = strings.TrimPrefix(path.Clean("/"+sub), "/")
	at := ""
	for part := range strings.SplitSeq(sub, "/") {
		at = path.Join(at, part)
		fi, err := root.Lstat(at)
		if err != nil {
			return fmt.Errorf("subdirectory %q: %w", sub, errors.Unwrap(err))
		}
		if !fi.IsDir() {
			return fmt.Errorf("subdirectory %q: %q is no directory", sub, at)
		}
	}
	entries, err := os.ReadDir(filepath.Join(from, sub))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(from, sub, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
