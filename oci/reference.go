package oci

import (
	"fmt"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Reference names an image in a registry or in the store: a repository with a tag, a digest or both. It is a comparable
// value; the zero value names nothing. Names are normalised as Docker does it, so "me/app", "docker.io/me/app" and
// "docker.io/me/app:latest" are one Reference.
type Reference struct {
	domain, path, tag string
	digest            digest.Digest
}

// ParseReference reads a reference as a user writes it: "[domain/]path[:tag][@digest]". The domain defaults to docker.io,
// there with "library/" before a path of one component, and the tag to latest unless there is a digest. The grammar is that
// of github.com/distribution/reference; 64 hexadecimal digits alone are refused, since they look like an image ID.
func ParseReference(s string) (Reference, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Reference{}, fmt.Errorf("parse reference %q: %w", s, err)
	}
	named = reference.TagNameOnly(named)
	r := Reference{domain: reference.Domain(named), path: reference.Path(named)}
	if t, ok := named.(reference.Tagged); ok {
		r.tag = t.Tag()
	}
	if d, ok := named.(reference.Digested); ok {
		r.digest = d.Digest()
	}
	return r, nil
}

// IsZero says whether r names nothing.
func (r Reference) IsZero() bool { return r == Reference{} }

// Domain is the registry's name with its port, if any: "docker.io", "localhost:5000".
func (r Reference) Domain() string { return r.domain }

// Path is the repository's path in its registry: "library/debian".
func (r Reference) Path() string { return r.path }

// Repository is the name in full without tag and digest: "docker.io/me/app".
func (r Reference) Repository() string {
	if r.IsZero() {
		return ""
	}
	return r.domain + "/" + r.path
}

// FamiliarRepository is the repository's name as Docker shows it: "me/app", "debian".
func (r Reference) FamiliarRepository() string {
	named, err := reference.WithName(r.Repository())
	if err != nil { // only the zero Reference
		return ""
	}
	return reference.FamiliarName(named)
}

// Tag is the tag, or empty when the reference has a digest alone.
func (r Reference) Tag() string { return r.tag }

// Digest is the digest, or empty.
func (r Reference) Digest() digest.Digest { return r.digest }

// WithDigest returns r with d as its digest; an empty d takes the digest away.
func (r Reference) WithDigest(d digest.Digest) Reference {
	r.digest = d
	return r
}

// WithTag returns r with the given tag, which an empty string takes away. The tag is not checked.
func (r Reference) WithTag(tag string) Reference {
	r.tag = tag
	return r
}

// String is the full form: "docker.io/me/app:latest". ParseReference gives r back from it.
func (r Reference) String() string { return r.Repository() + r.suffix() }

// Familiar is the short form, as Docker shows it: "me/app:latest". ParseReference gives r back from it.
func (r Reference) Familiar() string { return r.FamiliarRepository() + r.suffix() }

func (r Reference) suffix() string {
	s := ""
	if r.tag != "" {
		s += ":" + r.tag
	}
	if r.digest != "" {
		s += "@" + r.digest.String()
	}
	return s
}
