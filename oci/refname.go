package oci

import (
	"regexp"
	"strconv"
	"strings"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// AnnotationImageName is the annotation of an index entry that has the image's full reference; containerd, docker and BuildKit
// write and read it.
const AnnotationImageName = "io.containerd.image.name"

// refNameGrammar is the OCI specification's for org.opencontainers.image.ref.name (annotations.md, "Back-compatibility...",
// `ref ::= component ("/" component)*`), to which umoci and skopeo hold their users.
var refNameGrammar = regexp.MustCompile(`^[A-Za-z0-9]+((?:--|[-._:@+])[A-Za-z0-9]+)*(/[A-Za-z0-9]+((?:--|[-._:@+])[A-Za-z0-9]+)*)*$`)

var (
	separators    = regexp.MustCompile(`[^A-Za-z0-9/]+`)
	escapedRefRun = regexp.MustCompile(`0\+([0-9a-f]{2})`)
)

// RefName is the form of r that stands in the annotation org.opencontainers.image.ref.name: the familiar form, so that it is
// what people would type. Where that is outside the annotation's grammar ("a__b", a tag that ends in "_", an IPv6 address),
// every offending separator is written "0+" and two hexadecimal digits; "+" occurs in no reference.
func (r Reference) RefName() string {
	name := r.Familiar()
	if r.IsZero() || refNameGrammar.MatchString(name) {
		return name
	}
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = separators.ReplaceAllStringFunc(part, escapeRun)
		if !refNameGrammar.MatchString(parts[i]) { // a lone separator at either end
			parts[i] = separators.ReplaceAllStringFunc(part, escape)
		}
	}
	return strings.Join(parts, "/")
}

func escapeRun(run string) string {
	if len(run) == 1 || run == "--" {
		return run
	}
	return escape(run)
}

func escape(run string) string {
	var b strings.Builder
	for i := range len(run) {
		b.WriteString("0+" + strconv.FormatInt(int64(run[i])+0x100, 16)[1:])
	}
	return b.String()
}

// ParseRefName reads an annotation org.opencontainers.image.ref.name as RefName writes it, or as other programs do: a
// reference of any length, where a single word is a repository and not a tag.
func ParseRefName(name string) (Reference, error) {
	return ParseReference(escapedRefRun.ReplaceAllStringFunc(name, func(s string) string {
		c, err := strconv.ParseUint(s[2:], 16, 8)
		if err != nil {
			return s
		}
		return string([]byte{byte(c)})
	}))
}

// WithName returns desc with the two annotations that give an index entry its name, RefName and the full form.
func WithName(desc ispec.Descriptor, r Reference) ispec.Descriptor {
	annotations := map[string]string{ispec.AnnotationRefName: r.RefName(), AnnotationImageName: r.String()}
	for k, v := range desc.Annotations {
		if _, ours := annotations[k]; !ours {
			annotations[k] = v
		}
	}
	desc.Annotations = annotations
	return desc
}

// WithoutName returns desc without the two annotations.
func WithoutName(desc ispec.Descriptor) ispec.Descriptor {
	var annotations map[string]string
	for k, v := range desc.Annotations {
		if k == ispec.AnnotationRefName || k == AnnotationImageName {
			continue
		}
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[k] = v
	}
	desc.Annotations = annotations
	return desc
}

// NameOf returns the reference in an index entry's annotations: the full form when it is there, else RefName's; false when
// there is none, or none that is a reference.
func NameOf(desc ispec.Descriptor) (Reference, bool) {
	if full := desc.Annotations[AnnotationImageName]; full != "" {
		if r, err := ParseReference(full); err == nil {
			return r, true
		}
	}
	if name := desc.Annotations[ispec.AnnotationRefName]; name != "" {
		if r, err := ParseRefName(name); err == nil {
			return r, true
		}
	}
	return Reference{}, false
}

// GroupByImage turns the entries of a layout's index into one Named for each descriptor, in order of first appearance, with the
// names taken out of the annotations.
func GroupByImage(entries []ispec.Descriptor) []Named {
	var named []Named
	at := map[string]int{}
	for _, e := range entries {
		i, ok := at[e.Digest.String()]
		if !ok {
			i = len(named)
			at[e.Digest.String()] = i
			named = append(named, Named{Descriptor: WithoutName(e)})
		}
		if r, ok := NameOf(e); ok {
			named[i].References = appendNew(named[i].References, r)
		}
	}
	return named
}

func appendNew(refs []Reference, r Reference) []Reference {
	for _, have := range refs {
		if have == r {
			return refs
		}
	}
	return append(refs, r)
}
