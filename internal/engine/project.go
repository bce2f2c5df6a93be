package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/dockerfile/ignore"
	"github.com/cairnbuild/cairn/internal/contextdir"
	"github.com/cairnbuild/cairn/internal/fetch"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/store"
)

// project is the Dockerfile and the build context.
type project struct {
	file    *dockerfile.File
	store   *store.Store
	opts    *Options
	agents  *agents
	dir     string
	ignored *ignore.Matcher
	events  *emitter
	reading *reading
	// contexts are the named ones.
	contexts planner.Contexts

	mu      sync.Mutex
	context *contextdir.Context
	named   map[string]*contextdir.Context
	// closing guards closers, which steps add to at the same time.
	closing sync.Mutex
	closers []func() error
	// made is when a context that came from somewhere else was made, as far as that is known: SOURCE_DATE_EPOCH=context.
	made *time.Time
}

// maxDockerfile bounds what is read as a Dockerfile.
const maxDockerfile = 16 << 20

// defaultNames are tried in order when no -f is given.
var defaultNames = []string{"Dockerfile", "dockerfile", "Containerfile"}

// NoDockerfileError says that there is no Dockerfile: File is not there or none, or without a File none of the default names is in Dir.
type NoDockerfileError struct {
	Dir, File string
	// Nearest is where File is, when it was meant to be in the context.
	Nearest string
	Err     error
}

func (e *NoDockerfileError) Error() string {
	if e.File != "" {
		return fmt.Sprintf("read Dockerfile: %v", e.Err)
	}
	return fmt.Sprintf("no Dockerfile in %s (looked for %s)", e.Dir, strings.Join(defaultNames, ", "))
}

// Unwrap returns the cause, if there is one.
func (e *NoDockerfileError) Unwrap() error { return e.Err }

// openProject reads the Dockerfile and the ignore file; a context directory is read when a step asks for it, one that comes as a tar or
// from somewhere else now.
func openProject(ctx context.Context, s *store.Store, opts *Options, ev *emitter) (_ *project, err error) {
	pr := &project{
		store: s, opts: opts, agents: &agents{given: opts.Run.SSH}, dir: opts.Input.Context, events: ev, reading: &reading{events: ev}, named: map[string]*contextdir.Context{},
	}
	defer func() {
		if err != nil {
			pr.close()
		}
	}()
	o := opts.Input
	if pr.contexts, err = parseContexts(o.NamedContexts); err != nil {
		return nil, err
	}
	if err := pr.fetchContext(ctx, &o); err != nil {
		return nil, err
	}
	var name string
	var data []byte
	if pr.context != nil && o.Dockerfile != "-" {
		name, data, err = pr.dockerfileInContext(ctx, o.Dockerfile)
	} else {
		name, data, err = readDockerfile(&o)
	}
	if err != nil {
		return nil, err
	}
	if pr.file, err = dockerfile.Parse(name, data); err != nil {
		return nil, err
	}
	return pr, pr.readIgnore(ctx, name)
}

func readDockerfile(o *Input) (string, []byte, error) {
	if o.Dockerfile == "-" {
		data, err := io.ReadAll(io.LimitReader(o.DockerfileReader, maxDockerfile))
		if err != nil {
			return "", nil, fmt.Errorf("read Dockerfile from standard input: %w", err)
		}
		return "Dockerfile", data, nil
	}
	names := []string{o.Dockerfile}
	if o.Dockerfile == "" {
		names = names[:0]
		for _, n := range defaultNames {
			names = append(names, filepath.Join(o.Context, n))
		}
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		switch {
		case err == nil:
			return name, data, nil
		case errors.Is(err, fs.ErrNotExist) && o.Dockerfile == "":
			continue
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR):
			e := &NoDockerfileError{Dir: o.Context, File: name, Err: err}
			if inContext := filepath.Join(o.Context, name); fileExists(inContext) {
				e.Nearest = inContext
			} else if below := filepath.Join(name, defaultNames[0]); fileExists(below) {
				e.Nearest = below
			}
			return "", nil, e
		default:
			return "", nil, fmt.Errorf("read Dockerfile: %w", err)
		}
	}
	return "", nil, &NoDockerfileError{Dir: o.Context}
}

func fileExists(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// readIgnore finds the ignore file: the one named after the Dockerfile wins over the context's.
func (pr *project) readIgnore(ctx context.Context, dockerfileName string) error {
	read := os.ReadFile
	names := []string{dockerfileName + ".dockerignore", filepath.Join(pr.dir, ".dockerignore")}
	if pr.context != nil {
		read = func(name string) ([]byte, error) { return pr.context.ReadFile(ctx, name, maxDockerfile) }
		names[1] = ".dockerignore"
	} else if pr.dir == "" {
		return nil
	}
	for _, name := range names {
		data, err := read(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read ignore file: %w", err)
		}
		if pr.ignored, err = ignore.Parse(bytes.NewReader(data)); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		break
	}
	if pr.context != nil && pr.ignored != nil {
		pr.context = pr.context.WithIgnore(pr.ignored)
	}
	return nil
}

// dockerfileInContext reads the Dockerfile of a context that is no directory here.
func (pr *project) dockerfileInContext(ctx context.Context, given string) (string, []byte, error) {
	names := defaultNames
	if given != "" {
		names = []string{given}
	}
	for _, name := range names {
		data, err := pr.context.ReadFile(ctx, name, maxDockerfile)
		if err == nil {
			return name, data, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", nil, fmt.Errorf("read Dockerfile: %w", err)
		}
	}
	e := &NoDockerfileError{Dir: "the context"}
	if given != "" {
		e.File, e.Err = given, &fs.PathError{Op: "open", Path: given, Err: fs.ErrNotExist}
	}
	return "", nil, e
}

// fetchContext brings a context that is a tar on standard input, a git repository or a URL here.
func (pr *project) fetchContext(ctx context.Context, o *Input) error {
	if o.Context == "-" {
		pr.dir = ""
		return pr.contextFromTar(ctx, o.ContextTar)
	}
	c, err := planner.ParseContext("", o.Context, exists)
	if err != nil || c.Kind != planner.RemoteContext {
		return nil // a directory, which is looked for when a step needs it
	}
	src := c.Remote
	return pr.events.do("[internal] load remote build context", func(*vertex) error {
		client, err := pr.fetcher()
		if err != nil {
			return err
		}
		if src.Kind != dockerfile.GitSource {
			return pr.contextFromURL(ctx, client, src.Text, o)
		}
		repo := repoOf(src.Git)
		if keep := pr.opts.Args["BUILDKIT_CONTEXT_KEEP_GIT_DIR"]; keep != "" {
			if repo.KeepGitDir, err = strconv.ParseBool(keep); err != nil {
				return fmt.Errorf("BUILDKIT_CONTEXT_KEEP_GIT_DIR=%s: it is true or false", keep)
			}
		}
		if pr.dir, err = pr.checkout(ctx, client, repo); err != nil {
			return err
		}
		o.Context = pr.dir
		if o.Dockerfile != "" && o.Dockerfile != "-" {
			o.Dockerfile = filepath.Join(pr.dir, o.Dockerfile)
		}
		pr.made, err = pr.commitTime(ctx, client, repo)
		return err
	})
}

// contextFromURL reads a tar, or a Dockerfile that needs no context.
func (pr *project) contextFromURL(ctx context.Context, client *fetch.Client, url string, o *Input) error {
	file, err := client.HTTP(ctx, url, "")
	if err != nil {
		return err
	}
	f, err := os.Open(file.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	pr.dir, o.Context = "", ""
	if pr.made, err = fileTime(ctx, file); err != nil {
		return err
	}
	if contextdir.IsTar(f) {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return pr.contextFromTar(ctx, f)
	}
	data, err := os.ReadFile(file.Path)
	o.Dockerfile, o.DockerfileReader = "-", bytes.NewReader(data)
	return err
}

func (pr *project) contextFromTar(ctx context.Context, r io.Reader) error {
	tmp, err := pr.store.TempDir("context")
	if err != nil {
		return err
	}
	pr.onClose(tmp.Close)
	if pr.context, err = contextdir.FromTar(ctx, r, tmp.Path()); err != nil {
		return fmt.Errorf("read the context's tar: %w", err)
	}
	return nil
}

// open returns the context, opened once.
func (pr *project) open(_ context.Context) (*contextdir.Context, error) {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if pr.context != nil {
		return pr.context, nil
	}
	if pr.dir == "" {
		return nil, errors.New("this build has no context: the Dockerfile came alone")
	}
	var err error
	pr.context, err = contextdir.Open(pr.dir, ignorer(pr.ignored), pr.contextOptions())
	return pr.context, err
}

func (pr *project) onClose(f func() error) {
	pr.closing.Lock()
	defer pr.closing.Unlock()
	pr.closers = append(pr.closers, f)
}

func (pr *project) contextOptions() contextdir.Options {
	return contextdir.Options{StatCache: pr.store.StatCache(), OnHash: pr.reading.read}
}

// ignorer keeps a nil matcher a nil interface.
func ignorer(m *ignore.Matcher) contextdir.Ignorer {
	if m == nil {
		return nil
	}
	return m
}

func (pr *project) close() {
	if pr.context != nil {
		_ = pr.context.Close()
	}
	for i := len(pr.closers) - 1; i >= 0; i-- {
		_ = pr.closers[i]()
	}
	pr.closers = nil
	pr.agents.close()
}
