package archive

import (
	"archive/tar"
	"bytes"
	"io"
	"path"
	"time"

	"github.com/cairnbuild/cairn/oci"
)

// tarWriter writes files and, before the first in each, their directories, all with the same attributes.
type tarWriter struct {
	tw   *tar.Writer
	dirs map[string]bool
}

func (t *tarWriter) header(name string, kind byte, mode, size int64) error {
	return t.tw.WriteHeader(&tar.Header{Name: name, Typeflag: kind, Mode: mode, Size: size, ModTime: time.Unix(0, 0)})
}

func (t *tarWriter) json(name string, v any) error {
	data, err := oci.Marshal(v)
	if err != nil {
		return err
	}
	return t.file(name, int64(len(data)), bytes.NewReader(data))
}

func (t *tarWriter) file(name string, size int64, r io.Reader) error {
	if err := t.mkdir(path.Dir(name)); err != nil {
		return err
	}
	if err := t.header(name, tar.TypeReg, 0o644, size); err != nil {
		return err
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{t.tw}, struct{ io.Reader }{r}, make([]byte, 256<<10))
	return err
}

// mkdir writes the entries of a directory and its parents once.
func (t *tarWriter) mkdir(dir string) error {
	if dir == "." || t.dirs[dir] {
		return nil
	}
	t.dirs[dir] = true
	if err := t.mkdir(path.Dir(dir)); err != nil {
		return err
	}
	return t.header(dir+"/", tar.TypeDir, 0o755, 0)
}
