package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/urfave/cli/v2"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/engine"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/oci/compress"
	"github.com/cairnbuild/cairn/sandbox"
)

// parsedBuild reads a command line as far as the options.
func parsedBuild(t *testing.T, argv ...string) (BuildOptions, error) {
	t.Helper()
	var got BuildOptions
	app := newApp(&shell{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr})
	for _, c := range app.Commands {
		if c.Name == "build" {
			c.Action = func(cc *cli.Context) (err error) {
				got, err = parseBuild(cc)
				return err
			}
		}
	}
	p := argvParser{app: app}
	line, err := p.normalise(append([]string{"cairn", "build"}, argv...))
	assert.NilError(t, err)
	err = app.RunContext(context.Background(), line)
	return got, err
}

func TestBuildOptions(t *testing.T) {
	t.Setenv("FROM_ENV", "e")
	t.Setenv("SOURCE_DATE_EPOCH", "")
	o, err := parsedBuild(t, "-t", "me/app", "-t", "x:1", ".", "--build-arg", "A=1,2", "--build-arg", "FROM_ENV", "--build-arg", "NOT_SET",
		"--label", "k=v=w", "--label", "bare", "-f", "D", "--target", "t", "--no-cache-filter", "a,b", "--pull", "--no-cache",
		"--annotation", "manifest:a.b=c", "--build-context", "src=../x", "--shm-size", "128m", "--ulimit", "nofile=10:20",
		"--add-host", "a:1.2.3.4", "--add-host", "b=[::1]", "--allow", "network.host", "--network", "none", "--compression", "zstd:9",
		"--platform", "linux/arm64,linux/amd64")
	assert.NilError(t, err)
	b := o.Build
	assert.Equal(t, b.Input.Context, ".")
	assert.Equal(t, b.Input.Dockerfile, "D")
	assert.DeepEqual(t, b.Input.NamedContexts, map[string]string{"src": "../x"})
	assert.DeepEqual(t, b.Args, map[string]string{"A": "1,2", "FROM_ENV": "e"})
	assert.DeepEqual(t, b.Labels, map[string]string{"k": "v=w", "bare": ""})
	assert.DeepEqual(t, b.Cache, engine.CacheOptions{NoCache: true, NoCacheFilter: []string{"a", "b"}, Pull: true})
	assert.DeepEqual(t, b.Output.Annotations, map[string]string{"a.b": "c"})
	assert.DeepEqual(t, b.Output.Compression, compress.Options{Algorithm: compress.Zstd, Level: 9})
	assert.Equal(t, b.Output.Tags[0].Familiar(), "me/app:latest")
	assert.Equal(t, b.Output.Tags[1].String(), "docker.io/library/x:1")
	assert.DeepEqual(t, b.Run, engine.RunOptions{
		RunOptions: planner.RunOptions{
			Network: "none", Hosts: []string{"a:1.2.3.4", "b:::1"}, Allow: []planner.Entitlement{planner.AllowNetworkHost},
		},
		Limits: sandbox.Limits{ShmSize: 128 << 20, Rlimits: []sandbox.Rlimit{{Name: "nofile", Soft: 10, Hard: 20}}},
	}, cmpopts.EquateEmpty())
	assert.Equal(t, len(b.Platforms), 2)
	assert.Equal(t, b.Target, "t")
	assert.Assert(t, b.Epoch == nil)
}

func TestBuildEpoch(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	o, err := parsedBuild(t, ".")
	assert.NilError(t, err)
	assert.Assert(t, o.Build.Epoch.Equal(time.Unix(1700000000, 0)))
	o, err = parsedBuild(t, ".", "--build-arg", "SOURCE_DATE_EPOCH=0")
	assert.NilError(t, err)
	assert.Assert(t, o.Build.Epoch.Equal(time.Unix(0, 0)))
}

func TestBuildQuietAndProgress(t *testing.T) {
	for _, c := range []struct {
		argv []string
		want string
	}{
		{[]string{"."}, "auto"}, {[]string{".", "-q"}, "quiet"}, {[]string{".", "--progress=plain"}, "plain"}, {[]string{".", "-q", "--progress=json"}, "json"},
	} {
		o, err := parsedBuild(t, c.argv...)
		assert.NilError(t, err)
		assert.Equal(t, o.Progress, c.want)
	}
}

func TestBuildCall(t *testing.T) {
	for _, c := range []struct {
		argv   []string
		want   string
		asJSON bool
	}{
		{[]string{"."}, "", false},
		{[]string{".", "--check"}, "check", false},
		{[]string{".", "--call=lint"}, "check", false},
		{[]string{".", "--call=targets,format=json"}, "targets", true},
		{[]string{".", "--call=build"}, "", false},
	} {
		o, err := parsedBuild(t, c.argv...)
		assert.NilError(t, err)
		assert.Equal(t, o.Call, c.want)
		assert.Equal(t, o.CallJSON, c.asJSON)
	}
}

// Nothing is silently ignored: what cannot be done is a usage error that says so.
func TestBuildRefuses(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	for _, c := range []struct{ argv, want string }{
		{"--squash", "cairn build has no --squash yet"},
		{"--cgroup-parent /x", "cairn build has no --cgroup-parent yet"},
		{"--push", "cairn build has no --push yet"},
		{"--cache-to type=inline", "cairn build has no --cache-to yet"},
		{"--provenance true", "cairn build has no --provenance yet"},
		{"--provenance false", ""},
		{"--squash=false", ""},
		{"--network bridge", `--network is default, host, private or none, not "bridge"`},
		{"--pull=never", `--pull is always or missing, not "never"`},
		{"--allow all", `--allow knows network.host and security.insecure, not "all"`},
		{"--platform nonsense/x/y/z", "read --platform"},
		{"--compression lz4", "read --compression"},
		{"--compression zstd:3 --compression-level 4", "two levels"},
		{"--shm-size big", "--shm-size is a size"},
		{"--ulimit nofile", "read --ulimit"},
		{"--add-host a", `"a" is not NAME:IP`},
		{"--add-host a:b", `"a:b" is not NAME:IP`},
		{"--label =x", "has no key"},
		{"--annotation nosuch:a=b", `--annotation knows the levels manifest, index and manifest-descriptor, not "nosuch"`},
		{"--annotation a", "is not KEY=VALUE"},
		{"--build-context x", "is not NAME=VALUE"},
		{"--build-arg =x", "has no name"},
		{"--secret src=x", "has no id"},
		{"--secret id=x,src=/nonexistent/file", "no such file"},
		{"--ssh default", "SSH_AUTH_SOCK is not set"},
		{"-t UPPER", "invalid reference format"},
		{"-t x@sha256:0000000000000000000000000000000000000000000000000000000000000000", "has no digest"},
		{"-o type=oci,push=true", "cairn cannot push yet"},
		{"-o type=registry", "cairn cannot push yet"},
		{"-o type=nope", `unknown type "nope"`},
		{"-o dest=x", "a type is missing"},
		{"-o type=local", "type=local needs a dest"},
		{"-o type=oci,tar=false", "needs a dest"},
		{"-o type=docker,tar=false,dest=x", "tar=false is for type=oci"},
		{"-o type=oci,compression=gzip -o type=oci,compression=zstd,dest=x", "in one way per build"},
		{"-o type=oci -o -", "standard output takes one --output"},
		{"-o type=oci,rewrite-timestamp=true", `unknown attribute "rewrite-timestamp"`},
		{"--call outlin", "--call is build, check"},
		{"--call check,format=xml", "format=json"},
	} {
		t.Run(c.argv, func(t *testing.T) {
			_, err := parsedBuild(t, append(strings.Fields(c.argv), ".")...)
			if c.want == "" {
				assert.NilError(t, err)
				return
			}
			assert.ErrorContains(t, err, c.want)
			assert.Equal(t, judge(err).Status, exitUsage)
		})
	}
}

func TestParseExport(t *testing.T) {
	for _, c := range []struct {
		in   string
		want engine.Export
	}{
		{"-", engine.Export{Type: "tar", Dest: "-", Tar: true}},
		{"out/dir", engine.Export{Type: "local", Dest: "out/dir"}},
		{"type=local,dest=out", engine.Export{Type: "local", Dest: "out"}},
		{"type=oci,dest=x.tar", engine.Export{Type: "oci", Dest: "x.tar", Tar: true}},
		{"type=oci,dest=x,tar=false", engine.Export{Type: "oci", Dest: "x"}},
		{"type=docker", engine.Export{Type: "docker", Dest: "-", Tar: true}},
		{`type=tar,"dest=a,b"`, engine.Export{Type: "tar", Dest: "a,b", Tar: true}},
		{"dest=x.tar,type=oci", engine.Export{Type: "oci", Dest: "x.tar", Tar: true}},
	} {
		t.Run(c.in, func(t *testing.T) {
			got, _, err := parseExport(c.in)
			assert.NilError(t, err)
			assert.DeepEqual(t, got, c.want)
		})
	}
}

func TestExportAttributesOfTheBuild(t *testing.T) {
	o, err := parsedBuild(t, ".", "-o", `type=image,"name=a,b:2",compression=zstd,compression-level=7,annotation.x=y`)
	assert.NilError(t, err)
	assert.Equal(t, len(o.Build.Output.Exports), 0)
	assert.Equal(t, len(o.Build.Output.Tags), 2)
	assert.DeepEqual(t, o.Build.Output.Compression, compress.Options{Algorithm: compress.Zstd, Level: 7})
	assert.DeepEqual(t, o.Build.Output.Annotations, map[string]string{"x": "y"})
}

func TestParseSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s")
	assert.NilError(t, os.WriteFile(file, []byte("x"), 0o600))
	lookup := func(name string) (string, bool) { return "", name == "IN_ENV" }
	for _, c := range []struct {
		in   string
		want engine.Secret
	}{
		{"id=a,src=" + file, engine.Secret{ID: "a", File: file}},
		{"id=a,source=" + file + ",type=file", engine.Secret{ID: "a", File: file}},
		{"id=a,env=B", engine.Secret{ID: "a", Env: "B"}},
		{"id=a,type=env,src=B", engine.Secret{ID: "a", Env: "B"}},
		{"id=IN_ENV", engine.Secret{ID: "IN_ENV", Env: "IN_ENV"}},
		{"id=" + file, engine.Secret{ID: file, File: file}},
	} {
		got, err := parseSecret(c.in, lookup)
		assert.NilError(t, err, c.in)
		assert.DeepEqual(t, got, c.want)
	}
	for _, in := range []string{"id=a,src=x,env=y", "id=a,type=nope", "id=a,what=b", `id="`} {
		_, err := parseSecret(in, lookup)
		assert.Assert(t, err != nil, in)
	}
}

func TestIsArchive(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name    string
		content []byte
		want    bool
	}{
		{"Dockerfile", []byte("FROM scratch\n"), false},
		{"empty", nil, false},
		{"long Dockerfile", []byte("FROM scratch\n" + strings.Repeat("# x\n", 1000)), false},
		{"gzip", []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0}, true},
		{"empty archive", make([]byte, 1024), true},
	} {
		path := filepath.Join(dir, "f")
		assert.NilError(t, os.WriteFile(path, c.content, 0o600))
		f, err := os.Open(path)
		assert.NilError(t, err)
		got, err := isArchive(f)
		assert.NilError(t, err)
		assert.Equal(t, got, c.want, c.name)
		at, err := f.Seek(0, 1)
		assert.NilError(t, err)
		assert.Equal(t, at, int64(0))
		f.Close()
	}
}
