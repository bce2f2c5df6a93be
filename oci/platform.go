package oci

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Platform is an operating system and processor architecture, as in an image's config and in an index.
type Platform = ispec.Platform

// ParsePlatform reads "os/arch[/variant]" or one part of it, filling in the rest from the host, and normalises it: "arm64"
// is linux/arm64 on Linux, "linux/x86_64" is linux/amd64.
func ParsePlatform(s string) (Platform, error) {
	p, err := platforms.Parse(s)
	if err != nil {
		return Platform{}, fmt.Errorf("parse platform %q: %w", s, err)
	}
	return p, nil
}

// HostPlatform is what this machine runs.
func HostPlatform() Platform { return platforms.Normalize(platforms.DefaultSpec()) }

// FormatPlatform gives the form that ParsePlatform reads, normalised: "linux/arm64", "linux/arm/v7"; "unknown" when p says no
// operating system.
func FormatPlatform(p Platform) string {
	if p.OS == "" {
		return "unknown"
	}
	return platforms.Format(platforms.Normalize(p))
}

// MatchPlatform says whether an image for have runs on want: the same operating system, and the same architecture or an
// older one that it includes (linux/arm/v6 on v7, linux/386 on amd64).
func MatchPlatform(want, have Platform) bool { return platforms.Only(want).Match(have) }

// PlatformError says that an index has no image for a platform.
type PlatformError struct {
	Want Platform
	// Have are the platforms that there are, in the order of the index.
	Have []Platform
}

func (e *PlatformError) Error() string {
	if len(e.Have) == 0 {
		return "no image for " + FormatPlatform(e.Want) + ": the index is empty"
	}
	var have []string
	for _, p := range e.Have {
		if s := FormatPlatform(p); !slices.Contains(have, s) {
			have = append(have, s)
		}
	}
	return "no image for " + FormatPlatform(e.Want) + ", only for " + strings.Join(have, ", ")
}

// bestPlatform returns the position of the best of have for want, the first of equals, or -1.
func bestPlatform(want Platform, have []Platform) int {
	cmp := platforms.Only(want)
	best := -1
	for i, p := range have {
		if cmp.Match(p) && (best < 0 || cmp.Less(p, have[best])) {
			best = i
		}
	}
	return best
}
