package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/opencontainers/go-digest"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/oci"
)

// The files of a layer's directory. Each lock file stands for one thing that only one may do at a time; whoever takes it holds
// the directory's shared lock too, so that they go away together.
const (
	metaFile   = "layer.json"
	indexFile  = "index"
	ownersFile = "owners"

	metaLock    = "lock.meta"
	dirLock     = "lock.dir"
	blobLock    = "lock.blob"
	digestsLock = "lock.digests"
)

const metaVersion = 1

// layerMeta is layer.json: which forms the layer has.
type layerMeta struct {
	Version int
	ID      string
	// Gen counts the changes, Boot is the boot in which something was added that is not known to be durable.
	Gen  int
	Boot string `json:",omitempty"`

	ContentID digest.Digest `json:",omitempty"`
	DiffID    digest.Digest `json:",omitempty"`
	// Foreign: the blob was made by others. Loose: the index is as they made it, and means something only on the layers below.
	// Chain: it is such an index made strict on certain layers, which are part of the id.
	Foreign bool `json:",omitempty"`
	Loose   bool `json:",omitempty"`
	Chain   bool `json:",omitempty"`

	Blobs []blobForm `json:",omitempty"`
	Dirs  []dirForm  `json:",omitempty"`
	// Inherited are the files whose content is not in the tar but in a layer below.
	Inherited []inherited `json:",omitempty"`
}

// blobForm is one blob of a layer. Packing is compress.Options.String() of one that we packed.
type blobForm struct {
	MediaType string
	Digest    digest.Digest
	Size      int64
	Packing   string `json:",omitempty"`
}

// dirForm is one directory of a layer, made under one id map; Boot is set until it is durable.
type dirForm struct {
	Form string
	Boot string `json:",omitempty"`
}

// recordForm is the form of directories made where there is one id only.
const recordForm = "record"

// dirName is the name of a form's directory. It is short because the kernel takes no lower directory longer than 255 bytes.
func dirName(form string) string {
	if form == recordForm {
		return "dir.record"
	}
	h := fnv.New32a()
	h.Write([]byte(form))
	return fmt.Sprintf("dir.%08x", h.Sum32())
}

func (b blobForm) layer(diffID digest.Digest) oci.Layer {
	return oci.Layer{Descriptor: Descriptor{MediaType: b.MediaType, Digest: b.Digest, Size: b.Size}, DiffID: diffID}
}

// addBlob notes a blob, in place of one with the same digest.
func (m *layerMeta) addBlob(b blobForm) {
	for i, have := range m.Blobs {
		if have.Digest == b.Digest {
			if b.Packing == "" {
				b.Packing = have.Packing
			}
			m.Blobs[i] = b
			return
		}
	}
	m.Blobs = append(m.Blobs, b)
}

// dir finds the form's directory, if it counts in this boot.
func (m *layerMeta) dir(form, boot string) bool {
	for _, d := range m.Dirs {
		if d.Form == form && (d.Boot == "" || d.Boot == boot) {
			return true
		}
	}
	return false
}

// addDir notes a directory, in place of one with the same form.
func (m *layerMeta) addDir(form, boot string) {
	m.dropDir(form)
	m.Dirs = append(m.Dirs, dirForm{Form: form, Boot: boot})
}

func (m *layerMeta) dropDir(form string) {
	var kept []dirForm
	for _, d := range m.Dirs {
		if d.Form != form {
			kept = append(kept, d)
		}
	}
	m.Dirs = kept
}

// idPattern is what layer ids look like: they become file names, and come from files that may be damaged.
var idPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

func validID(id string) bool { return idPattern.MatchString(id) }

// layerDir is where a layer is or would be.
func (s *Store) layerDir(id string) string { return s.path("layers", id) }

// readMeta reads a layer's layer.json.
func (s *Store) readMeta(id string) (layerMeta, error) {
	var m layerMeta
	data, err := os.ReadFile(filepath.Join(s.layerDir(id), metaFile))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = &DamagedError{What: "layer " + id, Err: err}
		}
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, &DamagedError{What: "layer " + id, Err: err}
	}
	switch {
	case m.Version != metaVersion:
		return m, &DamagedError{What: "layer " + id, Err: fmt.Errorf("layer.json has version %d", m.Version)}
	case m.ID != id:
		return m, &DamagedError{What: "layer " + id, Err: fmt.Errorf("layer.json is of layer %q", m.ID)}
	}
	return m, nil
}

// updateMeta changes a layer's layer.json under its lock. The caller holds the layer's directory locked shared. fn starts from
// an empty layerMeta if the file is damaged. Other work that must not be done twice at a time may be done in fn, too.
func (s *Store) updateMeta(ctx context.Context, id string, fn func(m *layerMeta) error) (layerMeta, error) {
	lock, err := files.Lock(ctx, filepath.Join(s.layerDir(id), metaLock), files.LockMode{Exclusive: true, Create: true})
	if err != nil {
		return layerMeta{}, err
	}
	defer lock.Close()
	m, err := s.readMeta(id)
	var damaged *DamagedError
	if errors.As(err, &damaged) {
		m, err = layerMeta{Version: metaVersion, ID: id}, nil
	}
	if err != nil {
		return layerMeta{}, err
	}
	if err := fn(&m); err != nil {
		return layerMeta{}, err
	}
	m.Gen++
	data, err := json.Marshal(m)
	if err != nil {
		return layerMeta{}, err
	}
	return m, s.writeFile(data, false, "layers", id, metaFile)
}

// setName notes that d, a diffID, content id or blob digest, is of layer id. A name that leads to a layer is kept if keep.
func (s *Store) setName(d digest.Digest, id string, keep bool) error {
	if d == "" || d.Encoded() == id {
		return nil
	}
	old := s.idByName(d)
	if old == id {
		return nil
	}
	if keep && old != "" {
		if _, err := os.Stat(s.layerDir(old)); err == nil {
			return nil
		}
	}
	return s.writeFile([]byte(id), false, "names", d.Encoded())
}

// idByName returns the layer id that d leads to, empty if none. Whether that layer really has it is for the caller to check.
func (s *Store) idByName(d digest.Digest) string {
	if d.Validate() != nil {
		return ""
	}
	data, err := os.ReadFile(s.path("names", d.Encoded()))
	if err == nil && validID(string(data)) {
		return string(data)
	}
	if _, err := os.Stat(s.layerDir(d.Encoded())); err == nil && validID(d.Encoded()) {
		return d.Encoded()
	}
	return ""
}
