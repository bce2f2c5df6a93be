package copier

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/cairnbuild/cairn/oci/index"
	"github.com/opencontainers/go-digest"
)

// Inline is a Source of one file whose content stands in the Dockerfile. Its Item is Literal with the name as Pattern; see
// InlineItem.
type Inline struct {
	file File
	data []byte
}

// NewInline makes a Source of a file owned by 0:0 with mode 0644 and the time mtime.
func NewInline(name string, data []byte, mtime time.Time) *Inline {
	return &Inline{data: data, file: File{Entry: index.Entry{
		Path: rooted(name), Type: index.Regular, Mode: 0o644, Size: int64(len(data)), MTime: mtime.UTC().Truncate(time.Second),
		Digest: digest.FromBytes(data), Offset: -1,
	}}}
}

// InlineItem is the Item for a heredoc of COPY or ADD: the file has the name of the delimiter.
func InlineItem(name string, data []byte, mtime time.Time) Item {
	return Item{Pattern: name, From: NewInline(name, data, mtime), Literal: true}
}

// Resolve finds the file and its parent directories.
func (s *Inline) Resolve(_ context.Context, p string) (File, error) {
	switch p = rooted(p); {
	case p == s.file.Path:
		return s.file, nil
	case p == "." || strings.HasPrefix(s.file.Path, p+"/"):
		return File{Entry: index.Entry{Path: p, Type: index.Directory, Mode: 0o755, Offset: -1}}, nil
	}
	return File{}, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
}

// ReadDir lists what leads to the file.
func (s *Inline) ReadDir(ctx context.Context, dir string) ([]File, error) {
	rest := s.file.Path
	if dir != "." {
		rest = strings.TrimPrefix(rest, dir+"/")
	}
	name, _, _ := strings.Cut(rest, "/")
	f, err := s.Resolve(ctx, path.Join(dir, name))
	return []File{f}, err
}

// Fill has nothing to do.
func (s *Inline) Fill(context.Context, []File) error { return nil }

// Open returns the content.
func (s *Inline) Open(context.Context, index.Entry) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.data)), nil
}
