package dockerfile

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
)

// SourceKind says what a source of COPY or ADD is.
type SourceKind int

// The kinds of sources.
const (
	// LocalSource is a path or pattern in the context, a stage or an image.
	LocalSource SourceKind = iota
	// HTTPSource is an http or https URL of a file.
	HTTPSource
	// GitSource is a git repository.
	GitSource
)

// Source is a source of COPY or ADD, taken apart.
type Source struct {
	Kind SourceKind
	// Text is the source as it stands in the expanded instruction.
	Text string
	// Git is set for a GitSource.
	Git *GitRef
}

// GitRef is a git repository and what to take of it: "https://host/repo.git#ref:subdir", "...?ref=v1&subdir=docs", "git@host:repo".
type GitRef struct {
	// Remote is what "git fetch" takes.
	Remote string
	// Ref is a branch, a tag or a commit; empty for the remote's HEAD.
	Ref string
	// Checksum is the (beginning of the) commit that Ref must give; empty for any.
	Checksum string
	// SubDir is the directory to take; empty for all.
	SubDir string
	// KeepGitDir and Submodules are nil when the URL says nothing.
	KeepGitDir *bool
	Submodules *bool
	// CommitTimes asks for the commit's time as the files' mtime ("mtime=commit").
	CommitTimes bool
	// FetchByCommit asks to fetch Checksum directly.
	FetchByCommit bool
	// Plain is true where the transport is neither encrypted nor authenticated (http, git).
	Plain bool
}

// ParseSource takes an expanded source of COPY or ADD apart. An http URL whose path ends in ".git" is a git repository. It
// gives an error for a git URL with queries that make no sense.
func ParseSource(s string) (Source, error) {
	ref, isGit, err := dfgitutil.ParseGitRef(s)
	if err != nil && isGit {
		return Source{}, fmt.Errorf("source %s: %w", s, err)
	}
	if err == nil && ref.IndistinguishableFromLocal {
		return Source{Kind: LocalSource, Text: s}, nil
	}
	if err == nil {
		return Source{Kind: GitSource, Text: s, Git: gitRef(ref)}, nil
	}
	if strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") {
		return Source{Kind: HTTPSource, Text: s}, nil
	}
	return Source{Kind: LocalSource, Text: s}, nil
}

// ParseContext takes a build context given on the command line apart. It is a GitSource also for "github.com/owner/repo".
func ParseContext(s string) (Source, error) {
	src, err := ParseSource(s)
	if err != nil || src.Kind != LocalSource || !strings.HasPrefix(s, "github.com/") {
		return src, err
	}
	ref, _, err := dfgitutil.ParseGitRef(s)
	if err != nil {
		return src, nil
	}
	return Source{Kind: GitSource, Text: s, Git: gitRef(ref)}, nil
}

func gitRef(r *dfgitutil.GitRef) *GitRef {
	remote := r.Remote
	if r.IndistinguishableFromLocal {
		remote = "https://" + remote
	}
	return &GitRef{
		Remote: remote, Ref: r.Ref, Checksum: r.Checksum, SubDir: r.SubDir, KeepGitDir: r.KeepGitDir, Submodules: r.Submodules,
		CommitTimes: r.MTime == "commit", FetchByCommit: r.FetchByCommit, Plain: r.UnencryptedTCP,
	}
}

// agrees checks that the URL and the flags of an ADD do not contradict each other.
func (s Source) agrees(c *Copy) error {
	if s.Git == nil {
		return nil
	}
	if c.KeepGitDir != nil && s.Git.KeepGitDir != nil && *c.KeepGitDir != *s.Git.KeepGitDir {
		return errors.New("--keep-git-dir and the URL's keep-git-dir differ")
	}
	if c.Checksum != "" && s.Git.Checksum != "" && c.Checksum != s.Git.Checksum {
		return fmt.Errorf("--checksum=%s and the URL's checksum %s differ", c.Checksum, s.Git.Checksum)
	}
	return nil
}
