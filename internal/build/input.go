package build

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
	"time"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/dockerfile/ignore"
	"github.com/cairnbuild/cairn/internal/contextdir"
	"github.com/cairnbuild/cairn/internal/fetch"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/store"
)

// input is the Dockerfile and the build context.
type input struct {
	file    *dockerfile.File
	store   *store.Store
	opts    *Options
	agents  *agents
	dir     string
	ignored *ignore.Matcher
	events  *emitter
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

// NoDockerfileError says that none of the default names is in the context.
type NoDockerfileError struct{ Dir string }

func (e *NoDockerfileError) Error() string {
	return fmt.Sprintf("no Dockerfile in %s (looked for %s)", e.Dir, strings.Join(defaultNames, ", "))
}

// openInput reads the Dockerfile and the ignore file; a context directory is read when a step asks for it, one that comes as a tar or
// from somewhere else now.
func openInput(ctx context.Context, s *store.Store, opts *Options, ev *emitter) (_ *input, err error) {
	in := &input{
		store: s, opts: opts, agents: &agents{given: opts.Run.SSH}, dir: opts.Input.Context, events: ev, named: map[string]*contextdir.Context{},
	}
	defer func() {
		if err != nil {
			in.close()
		}
	}()
	o := opts.Input
	if in.contexts, err = parseContexts(o.NamedContexts); err != nil {
		return nil, err
	}
	if err := in.fetchContext(ctx, &o); err != nil {
		return nil, err
	}
	var name string
	var data []byte
	if in.context != nil && o.Dockerfile != "-" {
		name, data, err = in.dockerfileInContext(ctx, o.Dockerfile)
	} else {
		name, data, err = readDockerfile(&o)
	}
	if err != nil {
		return nil, err
	}
	if in.file, err = dockerfile.Parse(name, data); err != nil {
		return nil, err
	}
	return in, in.readIgnore(ctx, name)
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
		default:
			return "", nil, fmt.Errorf("read Dockerfile: %w", err)
		}
	}
	return "", nil, &NoDockerfileError{Dir: o.Context}
}

// readIgnore finds the ignore file: the one named after the Dockerfile wins over the context's.
func (in *input) readIgnore(ctx context.Context, dockerfileName string) error {
	read := os.ReadFile
	names := []string{dockerfileName + ".dockerignore", filepath.Join(in.dir, ".dockerignore")}
	if in.context != nil {
		read = func(name string) ([]byte, error) { return in.context.ReadFile(ctx, name, maxDockerfile) }
		names[1] = ".dockerignore"
	} else if in.dir == "" {
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
		if in.ignored, err = ignore.Parse(bytes.NewReader(data)); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		break
	}
	if in.context != nil && in.ignored != nil {
		in.context = in.context.WithIgnore(in.ignored)
	}
	return nil
}

// dockerfileInContext reads the Dockerfile of a context that is no directory here.
func (in *input) dockerfileInContext(ctx context.Context, given string) (string, []byte, error) {
	names := defaultNames
	if given != "" {
		names = []string{given}
	}
	for _, name := range names {
		data, err := in.context.ReadFile(ctx, name, maxDockerfile)
		if err == nil {
			return name, data, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", nil, fmt.Errorf("read Dockerfile: %w", err)
		}
	}
	return "", nil, &NoDockerfileError{Dir: "the context"}
}

// fetchContext brings a context that is a tar on standard input, a git repository or a URL here.
func (in *input) fetchContext(ctx context.Context, o *Input) error {
	if o.Context == "-" {
		in.dir = ""
		return in.contextFromTar(ctx, o.ContextTar)
	}
	c, err := planner.ParseContext("", o.Context, exists)
	if err != nil || c.Kind != planner.RemoteContext {
		return nil // a directory, which is looked for when a step needs it
	}
	src := c.Remote
	return in.events.do("[internal] load remote build context", func(*vertex) error {
		client, err := in.fetcher()
		if err != nil {
			return err
		}
		if src.Kind != dockerfile.GitSource {
			return in.contextFromURL(ctx, client, src.Text, o)
		}
		repo := repoOf(src.Git)
		if keep := in.opts.Args["BUILDKIT_CONTEXT_KEEP_GIT_DIR"]; keep != "" {
			if repo.KeepGitDir, err = strconv.ParseBool(keep); err != nil {
				return fmt.Errorf("BUILDKIT_CONTEXT_KEEP_GIT_DIR=%s: it is true or false", keep)
			}
		}
		if in.dir, err = in.checkout(ctx, client, repo); err != nil {
			return err
		}
		o.Context = in.dir
		if o.Dockerfile != "" && o.Dockerfile != "-" {
			o.Dockerfile = filepath.Join(in.dir, o.Dockerfile)
		}
		in.made, err = in.commitTime(ctx, client, repo)
		return err
	})
}

// contextFromURL reads a tar, or a Dockerfile that needs no context.
func (in *input) contextFromURL(ctx context.Context, client *fetch.Client, url string, o *Input) error {
	file, err := client.HTTP(ctx, url, "")
	if err != nil {
		return err
	}
	f, err := os.Open(file.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	in.dir, o.Context = "", ""
	if in.made, err = fileTime(ctx, file); err != nil {
		return err
	}
	if contextdir.IsTar(f) {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return in.contextFromTar(ctx, f)
	}
	data, err := os.ReadFile(file.Path)
	o.Dockerfile, o.DockerfileReader = "-", bytes.NewReader(data)
	return err
}

func (in *input) contextFromTar(ctx context.Context, r io.Reader) error {
	tmp, err := in.store.TempDir("context")
	if err != nil {
		return err
	}
	in.onClose(tmp.Close)
	if in.context, err = contextdir.FromTar(ctx, r, tmp.Path()); err != nil {
		return fmt.Errorf("read the context's tar: %w", err)
	}
	return nil
}

// open returns the context, opened once.
func (in *input) open(_ context.Context) (*contextdir.Context, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.context != nil {
		return in.context, nil
	}
	if in.dir == "" {
		return nil, errors.New("this build has no context: the Dockerfile came alone")
	}
	var err error
	in.context, err = contextdir.Open(in.dir, ignorer(in.ignored), contextdir.Options{StatCache: in.statCache()})
	return in.context, err
}

func (in *input) onClose(f func() error) {
	in.closing.Lock()
	defer in.closing.Unlock()
	in.closers = append(in.closers, f)
}

func (in *input) statCache() string { return filepath.Join(in.store.Root(), "statcache") }

// ignorer keeps a nil matcher a nil interface.
func ignorer(m *ignore.Matcher) contextdir.Ignorer {
	if m == nil {
		return nil
	}
	return m
}

func (in *input) close() {
	if in.context != nil {
		_ = in.context.Close()
	}
	for i := len(in.closers) - 1; i >= 0; i-- {
		_ = in.closers[i]()
	}
	in.closers = nil
	in.agents.close()
}
