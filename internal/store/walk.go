package store

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// eachBlob walks the blobs of the layout. A file that has no digest for a name is none.
func (s *Store) eachBlob(fn func(d digest.Digest, path string) error) error {
	algorithms, err := os.ReadDir(s.path("oci", "blobs"))
	if err != nil {
		return err
	}
	for _, a := range algorithms {
		entries, err := os.ReadDir(s.path("oci", "blobs", a.Name()))
		if err != nil {
			return err
		}
		for _, e := range entries {
			d := digest.NewDigestFromEncoded(digest.Algorithm(a.Name()), e.Name())
			if d.Validate() != nil {
				continue
			}
			if err := fn(d, s.blobPath(d)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Steps calls fn for every readable record, in no order, with the time of its last use. An error of fn ends it.
func (s *Store) Steps(fn func(step Step, used time.Time) error) error {
	return s.eachRecord(func(_ string, r record, used time.Time, err error) error {
		if err != nil {
			return nil
		}
		return fn(r.Step, used)
	})
}

// eachRecord walks all records; err says what is wrong with the one at path.
func (s *Store) eachRecord(fn func(path string, r record, used time.Time, err error) error) error {
	return s.eachStepFile("", func(path string, name digest.Digest, info fs.FileInfo) error {
		r, err := s.readRecord(name)
		return fn(path, r, info.ModTime(), err)
	})
}

// eachStepFile walks the files below steps whose names are a digest with the given suffix.
func (s *Store) eachStepFile(suffix string, fn func(path string, name digest.Digest, info fs.FileInfo) error) error {
	return filepath.WalkDir(s.path("steps"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return errIgnoring(err, fs.ErrNotExist)
		}
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok || !validID(name) {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return errIgnoring(err, fs.ErrNotExist)
		}
		return fn(path, digest.NewDigestFromEncoded(digest.SHA256, name), info)
	})
}
