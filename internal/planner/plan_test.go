package planner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/oci"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gotest.tools/v3/assert"
)

// fakeImages resolves base images from a table.
type fakeImages map[string]oci.Config

func (f fakeImages) ResolveBase(_ context.Context, name string, _ oci.Platform) (*Base, error) {
	c, ok := f[name]
	if !ok {
		return nil, fmt.Errorf("no image %s", name)
	}
	ref, err := oci.ParseReference(name)
	if err != nil {
		return nil, err
	}
	return &Base{Config: c, Reference: ref, Name: ref.String(), Layers: 1}, nil
}

func (f fakeImages) ResolveContext(ctx context.Context, c NamedContext, p oci.Platform) (*Base, error) {
	return f.ResolveBase(ctx, c.Location, p)
}

func imageWith(edit func(*oci.Config)) oci.Config {
	c := emptyConfig(oci.HostPlatform())
	c.History = []ispec.History{{CreatedBy: "base"}}
	edit(&c)
	return c
}

func planOf(t *testing.T, text string, opts Options, images fakeImages) (*Plan, error) {
	t.Helper()
	f, err := dockerfile.Parse("Dockerfile", []byte(text))
	if err != nil {
		return nil, err
	}
	opts.Platform = oci.HostPlatform()
	return New(t.Context(), f, opts, images)
}

func mustPlan(t *testing.T, text string, opts Options, images fakeImages) *Plan {
	t.Helper()
	p, err := planOf(t, text, opts, images)
	assert.NilError(t, err)
	return p
}

func names(p *Plan) []string {
	var out []string
	for _, st := range p.Stages {
		for _, s := range st.Steps {
			out = append(out, s.Name)
		}
	}
	return out
}

func history(p *Plan) []string {
	var out []string
	for _, h := range p.Target.Config.History {
		mark := ""
		if h.EmptyLayer {
			mark = " (empty)"
		}
		out = append(out, h.CreatedBy+mark)
	}
	return out
}

func TestUnusedStagesAreDropped(t *testing.T) {
	p := mustPlan(t, "FROM scratch AS a\nCOPY x /\nFROM nowhere AS unused\nRUN y\nFROM scratch\nCOPY --from=a /x /z\n", Options{}, nil)
	assert.DeepEqual(t, names(p), []string{"[a 1/1] COPY x /", "[stage-2 1/1] COPY --from=a /x /z"})
}

func TestHistoryIsBuildKits(t *testing.T) { // docs/semantics.md 105, 111, 112
	p := mustPlan(t, `FROM scratch
ARG V=1
ENV A=b C="d e"
RUN echo $V
COPY --chown=1:2 --chmod=644 a b /d/
WORKDIR /x
WORKDIR /
EXPOSE 80 53/UDP
CMD ["a", "b"]
ENTRYPOINT run
`, Options{}, nil)
	assert.DeepEqual(t, history(p), []string{
		"ARG V=1 (empty)", "ENV A=b C=d e (empty)", "RUN |1 V=1 /bin/sh -c echo $V # buildkit",
		"COPY --chown=1:2 --chmod=644 a b /d/ # buildkit", "WORKDIR /x", "WORKDIR / (empty)",
		"EXPOSE [53/udp 80/tcp] (empty)", `CMD ["a" "b"] (empty)`, `ENTRYPOINT ["/bin/sh" "-c" "run"] (empty)`,
	})
}

func TestEntrypointResetsInheritedCmd(t *testing.T) { // docs/semantics.md 99
	base := fakeImages{"base": imageWith(func(c *oci.Config) { c.Config.Cmd = []string{"old"} })}
	p := mustPlan(t, "FROM base\nENTRYPOINT [\"e\"]\n", Options{}, base)
	assert.Equal(t, len(p.Target.Config.Config.Cmd), 0)
	p = mustPlan(t, "FROM base\nCMD [\"c\"]\nENTRYPOINT [\"e\"]\n", Options{}, base)
	assert.DeepEqual(t, p.Target.Config.Config.Cmd, []string{"c"})
}

func TestOnbuildOfImageAndLocalStageRunsOnce(t *testing.T) { // docs/semantics.md 109
	base := fakeImages{"base": imageWith(func(c *oci.Config) { c.Config.OnBuild = []string{"RUN from-image"} })}
	p := mustPlan(t, "FROM base AS a\nONBUILD RUN from-stage\nFROM a AS b\nRUN own\nFROM b\n", Options{}, base)
	assert.DeepEqual(t, names(p), []string{
		"[a 1/2] FROM docker.io/library/base:latest", "[a 2/2] ONBUILD RUN from-image",
		"[b 1/2] ONBUILD RUN from-stage", "[b 2/2] RUN own",
	})
	assert.Equal(t, len(p.Target.Config.Config.OnBuild), 0)
}

func TestOnbuildCopyFromAnotherStage(t *testing.T) { // docs/semantics.md 1.3 ONBUILD
	base := fakeImages{"base": imageWith(func(c *oci.Config) { c.Config.OnBuild = []string{"COPY --from=files /f /f"} })}
	p := mustPlan(t, "FROM scratch AS files\nCOPY f /\nFROM base\n", Options{}, base)
	assert.DeepEqual(t, names(p), []string{
		"[files 1/1] COPY f /", "[stage-1 1/2] FROM docker.io/library/base:latest", "[stage-1 2/2] ONBUILD COPY --from=files /f /f",
	})
}

func TestArgScopes(t *testing.T) { // docs/semantics.md 65, 66, 67
	p := mustPlan(t, `ARG G=global
FROM scratch AS a
ARG G
ARG NONE
ARG E=
RUN one
FROM a
RUN two
FROM scratch
COPY --from=1 / /
RUN three
`, Options{}, nil)
	env := map[string]map[string]string{}
	for _, st := range p.Stages {
		for _, s := range st.Steps {
			if op, ok := s.Op.(*Run); ok {
				m := map[string]string{}
				for _, k := range op.Env.Keys() {
					m[k], _ = op.Env.Get(k)
				}
				env[op.Script.Args[2]] = m
			}
		}
	}
	assert.Equal(t, env["one"]["G"], "global")
	assert.Equal(t, env["two"]["G"], "global")
	_, ok := env["three"]["G"]
	assert.Assert(t, !ok, "an ARG is not seen by stages that do not build on it")
	_, ok = env["one"]["NONE"]
	assert.Assert(t, !ok, "an ARG without value is not in the environment")
	v, ok := env["one"]["E"]
	assert.Assert(t, ok && v == "")
}

func TestUnusedBuildArgWarns(t *testing.T) { // docs/semantics.md 71
	p := mustPlan(t, "FROM scratch\nARG USED\n", Options{Args: map[string]string{"USED": "1", "NOT": "2", "http_proxy": "3"}}, nil)
	assert.Equal(t, len(p.Warnings), 1)
	assert.Equal(t, p.Warnings[0], "one or more build arguments were not consumed: NOT")
}

func TestPlanErrorsNameTheLine(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"FROM scratch\nCOPY --from=later /a /b\nFROM scratch AS later\n", ""},
		{"FROM scratch\nRUN --network=host x\n", "Dockerfile:2: granting entitlement network.host is not allowed: pass --allow network.host"},
		{"FROM a AS a\n", "no image a"},
		{"ARG X\nFROM $X\n", "base name ($X) should not be blank"},
		{"FROM scratch AS x\nCOPY --from=y /a /\nFROM scratch AS y\nCOPY --from=x / /\n", "circular dependency"},
	} {
		opts := Options{}
		if strings.Contains(tc.text, "later") {
			opts.Target = "0"
			tc.want = "needs to be defined before current stage"
		}
		_, err := planOf(t, tc.text, opts, nil)
		assert.ErrorContains(t, err, tc.want, tc.text)
	}
}

func TestScratchConfig(t *testing.T) { // docs/semantics.md 56, 76
	p := mustPlan(t, "FROM scratch\nLABEL a=b\n", Options{Labels: map[string]string{"a": "c"}}, nil)
	c := p.Target.Config
	assert.Equal(t, c.Config.WorkingDir, "/")
	assert.DeepEqual(t, c.Config.Env, []string{"PATH=" + dockerfile.DefaultPath})
	assert.Equal(t, c.Config.Labels["a"], "c") // docs/semantics.md 106
}

func TestLastStageOfANameWinsForCopyFrom(t *testing.T) { // docs/semantics.md 116
	p := mustPlan(t, "FROM scratch AS x\nCOPY one /\nFROM scratch AS x\nCOPY two /\nFROM scratch\nCOPY --from=X / /\n", Options{}, nil)
	assert.DeepEqual(t, names(p)[0], "[x 1/1] COPY two /")
}

func TestProxiesAreInNoHistoryAndNoKey(t *testing.T) { // docs/semantics.md 69
	text := "FROM scratch\nRUN x\n"
	with := mustPlan(t, text, Options{Args: map[string]string{"HTTP_PROXY": "http://p"}}, nil)
	without := mustPlan(t, text, Options{}, nil)
	assert.DeepEqual(t, history(with), history(without))
	assert.Equal(t, described(with.Target.Final), described(without.Target.Final))
	op := with.Target.Final.Op.(*Run)
	assert.Assert(t, strings.Contains(strings.Join(op.Environment(), " "), "http_proxy=http://p"))
}

func TestNameThatIsAlmostAStage(t *testing.T) {
	_, err := planOf(t, "FROM scratch AS build\nFROM scratch\nCOPY --from=biuld /x /\n", Options{}, nil)
	var base *BaseError
	assert.Assert(t, errors.As(err, &base), "%v", err)
	assert.Equal(t, base.Range.Start, 3)
	assert.Assert(t, strings.Contains(base.Hint, "the stage build"), base.Hint)
}

// described are the fields that go into the keys of a step.
func described(s *Step) string {
	var b strings.Builder
	s.Op.Describe(func(name string, values ...string) { fmt.Fprintf(&b, "%s=%q\n", name, values) })
	return b.String()
}

func TestArgumentsOfTheScanAreNoEnvironment(t *testing.T) {
	p := mustPlan(t, "FROM scratch\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nARG A=1\nRUN x\n", Options{}, nil)
	op := p.Target.Final.Op.(*Run)
	assert.DeepEqual(t, op.Environment(), []string{"PATH=" + dockerfile.DefaultPath, "A=1"})
	assert.DeepEqual(t, history(p), []string{
		"ARG BUILDKIT_SBOM_SCAN_STAGE=true (empty)", "ARG A=1 (empty)",
		"RUN |2 BUILDKIT_SBOM_SCAN_STAGE=true A=1 /bin/sh -c x # buildkit",
	})
	assert.Assert(t, !strings.Contains(described(p.Target.Final), "SCAN"), "it is in the key")
}

// Where --from and a mount's from lead.
func TestOrigins(t *testing.T) {
	dir := NamedContext{Name: "dir", Value: "/dir", Location: "/dir"}
	image := NamedContext{Name: "img", Kind: ImageContext, Value: "docker-image://base", Location: "base"}
	none := NamedContext{Name: "none", Kind: ImageContext, Value: "docker-image://scratch", Location: "scratch"}
	images := fakeImages{"base": imageWith(func(*oci.Config) {}), "other": imageWith(func(*oci.Config) {})}
	for _, tt := range []struct{ run, want string }{
		{"COPY a /", "context"},
		{"COPY --from=one a /", "stage one, 1 steps"},
		{"COPY --from=ONE a /", "stage one, 1 steps"},
		{"COPY --from=0 a /", "stage one, 1 steps"},
		{"COPY --from=other a /", "stage other, 1 steps"},
		{"COPY --from=img a /", "stage img, 1 steps"},
		{"COPY --from=none a /", "stage none, 0 steps"},
		{"COPY --from=scratch a /", "stage scratch, 0 steps"},
		{"COPY --from=dir a /", "named dir"},
		{"COPY --from=on-dir a /", "stage on-dir, 2 steps"},
		{"RUN --mount=target=/m x", "context"},
		{"RUN --mount=target=/m,from=one x", "stage one, 1 steps"},
		{"RUN --mount=target=/m,from=dir x", "named dir"},
		{"RUN --mount=target=/m,from=scratch x", "nothing"},
		{"RUN --mount=type=cache,target=/m x", "nothing"},
		{"RUN --mount=type=cache,target=/m,from=one x", "stage one, 1 steps"},
		{"RUN --mount=type=tmpfs,target=/m x", "nothing"},
	} {
		text := "FROM scratch AS one\nCOPY f /\nFROM dir AS on-dir\nCOPY f /\nFROM scratch\n" + tt.run + "\n"
		opts := Options{Contexts: Contexts{"dir": dir, "img": image, "none": none}}
		p := mustPlan(t, text, opts, images)
		var from Origin
		switch op := p.Target.Final.Op.(type) {
		case *Copy:
			from = op.Origin
			assert.Equal(t, len(op.Reads()) == 1, from.Kind == OriginStage)
		case *Run:
			from = op.Mounts[0].Origin
			assert.Equal(t, len(op.Reads()) == 1, from.Kind == OriginStage)
		}
		got := "nothing"
		switch from.Kind {
		case OriginContext:
			got = "context"
		case OriginNamed:
			got = "named " + from.Context.Name
		case OriginStage:
			got = fmt.Sprintf("stage %s, %d steps", from.Stage.Name, len(from.Stage.Steps))
		}
		assert.Equal(t, got, tt.want, tt.run)
	}
}

func TestParseContext(t *testing.T) {
	exists := func(path string) bool { return path == "/dir" || path == "https://dir" }
	for value, want := range map[string]NamedContext{
		"/dir":                {Kind: DirectoryContext, Location: "/dir"},
		"/nowhere":            {Kind: DirectoryContext, Location: "/nowhere"},
		"https://dir":         {Kind: DirectoryContext, Location: "https://dir"},
		"https://h/x.tar":     {Kind: RemoteContext, Location: "https://h/x.tar"},
		"https://h/r.git#v1":  {Kind: RemoteContext, Location: "https://h/r.git#v1"},
		"docker-image://a:1":  {Kind: ImageContext, Location: "a:1"},
		"oci-layout:///dir:t": {Kind: LayoutContext, Location: "/dir:t"},
	} {
		got, err := ParseContext("n", value, exists)
		assert.NilError(t, err, value)
		assert.Equal(t, got.Kind, want.Kind, value)
		assert.Equal(t, got.Location, want.Location)
		assert.Equal(t, got.String(), "n="+value)
		assert.Equal(t, got.Kind == RemoteContext, got.Remote.Kind != dockerfile.LocalSource)
	}
	_, err := ParseContext("n", "target:x", exists)
	assert.ErrorContains(t, err, "bake")
}

func TestContextsByName(t *testing.T) {
	all := Contexts{}
	for _, name := range []string{"src", "alpine", "docker.io/library/debian:12"} {
		all[name] = NamedContext{Name: name}
	}
	for name, want := range map[string]string{
		"src": "src", "SRC": "", "alpine": "alpine", "alpine:latest": "alpine", "docker.io/library/alpine": "alpine",
		"debian:12": "docker.io/library/debian:12", "debian": "", "alpine:3": "", "": "",
	} {
		c, ok := all.Find(name)
		assert.Equal(t, c.Name, want, name)
		assert.Equal(t, ok, want != "", name)
	}
}

// A plan leaves its options alone.
func TestOptionsAreOnlyRead(t *testing.T) {
	images := fakeImages{"base": imageWith(func(c *oci.Config) { c.Config.Labels = map[string]string{"base": "1"} })}
	given := func() Options {
		return Options{Args: map[string]string{"A": "1"}, Labels: map[string]string{"l": "1"}, Contexts: Contexts{}}
	}
	opts := given()
	p := mustPlan(t, "FROM base\nARG A\nARG SOURCE_DATE_EPOCH=5\nLABEL l=2 m=3\n", opts, images)
	assert.Equal(t, p.Target.Config.Config.Labels["l"], "1")
	assert.DeepEqual(t, opts, given())
	assert.DeepEqual(t, images["base"].Config.Labels, map[string]string{"base": "1"})
}

func TestNoCacheFilterTakesNamesAndNumbers(t *testing.T) {
	for filter, want := range map[string][]bool{
		"A": {true, false}, "1": {false, true}, "stage-1": {false, true}, "x": {false, false},
	} {
		opts := Options{NoCacheFilter: []string{filter}}
		p := mustPlan(t, "FROM scratch AS a\nCOPY x /\nFROM scratch\nCOPY --from=a x /\n", opts, nil)
		assert.DeepEqual(t, []bool{p.Stages[0].Steps[0].NoCache, p.Stages[1].Steps[0].NoCache}, want)
	}
}
