package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/oci"
)

// tags lists the store's images as "name name: text of the layer" lines.
func tags(t *testing.T, s *Store) []string {
	t.Helper()
	images, err := s.Images(t.Context())
	assert.NilError(t, err)
	var lines []string
	for _, img := range images {
		var names []string
		for _, r := range img.References {
			names = append(names, r.Familiar())
		}
		image, err := s.Image(t.Context(), img.Descriptor, oci.HostPlatform())
		assert.NilError(t, err)
		text, err := oci.ReadBlob(t.Context(), s, image.Layers[0].Descriptor)
		assert.NilError(t, err)
		lines = append(lines, strings.Join(names, " ")+": "+string(text))
	}
	sort.Strings(lines)
	return lines
}

func TestTagMovesAndLeavesTheImage(t *testing.T) {
	s := newStore(t)
	ctx := t.Context()
	a, b := testImage(t, s, "a"), testImage(t, s, "b")
	assert.NilError(t, s.Tag(ctx, ref(t, "me/x"), a.Manifest))
	assert.NilError(t, s.Tag(ctx, ref(t, "me/y:1"), a.Manifest))
	assert.DeepEqual(t, tags(t, s), []string{"me/x:latest me/y:1: a"})
	assert.NilError(t, s.Tag(ctx, ref(t, "me/x"), b.Manifest))
	assert.DeepEqual(t, tags(t, s), []string{"me/x:latest: b", "me/y:1: a"})
	assert.NilError(t, s.Tag(ctx, ref(t, "me/y:1"), b.Manifest))
	assert.DeepEqual(t, tags(t, s), []string{": a", "me/x:latest me/y:1: b"})

	assert.NilError(t, s.Untag(ctx, ref(t, "me/y:1")))
	assert.DeepEqual(t, tags(t, s), []string{": a", "me/x:latest: b"})
	assert.Assert(t, errors.Is(s.Untag(ctx, ref(t, "me/y:1")), fs.ErrNotExist))
	assert.NilError(t, s.Untag(ctx, ref(t, "me/x")))
	assert.DeepEqual(t, tags(t, s), []string{": a"})
	assert.NilError(t, s.RemoveImage(ctx, a.Manifest.Digest))
	assert.Equal(t, len(tags(t, s)), 0)

	assert.NilError(t, s.AddImage(ctx, a.Manifest))
	assert.NilError(t, s.AddImage(ctx, a.Manifest))
	assert.DeepEqual(t, tags(t, s), []string{": a"})
	assert.NilError(t, s.Tag(ctx, ref(t, "me/z"), a.Manifest))
	assert.DeepEqual(t, tags(t, s), []string{"me/z:latest: a"})
	assert.NilError(t, s.AddImage(ctx, a.Manifest))
	assert.DeepEqual(t, tags(t, s), []string{"me/z:latest: a"})
}

func TestTagWantsTheWholeImage(t *testing.T) {
	for _, piece := range []string{"manifest", "config", "layer"} {
		t.Run(piece, func(t *testing.T) {
			s := newStore(t)
			img := testImage(t, s, "a")
			d := map[string]digest.Digest{
				"manifest": img.Manifest.Digest, "config": img.ConfigDescriptor.Digest, "layer": img.Layers[0].Digest,
			}[piece]
			assert.NilError(t, os.Remove(s.blobPath(d)))
			err := s.Tag(t.Context(), ref(t, "me/x"), img.Manifest)
			assert.Assert(t, errors.Is(err, fs.ErrNotExist), "%v", err)
			assert.Equal(t, len(tags(t, s)), 0)
		})
	}
	s := newStore(t)
	img := testImage(t, s, "a")
	assert.NilError(t, os.Truncate(s.blobPath(img.Layers[0].Digest), 0))
	err := s.Tag(t.Context(), ref(t, "me/x"), img.Manifest)
	assert.Assert(t, errors.Is(err, fs.ErrNotExist), "%v", err)
}

func TestTagMakesBlobsDurable(t *testing.T) {
	s := newStore(t)
	img := testImage(t, s, "a")
	assert.NilError(t, s.Tag(t.Context(), ref(t, "me/x"), img.Manifest))
	for _, d := range []digest.Digest{img.Manifest.Digest, img.ConfigDescriptor.Digest, img.Layers[0].Digest} {
		info, err := os.Stat(s.blobPath(d))
		assert.NilError(t, err)
		assert.Equal(t, info.Mode().Perm(), fs.FileMode(durableMode))
	}
}

func TestIndexWithOneOfItsPlatforms(t *testing.T) {
	s := newStore(t)
	ctx := t.Context()
	img := testImage(t, s, "a")
	here, there := img.Manifest, img.Manifest
	host := oci.HostPlatform()
	here.Platform = &host
	there.Platform = &oci.Platform{OS: "plan9", Architecture: "mips"}
	there.Digest = digest.FromString("not pulled")
	ix, err := oci.WriteIndex(ctx, s, []ispec.Descriptor{there, here})
	assert.NilError(t, err)
	assert.NilError(t, s.Tag(ctx, ref(t, "me/x"), ix))
	assert.DeepEqual(t, tags(t, s), []string{"me/x:latest: a"})
	_, err = s.Collect(ctx, CollectOptions{})
	assert.NilError(t, err)
	assert.DeepEqual(t, tags(t, openStore(t, s.root)), []string{"me/x:latest: a"})

	none, err := oci.WriteIndex(ctx, s, []ispec.Descriptor{there})
	assert.NilError(t, err)
	assert.Assert(t, errors.Is(s.Tag(ctx, ref(t, "me/y"), none), fs.ErrNotExist))
}

func TestResolve(t *testing.T) {
	s := newStore(t)
	ctx := t.Context()
	a, b := testImage(t, s, "a"), testImage(t, s, "b")
	assert.NilError(t, s.Tag(ctx, ref(t, "me/x"), a.Manifest))
	assert.NilError(t, s.Tag(ctx, ref(t, "abc"), a.Manifest)) // a name that looks like the beginning of an ID
	assert.NilError(t, s.AddImage(ctx, b.Manifest))

	id := b.ConfigDescriptor.Digest
	for name, want := range map[string]digest.Digest{
		"me/x":                                  a.Manifest.Digest,
		"docker.io/me/x:latest":                 a.Manifest.Digest,
		"abc":                                   a.Manifest.Digest,
		id.String():                             b.Manifest.Digest,
		id.Encoded():                            b.Manifest.Digest,
		id.Encoded()[:12]:                       b.Manifest.Digest,
		"sha256:" + id.Encoded()[:12]:           b.Manifest.Digest,
		b.Manifest.Digest.Encoded()[:12]:        b.Manifest.Digest,
		"me/x@" + a.Manifest.Digest.String():    a.Manifest.Digest,
		"other/y@" + b.Manifest.Digest.String(): b.Manifest.Digest,
	} {
		m, err := s.Resolve(ctx, name)
		assert.Check(t, err, name)
		assert.Check(t, m.Image.Descriptor.Digest == want, name)
	}
	for _, name := range []string{"me/y", "me/x:1", strings.Repeat("0", 64), "", "UPPER", "me/x@sha256:" + strings.Repeat("0", 64)} {
		_, err := s.Resolve(ctx, name)
		assert.Check(t, errors.Is(err, fs.ErrNotExist), "%s: %v", name, err)
	}
	prefix := commonPrefix(t, s)
	var ambiguous *AmbiguousError
	_, err := s.Resolve(ctx, prefix)
	assert.Assert(t, errors.As(err, &ambiguous), "%v", err)
}

// An image ID is that of a config: an index of platforms, or a manifest with an annotation, can have the same as a manifest.
func TestResolveIDOfSeveralManifests(t *testing.T) {
	s := newStore(t)
	ctx := t.Context()
	img := testImage(t, s, "a")
	again := img
	again.Annotations = map[string]string{"org.example": "other"}
	again, err := oci.WriteImage(ctx, s, again)
	assert.NilError(t, err)
	assert.Equal(t, again.ConfigDescriptor.Digest, img.ConfigDescriptor.Digest)
	host, inIndex := oci.HostPlatform(), img.Manifest
	inIndex.Platform = &host
	ix, err := oci.WriteIndex(ctx, s, []ispec.Descriptor{inIndex})
	assert.NilError(t, err)
	assert.NilError(t, s.AddImage(ctx, img.Manifest))
	assert.NilError(t, s.Tag(ctx, ref(t, "me/index"), ix))
	assert.NilError(t, s.Tag(ctx, ref(t, "me/again"), again.Manifest))

	id := img.ConfigDescriptor.Digest
	for _, name := range []string{id.String(), id.Encoded(), id.Encoded()[:12]} {
		m, err := s.Resolve(ctx, name)
		assert.NilError(t, err)
		assert.Equal(t, m.Image.Descriptor.Digest, again.Manifest.Digest, "a manifest with a name is meant first")
		assert.Assert(t, m.Reference.IsZero())
		assert.Equal(t, len(m.Same), 2)
	}
	for _, d := range []digest.Digest{img.Manifest.Digest, ix.Digest, again.Manifest.Digest} {
		for _, name := range []string{d.String(), d.Encoded()[:12]} {
			m, err := s.Resolve(ctx, name)
			assert.NilError(t, err)
			assert.Equal(t, m.Image.Descriptor.Digest, d)
			assert.Equal(t, len(m.Same), 0)
		}
	}
}

// An index for other machines alone has an ID, too: the first image's that is here.
func TestResolveIDOfForeignIndex(t *testing.T) {
	s := newStore(t)
	ctx := t.Context()
	img := testImage(t, s, "a")
	gone, here := img.Manifest, img.Manifest
	gone.Platform, gone.Digest = &oci.Platform{OS: "plan9", Architecture: "mips"}, digest.FromString("not pulled")
	here.Platform = &oci.Platform{OS: "plan9", Architecture: "arm"}
	ix, err := oci.WriteIndex(ctx, s, []ispec.Descriptor{gone, here})
	assert.NilError(t, err)
	assert.NilError(t, s.AddImage(ctx, ix))
	m, err := s.Resolve(ctx, img.ConfigDescriptor.Digest.Encoded()[:12])
	assert.NilError(t, err)
	assert.Equal(t, m.Image.Descriptor.Digest, ix.Digest)
}

// commonPrefix adds images until two have IDs that begin with the same digit.
func commonPrefix(t *testing.T, s *Store) string {
	t.Helper()
	seen := map[string]bool{}
	for i := range 17 {
		img := testImage(t, s, fmt.Sprint("p", i))
		assert.NilError(t, s.AddImage(t.Context(), img.Manifest))
		first := img.ConfigDescriptor.Digest.Encoded()[:1]
		if seen[first] {
			return first
		}
		seen[first] = true
	}
	t.Fatal("17 hexadecimal digits are all different")
	return ""
}

func TestIndexJSONThatOthersBreakIsRestored(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"truncated": func(path string) error { return os.Truncate(path, 10) },
		"gone":      os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			img := testImage(t, s, "a")
			assert.NilError(t, s.Tag(t.Context(), ref(t, "me/x"), img.Manifest))
			assert.NilError(t, damage(filepath.Join(s.root, "oci", "index.json")))
			other := openStore(t, s.root)
			assert.DeepEqual(t, tags(t, other), []string{"me/x:latest: a"})
			assert.NilError(t, other.Tag(t.Context(), ref(t, "me/y"), img.Manifest))
			assert.DeepEqual(t, tags(t, other), []string{"me/x:latest me/y:latest: a"})
			_, err := other.layout.Index(t.Context())
			assert.NilError(t, err)
		})
	}
}

func TestTwentyProcessesTaggingLoseNone(t *testing.T) {
	s := newStore(t)
	img := testImage(t, s, "a")
	assert.NilError(t, s.AddImage(t.Context(), img.Manifest))
	want := []string{}
	var running []*exec.Cmd
	for i := range 20 {
		name := fmt.Sprintf("me/x:%d", i)
		want = append(want, name)
		cmd := worker(t, "tag", s.root, img.Manifest.Digest.String(), name)
		assert.NilError(t, cmd.Start())
		running = append(running, cmd)
	}
	for _, cmd := range running {
		assert.NilError(t, cmd.Wait())
	}
	images, err := s.Images(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(images), 1)
	got := []string{}
	for _, r := range images[0].References {
		got = append(got, r.Familiar())
	}
	sort.Strings(got)
	sort.Strings(want)
	assert.DeepEqual(t, got, want)
	assert.DeepEqual(t, umociTags(t, s.root), want)
}

// umociTags is what umoci lists, or what we list where umoci is not installed.
func umociTags(t *testing.T, root string) []string {
	t.Helper()
	umoci, err := exec.LookPath("umoci")
	if err != nil {
		t.Skip("umoci is not installed")
	}
	out, err := exec.CommandContext(t.Context(), umoci, "ls", "--layout", filepath.Join(root, "oci")).CombinedOutput()
	assert.NilError(t, err, string(out))
	lines := strings.Fields(string(out))
	sort.Strings(lines)
	return lines
}
