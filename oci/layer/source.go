package layer

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/oci/index"
)

type dirSource struct {
	root *os.File
	err  error
}

// DirSource gives the contents that a layer's directory form has. It holds the directory open, so that a rename does not
// matter, and follows no symbolic link in it. That the directory is not there is an error of Open.
func DirSource(dir string) Source {
	root, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	return &dirSource{root, err}
}

func (s *dirSource) Open(_ context.Context, e index.Entry) (io.ReadCloser, error) {
	if s.err != nil {
		return nil, fmt.Errorf("open layer directory: %w", s.err)
	}
	f, err := sys.OpenBeneath(s.root, e.Path, unix.O_RDONLY|unix.O_NONBLOCK) // a FIFO must not make us wait
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		f.Close()
		return nil, &ChangedError{e.Path}
	}
	return f, nil
}

type tarSource struct{ r io.ReaderAt }

// TarSource gives the contents of a layer's uncompressed tar by their Offset. r may be read from several goroutines.
func TarSource(r io.ReaderAt) Source { return tarSource{r} }

func (s tarSource) Open(_ context.Context, e index.Entry) (io.ReadCloser, error) {
	if e.Size == 0 {
		return io.NopCloser(&contentReader{}), nil
	}
	if e.Offset == -1 {
		return nil, fmt.Errorf("%q: its content is not in the layer's tar: %w", e.Path, fs.ErrNotExist)
	}
	at := spotOf(e, 0)
	n := at.size
	if at.sparse {
		n = 1<<63 - 1 - at.at
	}
	r, err := contentAt(io.NewSectionReader(s.r, at.at, n), at)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(r), nil
}
