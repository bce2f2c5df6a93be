package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/dockerfile/ignore"
	"github.com/cairnbuild/cairn/internal/contextdir"
	"github.com/cairnbuild/cairn/internal/store"
)

// input is the Dockerfile and the build context.
type input struct {
	file    *dockerfile.File
	store   *store.Store
	dir     string
	ignored *ignore.Matcher
	events  *emitter

	once    sync.Once
	context *contextdir.Context
	err     error
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

// openInput reads the Dockerfile and the ignore file; the context itself is read when a step asks for it.
func openInput(_ context.Context, s *store.Store, opts *Options, ev *emitter) (*input, error) {
	in := &input{store: s, dir: opts.Input.Context, events: ev}
	name, data, err := readDockerfile(&opts.Input)
	if err != nil {
		return nil, err
	}
	if in.file, err = dockerfile.Parse(name, data); err != nil {
		return nil, err
	}
	in.ignored, err = readIgnore(in.dir, name)
	return in, err
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
func readIgnore(dir, dockerfileName string) (*ignore.Matcher, error) {
	for _, name := range []string{dockerfileName + ".dockerignore", filepath.Join(dir, ".dockerignore")} {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		defer f.Close()
		m, err := ignore.Parse(f)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		return m, nil
	}
	return nil, nil
}

// open returns the context, opened once.
func (in *input) open(ctx context.Context) (*contextdir.Context, error) {
	in.once.Do(func() {
		if in.dir == "" {
			in.err = errors.New("this build has no context: the Dockerfile came alone, on standard input")
			return
		}
		in.context, in.err = contextdir.Open(in.dir, in.ignored, contextdir.Options{StatCache: filepath.Join(in.store.Root(), "statcache")})
	})
	return in.context, in.err
}

func (in *input) close() {
	if in.context != nil {
		_ = in.context.Close()
	}
}
