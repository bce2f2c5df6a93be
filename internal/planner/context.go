package planner

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/oci"
)

// ContextKind says what a named context is.
type ContextKind int

// The kinds of named contexts.
const (
	// DirectoryContext is a directory of this machine.
	DirectoryContext ContextKind = iota
	// RemoteContext is a URL or a git repository.
	RemoteContext
	// ImageContext is an image: docker-image://REF.
	ImageContext
	// LayoutContext is an image in an OCI layout directory: oci-layout://DIR[:TAG|@DIGEST].
	LayoutContext
)

// NamedContext is the value of a --build-context, taken apart.
type NamedContext struct {
	Name string
	Kind ContextKind
	// Value is as it was given; Location is the directory, the image's reference, or the layout with its tag or digest.
	Value    string
	Location string
	// Remote is what a RemoteContext is.
	Remote dockerfile.Source
}

// ParseContext takes the value of a --build-context apart. exists tells whether there is a file with a name, which then
// is no URL.
func ParseContext(name, value string, exists func(path string) bool) (NamedContext, error) {
	c := NamedContext{Name: name, Value: value, Location: value}
	if ref, ok := strings.CutPrefix(value, "docker-image://"); ok {
		c.Kind, c.Location = ImageContext, ref
		return c, nil
	}
	if dir, ok := strings.CutPrefix(value, "oci-layout://"); ok {
		c.Kind, c.Location = LayoutContext, dir
		return c, nil
	}
	if exists(value) {
		return c, nil
	}
	if strings.HasPrefix(value, "target:") {
		return c, errors.New("target: is for bake files: COPY --from finds the stages of the Dockerfile by name")
	}
	src, err := dockerfile.ParseContext(value)
	if err != nil {
		return c, err
	}
	if src.Kind != dockerfile.LocalSource {
		c.Kind, c.Remote = RemoteContext, src
	}
	return c, nil
}

// isImage says whether the context is one that a stage can have as its base image.
func (c *NamedContext) isImage() bool { return c.Kind == ImageContext || c.Kind == LayoutContext }

// Contexts are named contexts by name.
type Contexts map[string]NamedContext

// Find returns the context with a name. Names of images are the same in their short and long forms, with and without
// ":latest".
func (all Contexts) Find(name string) (NamedContext, bool) {
	if c, ok := all[name]; ok || name == "" {
		return c, ok
	}
	ref, err := oci.ParseReference(name)
	if err != nil {
		return NamedContext{}, false
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if strings.EqualFold(key, name) {
			return all[key], true
		}
		if other, err := oci.ParseReference(key); err == nil && other.String() == ref.String() {
			return all[key], true
		}
	}
	return NamedContext{}, false
}

// String is how messages call the context.
func (c NamedContext) String() string { return fmt.Sprintf("%s=%s", c.Name, c.Value) }
