package build

import (
	"fmt"
	"sort"
	"strings"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/oci"
)

// globalArgs computes the global scope: the automatic platform arguments, then the ARGs before the first FROM.
func (pl *planner) globalArgs() error {
	target := pl.opts.Target
	if target == "" {
		target = pl.file.Stages[len(pl.file.Stages)-1].Name
	}
	automatic := dockerfile.PlatformArgs(oci.HostPlatform(), pl.platform, target, pl.given)
	for _, name := range automatic.Keys() {
		pl.usedArgs[name] = true
	}
	for _, arg := range pl.file.Args {
		for _, d := range arg.Defs {
			pl.usedArgs[d.Name] = true
		}
	}
	var err error
	pl.global, err = pl.file.Globals(automatic, pl.given)
	return err
}

// givenArgs are the --build-arg values in a fixed order.
func givenArgs(args map[string]string) dockerfile.Vars {
	var v dockerfile.Vars
	for _, k := range sortedKeys(args) {
		v = v.With(k, args[k])
	}
	return v
}

// proxyArgs are predefined: a RUN sees them without an ARG, and they are in no key and no history.
var proxyArgs = []string{"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"}

// proxyEnv returns the environment that the predefined proxy arguments make, in both spellings.
func proxyEnv(args map[string]string) []string {
	var env []string
	for _, name := range proxyArgs {
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
	for _, p := range proxyArgs {
		if strings.EqualFold(p, name) {
			return true
		}
	}
	return strings.HasPrefix(name, "BUILDKIT_") || name == "SOURCE_DATE_EPOCH"
}

// idleArgs are BuildKit's own arguments that mean nothing here.
var idleArgs = map[string]string{
	"BUILDKIT_SYNTAX":            "the Dockerfile language is built in",
	"BUILDKIT_INLINE_CACHE":      "the store is the cache",
	"BUILDKIT_SBOM_SCAN_CONTEXT": "no bill of materials is made",
	"BUILDKIT_SBOM_SCAN_STAGE":   "no bill of materials is made",
}

func (pl *planner) warnUnusedArgs() {
	var unused []string
	for _, name := range sortedKeys(pl.opts.Args) {
		if why, ok := idleArgs[name]; ok && !pl.usedArgs[name] {
			pl.warnings = append(pl.warnings, Warning{Text: fmt.Sprintf("build argument %s has no effect: %s", name, why)})
		}
		if !pl.usedArgs[name] && !knownArg(name) {
			unused = append(unused, name)
		}
	}
	if len(unused) == 0 {
		return
	}
	sort.Strings(unused)
	pl.warnings = append(pl.warnings, Warning{Text: fmt.Sprintf("one or more build arguments were not consumed: %s", strings.Join(unused, ", "))})
}

// errorAt makes an error of the Dockerfile that names the lines.
func (pl *planner) errorAt(r dockerfile.Range, hint string, err error) error {
	return dockerfileError(pl.file, r, hint, err)
}
