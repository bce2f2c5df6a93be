package planner

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/oci"
)

// evaluateArgs evaluates what stands before the first FROM.
func (pl *planner) evaluateArgs() error {
	var err error
	pl.args, err = pl.file.Arguments(oci.HostPlatform(), pl.opts.Platform, pl.opts.Target, GivenArgs(pl.opts.Args))
	if err != nil {
		return err
	}
	for _, name := range pl.args.Global.Keys() {
		pl.declared[name] = true
	}
	for _, arg := range pl.file.Args {
		for _, d := range arg.Defs {
			pl.declared[d.Name] = true
		}
	}
	return nil
}

// GivenArgs are the --build-arg values in a fixed order.
func GivenArgs(args map[string]string) dockerfile.Vars {
	var v dockerfile.Vars
	for _, k := range slices.Sorted(maps.Keys(args)) {
		v = v.With(k, args[k])
	}
	return v
}

// proxyArgs lists the arguments that are predefined: a RUN sees them without an ARG, and they are in no key and no
// history.
func proxyArgs() []string {
	return []string{"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"}
}

// proxyEnv returns the environment that the predefined proxy arguments make, in both spellings.
func proxyEnv(args map[string]string) []string {
	var env []string
	for _, name := range proxyArgs() {
		for _, spelling := range []string{name, strings.ToLower(name)} {
			if v, ok := args[spelling]; ok {
				env = append(env, name+"="+v, strings.ToLower(name)+"="+v)
				break
			}
		}
	}
	return env
}

// knownArg reports whether a build argument is meant without an ARG that declares it.
func knownArg(name string) bool {
	for _, p := range proxyArgs() {
		if strings.EqualFold(p, name) {
			return true
		}
	}
	return strings.HasPrefix(name, "BUILDKIT_") || name == "SOURCE_DATE_EPOCH"
}

// idleArg says why an argument of BuildKit's own means nothing here; empty for all others.
func idleArg(name string) string {
	switch name {
	case "BUILDKIT_SYNTAX":
		return "the Dockerfile language is built in"
	case "BUILDKIT_INLINE_CACHE":
		return "the store is the cache"
	case "BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE":
		return "no bill of materials is made"
	}
	return ""
}

func (pl *planner) warnUnusedArgs() {
	var unused []string
	for _, name := range slices.Sorted(maps.Keys(pl.opts.Args)) {
		if pl.declared[name] {
			continue
		}
		if why := idleArg(name); why != "" {
			pl.warnings = append(pl.warnings, fmt.Sprintf("build argument %s has no effect: %s", name, why))
		}
		if !knownArg(name) {
			unused = append(unused, name)
		}
	}
	if len(unused) > 0 {
		pl.warnings = append(pl.warnings, "one or more build arguments were not consumed: "+strings.Join(unused, ", "))
	}
}
