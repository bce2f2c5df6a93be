package cli

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cairnbuild/cairn/internal/engine"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/compress"
)

func buildFlags() []cli.Flag {
	flags := []cli.Flag{
		manyFlag("tag", "NAME[:TAG]", "Name the image", "t"),
		oneFlag("file", "FILE", "Read the Dockerfile from FILE; - is standard input (default PATH/Dockerfile)", "f"),
		oneFlag("target", "STAGE", "Build this stage (default the last one)"),
		manyFlag("build-arg", "NAME[=VALUE]", "Set an ARG; without a value take it from the environment"),
		manyFlag("label", "KEY=VALUE", "Add a label"),
		manyFlag("annotation", "KEY=VALUE", "Add an annotation to the manifest"),
		manyFlag("build-context", "NAME=SOURCE", "Add a context: DIR, URL, docker-image://REF or oci-layout://DIR"),
		manyFlag("platform", "OS/ARCH", "Build for this platform; several with commas"),
		boolFlag("no-cache", "Run every step anew"),
		manyFlag("no-cache-filter", "STAGES", "Run the steps of these stages anew"),
		&optionalFlag{oneFlag("pull", "WHEN", "Ask the registry for newer base images: always, or missing (default)"), "always"},
		progressFlag(),
		boolFlag("quiet", "Print nothing but the image id", "q"),
		oneFlag("iidfile", "FILE", "Write the image id to FILE"),
		oneFlag("metadata-file", "FILE", "Write a JSON object about the result to FILE"),
		manyFlag("output", "DEST", "Write the result elsewhere too: type=oci|docker|local|tar,dest=PATH; a directory; - for a tar", "o"),
		oneFlag("compression", "ALGORITHM", "Compress layers with gzip or zstd, with a level as in zstd:9"),
		oneFlag("compression-level", "LEVEL", "The level of --compression"),
		manyFlag("secret", "SECRET", "Let RUN --mount=type=secret see id=ID[,src=FILE|,env=NAME]"),
		manyFlag("ssh", "ID[=PATH]", "Let RUN --mount=type=ssh use an agent or keys; default is the agent of SSH_AUTH_SOCK"),
		manyFlag("add-host", "NAME:IP", "Add a line to /etc/hosts of RUN"),
		oneFlag("network", "MODE", "Network of RUN: default, host, private or none"),
		manyFlag("allow", "ENTITLEMENT", "Allow what is dangerous: network.host or security.insecure"),
		boolFlag("check", "Check the Dockerfile and build nothing; short for --call=check"),
		oneFlag("call", "METHOD", "Do something else than build: check, outline or targets, with ,format=json"),
		&cli.BoolFlag{Name: "load", Hidden: true, Usage: "Put the image into the store (it always is)"},
		&cli.BoolFlag{Name: "rm", Hidden: true, Usage: "Remove intermediate containers (there are none)"},
		&cli.BoolFlag{Name: "force-rm", Hidden: true, Usage: "Remove intermediate containers (there are none)"},
		&cli.BoolFlag{Name: "compress", Hidden: true, Usage: "Compress the context on its way (it goes nowhere)"},
	}
	for _, u := range unsupportedBuildFlags() {
		if u.takesValue {
			flags = append(flags, &cli.StringSliceFlag{Name: u.name, Hidden: true})
		} else {
			flags = append(flags, &cli.BoolFlag{Name: u.name, Hidden: true})
		}
	}
	return flags
}

// unsupportedFlag is one that docker has and cairn refuses: an error is better than a build that quietly differs.
type unsupportedFlag struct {
	name       string
	takesValue bool
	// harmless is the value that asks for nothing.
	harmless string
	hint     string
}

func unsupportedBuildFlags() []unsupportedFlag {
	scope := func(property string) string {
		return "start cairn itself with the limit: systemd-run --user --scope -p " + property + " cairn build ..."
	}
	return []unsupportedFlag{
		{name: "resource", takesValue: true, hint: "use --memory and --cpus"},
		{name: "cpu-quota", takesValue: true, hint: "use --cpus"},
		{name: "cpu-period", takesValue: true, hint: "use --cpus"},
		{name: "cpu-shares", takesValue: true, hint: scope("CPUWeight=WEIGHT")},
		{name: "cpuset-cpus", takesValue: true, hint: scope("AllowedCPUs=CPUS")},
		{name: "cpuset-mems", takesValue: true, hint: scope("AllowedMemoryNodes=NODES")},
		{name: "memory-swap", takesValue: true, hint: scope("MemorySwapMax=SIZE")},
		{name: "policy", takesValue: true, hint: "pin base images by digest: FROM image@sha256:..."},
		{name: "builder", takesValue: true, hint: "there are no builders: cairn builds by itself"},
		{name: "security-opt", takesValue: true, hint: "RUN --security=insecure with --allow security.insecure takes the walls down for one step"},
		{name: "squash", hint: "collect what belongs together in one RUN, or copy the result into a stage FROM scratch"},
		{name: "cgroup-parent", takesValue: true, hint: "start cairn itself in the control group: systemd-run --user --scope --slice=NAME cairn build ..."},
		{name: "push", hint: "build, then: skopeo copy oci:ROOT/oci:NAME docker://NAME"},
		{name: "cache-from", takesValue: true, hint: "the store is the cache"},
		{name: "cache-to", takesValue: true, hint: "the store is the cache"},
		{name: "provenance", takesValue: true, harmless: "false"},
		{name: "sbom", takesValue: true, harmless: "false"},
		{name: "attest", takesValue: true},
	}
}

// buildFlagReader collects the first error, so that reading thirty flags reads like a list.
type buildFlagReader struct {
	*cli.Context
	err error
}

func (r *buildFlagReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = &usageError{Command: "build", Msg: fmt.Sprintf(format, args...)}
	}
}

// parseBuild reads all flags and the context argument.
func parseBuild(cc *cli.Context) (BuildOptions, error) {
	r := &buildFlagReader{Context: cc}
	r.refuseUnsupported()
	o := BuildOptions{
		Progress: r.String("progress"), Quiet: r.Bool("quiet"),
		IIDFile: r.String("iidfile"), MetadataFile: r.String("metadata-file"),
	}
	if o.Quiet && r.String("progress") == "auto" {
		o.Progress = "quiet"
	}
	args := r.buildArgs()
	o.Build = engine.Options{
		Input:     engine.Input{Context: r.Args().First(), Dockerfile: r.String("file"), NamedContexts: r.pairs("build-context")},
		Labels:    r.labels(),
		Args:      args,
		Target:    r.String("target"),
		Platforms: r.platforms(),
		Epoch:     r.epoch(args),
		Cache:     engine.CacheOptions{NoCache: r.Bool("no-cache"), NoCacheFilter: r.commaList("no-cache-filter"), Pull: r.pull()},
		Run:       r.runOptions(),
	}
	o.Build.Output = r.output()
	o.Call, o.CallJSON = r.call()
	return o, r.err
}

func (r *buildFlagReader) refuseUnsupported() {
	for _, u := range unsupportedBuildFlags() {
		if !r.IsSet(u.name) || u.harmless != "" && slices.Equal(r.StringSlice(u.name), []string{u.harmless}) {
			continue
		}
		if !u.takesValue && !r.Bool(u.name) {
			continue
		}
		if r.err == nil {
			r.err = &usageError{Command: "build", Msg: fmt.Sprintf("cairn build has no --%s yet", u.name), Hint: u.hint}
		}
	}
}

// buildArgs resolves --build-arg NAME from the environment; a name that is not there is left out, as docker does.
func (r *buildFlagReader) buildArgs() map[string]string {
	args := map[string]string{}
	for _, s := range r.StringSlice("build-arg") {
		name, value, ok := strings.Cut(s, "=")
		if name == "" {
			r.fail("--build-arg %q has no name", s)
		}
		if !ok {
			if value, ok = os.LookupEnv(name); !ok {
				continue
			}
		}
		args[name] = value
	}
	return args
}

// epoch is SOURCE_DATE_EPOCH, as build argument or from the environment, which makes it a build argument, as with buildx. A name instead
// of a number is left to the build: it is the one of a context or a stage.
func (r *buildFlagReader) epoch(args map[string]string) *time.Time {
	value, ok := args["SOURCE_DATE_EPOCH"]
	if !ok {
		if value = os.Getenv("SOURCE_DATE_EPOCH"); value != "" {
			args["SOURCE_DATE_EPOCH"] = value
		}
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return nil
	}
	t := time.Unix(seconds, 0).UTC()
	return &t
}

// labels are KEY=VALUE; a KEY alone has an empty value.
func (r *buildFlagReader) labels() map[string]string {
	labels := map[string]string{}
	for _, s := range r.StringSlice("label") {
		key, value, _ := strings.Cut(s, "=")
		if key == "" {
			r.fail("--label %q has no key", s)
		}
		labels[key] = value
	}
	return labels
}

func (r *buildFlagReader) pairs(flag string) map[string]string {
	pairs := map[string]string{}
	for _, s := range r.StringSlice(flag) {
		key, value, ok := strings.Cut(s, "=")
		if key == "" || !ok || value == "" {
			r.fail("--%s %q is not NAME=VALUE", flag, s)
		}
		pairs[key] = value
	}
	return pairs
}

func (r *buildFlagReader) commaList(flag string) []string {
	var list []string
	for _, s := range r.StringSlice(flag) {
		for _, item := range strings.Split(s, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
	}
	return list
}

func (r *buildFlagReader) platforms() []oci.Platform {
	var list []oci.Platform
	for _, s := range r.commaList("platform") {
		p, err := oci.ParsePlatform(s)
		if err != nil {
			r.fail("read --platform: %v", err)
		}
		list = append(list, p)
	}
	return list
}

func (r *buildFlagReader) pull() bool {
	switch v := r.String("pull"); v {
	case "always", "true", "1":
		return true
	case "", "missing", "false", "0":
		return false
	default:
		r.fail("--pull is always or missing, not %q", v)
		return false
	}
}

func (r *buildFlagReader) compression(algorithm, level string) compress.Options {
	if a, l, ok := strings.Cut(algorithm, ":"); ok {
		if level != "" && level != l {
			r.fail("--compression and --compression-level give two levels: %s and %s", l, level)
		}
		algorithm, level = a, l
	}
	o, err := compress.ParseOptions(algorithm, level)
	if err != nil {
		r.fail("read --compression: %v", err)
	}
	return o
}

// call is --call METHOD[,format=json], or --check.
func (r *buildFlagReader) call() (method string, asJSON bool) {
	method, rest, _ := strings.Cut(r.String("call"), ",")
	switch rest {
	case "", "format=text":
	case "format=json":
		asJSON = true
	default:
		r.fail("--call takes ,format=text or ,format=json, not %q", rest)
	}
	if r.Bool("check") {
		if method != "" && method != "check" && method != "lint" {
			r.fail("--check and --call=%s exclude each other", method)
		}
		method = "check"
	}
	switch method {
	case "", "build":
		return "", asJSON
	case "lint":
		return "check", asJSON
	case "check", "targets", "outline":
		return method, asJSON
	}
	r.fail("--call is build, check, outline or targets, not %q", method)
	return "", false
}

// runOptions are the flags that change how RUN executes.
func (r *buildFlagReader) runOptions() engine.RunOptions {
	o := engine.RunOptions{Limits: limits(r.Context, r.fail), Secrets: r.secrets(), SSH: r.ssh()}
	var err error
	if o.Network, err = planner.ParseNetwork(r.String("network")); err != nil {
		r.fail("--network is %v", err)
	}
	for _, s := range r.StringSlice("add-host") {
		host, err := parseHost(s)
		if err != nil {
			r.fail("read --add-host: %v", err)
		}
		o.Hosts = append(o.Hosts, host)
	}
	for _, s := range r.commaList("allow") {
		e, err := planner.ParseEntitlement(s)
		if err != nil {
			r.fail("--allow knows %v", err)
		}
		o.Allow = append(o.Allow, e)
	}
	return o
}
