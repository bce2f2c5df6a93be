package cli

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/cairnbuild/cairn/internal/engine"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci/compress"
)

// prepareInput checks the context and opens what comes on standard input. The file it returns, if any, is standard input in
// a form that can be read twice, positioned at its start: the build may begin here and go on in a namespace.
func (sh *shell) prepareInput(ctx context.Context, st *store.Store, in *engine.Input) (*os.File, error) {
	fromStdin := in.Context == "-" || in.Dockerfile == "-"
	if in.Context == "-" && in.Dockerfile == "-" {
		return nil, &usageError{Command: "build", Msg: "context and Dockerfile cannot both come on standard input",
			Hint: "give the context as -: a tar archive may contain the Dockerfile"}
	}
	if !fromStdin {
		return nil, checkContext(in.Context)
	}
	if term.IsTerminal(int(sh.stdin.Fd())) && in.Context == "-" {
		fmt.Fprintln(sh.stderr, "reading a Dockerfile or a tar archive from the terminal; end it with ctrl-d")
	}
	f, err := spool(ctx, st, sh.stdin)
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	if in.Dockerfile == "-" {
		in.DockerfileReader = f
		return f, checkContext(in.Context)
	}
	archive, err := isArchive(f)
	switch {
	case err != nil:
		return f, fmt.Errorf("read standard input: %w", err)
	case archive:
		in.ContextTar = f
	case in.Dockerfile != "":
		return f, &usageError{Command: "build", Msg: "standard input is no tar archive, so --file has no context to be in"}
	default:
		in.Context, in.Dockerfile, in.DockerfileReader = "", "-", f
	}
	return f, nil
}

// isRemote says whether a context is something to fetch.
func isRemote(context string) bool {
	for _, prefix := range []string{"http://", "https://", "git://", "ssh://", "git@", "github.com/"} {
		if strings.HasPrefix(context, prefix) {
			return true
		}
	}
	return false
}

// checkContext finds out early, and with better words, that a context is no directory.
func checkContext(path string) error {
	if isRemote(path) {
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &usageError{Command: "build", Msg: fmt.Sprintf("there is no directory %q to build", path)}
	case err != nil:
		return fmt.Errorf("open context: %w", err)
	case !info.IsDir():
		return &usageError{Command: "build", Msg: fmt.Sprintf("the context %q is not a directory", path),
			Hint: fmt.Sprintf("a Dockerfile is named with --file: cairn build -f %s %s", path, filepath.Dir(path))}
	}
	return nil
}

// spool returns in itself when it can be read again from where it stands, else a copy of what it gives, in a file without a name.
func spool(ctx context.Context, st *store.Store, in *os.File) (*os.File, error) {
	if info, err := in.Stat(); err == nil && info.Mode().IsRegular() {
		if at, err := in.Seek(0, io.SeekCurrent); err == nil && at == 0 {
			return in, nil
		}
	}
	dir, err := st.TempDir("stdin")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := os.Create(filepath.Join(dir.Path(), "stdin"))
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r := interruptible(ctx, in)
	defer r.Close()
	if _, err := io.Copy(f, r); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, err
}

// isArchive says whether f holds a tar archive, compressed or not, and leaves it at its start. Anything else is a Dockerfile.
func isArchive(f *os.File) (bool, error) {
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return false, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	head = head[:n]
	if compress.Detect(head) != compress.None {
		return true, nil
	}
	if n < 512 || bytes.Equal(head, make([]byte, 512)) {
		return n == 512, nil // the end mark of an empty archive
	}
	_, err = tar.NewReader(bytes.NewReader(head)).Next()
	return err == nil || errors.Is(err, io.ErrUnexpectedEOF), nil
}

// prepareExports opens standard output for the exports that go there.
func (sh *shell) prepareExports(exports []engine.Export) error {
	for i := range exports {
		if exports[i].Dest != "-" {
			continue
		}
		if err := sh.refuseTerminal(); err != nil {
			return err
		}
		exports[i].Writer = sh.out
	}
	return nil
}

// refuseTerminal keeps archives off the screen.
func (sh *shell) refuseTerminal() error {
	if !term.IsTerminal(int(sh.stdout.Fd())) {
		return nil
	}
	return &usageError{Msg: "an archive is not written to a terminal", Hint: "name a file, or send it into a pipe"}
}

func countStdout(exports []engine.Export) int {
	n := 0
	for _, e := range exports {
		if e.Dest == "-" {
			n++
		}
	}
	return n
}

func writesToStdout(exports []engine.Export) bool { return countStdout(exports) > 0 }
