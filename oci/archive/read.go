package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
)

// Limits of what is kept in memory while reading.
const (
	maxMetadata = 4 * oci.MaxMetadata // manifests, indexes and configs together, in bytes
	maxLinks    = 100_000             // links between layers of old docker-archives, and files of one
)

// Read reads an archive from a stream to its end and stores its blobs in sink as they come. It returns the images in the
// archive's order, each once with all its names; every blob that they refer to is in sink then, with the size and digest that
// its descriptor says. For a docker-archive without index.json an OCI manifest is made, over the config's own bytes so that
// the image ID stays. An index of which only some images are in the archive is narrowed to those. Other files are passed over
// as the specification says; what looked like a layer and is none may be left in sink. Diff ids are compared for uncompressed
// layers only, since nothing is unpacked here. What is no image archive gives ErrNotArchive.
func Read(ctx context.Context, r io.Reader, sink oci.BlobSink) ([]oci.Named, error) {
	named, err := read(ctx, r, sink)
	if err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	return named, nil
}

func read(ctx context.Context, r io.Reader, sink oci.BlobSink) (_ []oci.Named, err error) {
	rc, _, err := compress.NewReader(files.Reader(ctx, r))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	a := newContents(sink)
	tr := tar.NewReader(rc)
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := a.entry(ctx, hdr, tr); err != nil {
			return nil, fmt.Errorf("%s: %w", hdr.Name, err)
		}
	}
	// To the end, for the checksum of a compressed stream, and so that the writer of a pipe gets rid of its padding.
	if _, err := io.Copy(io.Discard, rc); err != nil {
		return nil, err
	}
	return a.images(ctx)
}

// file is a file of the archive that is in the sink or in memory.
type file struct {
	digest digest.Digest
	size   int64
	alg    compress.Algorithm
}

// contents is what was found in an archive.
type contents struct {
	sink     oci.BlobSink
	files    map[string]file          // by path
	links    map[string]string        // path to path
	have     map[digest.Digest]int64  // sizes of blobs in the sink
	metadata map[digest.Digest][]byte // what may be a manifest, an index or a config
	kept     int                      // bytes in metadata
	index    []byte                   // index.json
	items    []byte                   // manifest.json
}

func newContents(sink oci.BlobSink) *contents {
	return &contents{
		sink: sink, files: map[string]file{}, links: map[string]string{},
		have: map[digest.Digest]int64{}, metadata: map[digest.Digest][]byte{},
	}
}

func (a *contents) entry(ctx context.Context, hdr *tar.Header, r io.Reader) error {
	name := path.Clean("/" + hdr.Name)[1:]
	if len(a.files)+len(a.links) > maxLinks {
		return fmt.Errorf("more than %d files", maxLinks)
	}
	switch hdr.Typeflag {
	case tar.TypeSymlink:
		a.links[name] = path.Clean("/" + path.Join(path.Dir(name), hdr.Linkname))[1:]
		return nil
	case tar.TypeLink:
		a.links[name] = path.Clean("/" + hdr.Linkname)[1:]
		return nil
	case tar.TypeReg:
	default:
		return nil
	}
	delete(a.links, name)
	var err error
	switch d := blobDigest(name); {
	case name == ispec.ImageIndexFile:
		a.index, err = readLimited(r)
	case name == manifestFile:
		a.items, err = readLimited(r)
	case d != "":
		err = a.store(ctx, name, d, r)
	case strings.Count(name, "/") <= 1:
		err = a.candidate(ctx, name, r)
	}
	return err
}

func readLimited(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, oci.MaxMetadata+1))
	if err == nil && len(data) > oci.MaxMetadata {
		err = fmt.Errorf("more than %d bytes", oci.MaxMetadata)
	}
	return data, err
}

// store puts a file into the sink, and keeps it when it may be JSON that is needed again.
func (a *contents) store(ctx context.Context, name string, want digest.Digest, r io.Reader) error {
	b := bufio.NewReaderSize(r, 64<<10)
	prefix, err := b.Peek(compress.DetectLen)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	f := file{alg: compress.Detect(prefix)}
	var data []byte
	if looksLikeJSON(prefix) {
		// Larger ones are reports and other artifacts, which are stored without being looked at.
		if data, err = io.ReadAll(io.LimitReader(b, oci.MaxMetadata+1)); err != nil {
			return err
		}
	}
	desc, err := a.sink.PutBlob(ctx, want, io.MultiReader(bytes.NewReader(data), b))
	if err != nil {
		return err
	}
	if len(data) > 0 && len(data) <= oci.MaxMetadata && a.kept+len(data) <= maxMetadata {
		a.kept += len(data)
		a.metadata[desc.Digest] = data
	}
	f.digest, f.size = desc.Digest, desc.Size
	a.have[f.digest] = f.size
	a.files[name] = f
	return nil
}

func looksLikeJSON(prefix []byte) bool {
	trimmed := bytes.TrimLeft(prefix, " \t\r\n")
	return len(trimmed) > 0 && trimmed[0] == '{'
}

// candidate stores a file that an old docker-archive's manifest.json may name, whose place in the stream is after it: a layer
// by its suffix, a config by its first byte.
func (a *contents) candidate(ctx context.Context, name string, r io.Reader) error {
	for _, suffix := range []string{".tar", ".tar.gz", ".tgz", ".tar.zst"} {
		if strings.HasSuffix(name, suffix) {
			return a.store(ctx, name, "", r)
		}
	}
	b := bufio.NewReaderSize(r, 4<<10)
	prefix, err := b.Peek(compress.DetectLen)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !looksLikeJSON(prefix) {
		return nil
	}
	return a.store(ctx, name, "", b)
}

// lookup finds a file by a path of manifest.json, through links.
func (a *contents) lookup(name string) (file, error) {
	at := path.Clean("/" + name)[1:]
	for range 20 {
		if f, ok := a.files[at]; ok {
			return f, nil
		}
		next, ok := a.links[at]
		if !ok {
			break
		}
		at = next
	}
	return file{}, fmt.Errorf("%s names %q, which is not there", manifestFile, name)
}

// images says what the archive holds once all of it was read.
func (a *contents) images(ctx context.Context) ([]oci.Named, error) {
	var items []item
	if a.items != nil {
		if err := json.Unmarshal(a.items, &items); err != nil {
			return nil, fmt.Errorf("%s: %w", manifestFile, err)
		}
	}
	switch {
	case a.index != nil:
		named, err := fromIndex(ctx, a, a.index)
		if err != nil {
			return nil, err
		}
		return a.nameByItems(ctx, named, items), nil
	case a.items != nil:
		return a.fromItems(ctx, items)
	}
	return nil, ErrNotArchive
}
