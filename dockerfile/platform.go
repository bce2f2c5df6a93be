package dockerfile

import (
	"errors"

	"github.com/containerd/platforms"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// platformArgs returns the predefined arguments of a build for target on a machine of platform build: BUILD* and TARGET*. stage
// is the name of the target stage; one without a name is "default". Values in given replace them.
func platformArgs(build, target ispec.Platform, stage string, given Environment) Vars {
	if stage == "" {
		stage = "default"
	}
	var vars Vars
	for _, kv := range []KeyValue{
		{"BUILDPLATFORM", platforms.Format(build)},
		{"BUILDOS", build.OS},
		{"BUILDOSVERSION", build.OSVersion},
		{"BUILDARCH", build.Architecture},
		{"BUILDVARIANT", build.Variant},
		{"TARGETPLATFORM", platforms.FormatAll(target)},
		{"TARGETOS", target.OS},
		{"TARGETOSVERSION", target.OSVersion},
		{"TARGETARCH", target.Architecture},
		{"TARGETVARIANT", target.Variant},
		{"TARGETSTAGE", stage},
	} {
		if value, ok := given.Get(kv.Key); ok {
			kv.Value = value
		}
		vars = vars.With(kv.Key, kv.Value)
	}
	return vars
}

// parsePlatform reads "os/arch[/variant]" or one part of it.
func parsePlatform(s string) (ispec.Platform, error) {
	if s == "" {
		return ispec.Platform{}, errors.New("the platform is empty")
	}
	return platforms.Parse(s)
}
