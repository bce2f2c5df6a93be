package build

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

func (f fakeImages) resolveBase(_ context.Context, name string, p oci.Platform) (*imageMeta, error) {
	c, ok := f[name]
	if !ok {
		return nil, fmt.Errorf("no image %s", name)
	}
	ref, err := oci.ParseReference(name)
	if err != nil {
		return nil, err
	}
	return &imageMeta{config: c, reference: ref, ref: ref.String()}, nil
}

func (f fakeImages) resolveNamed(ctx context.Context, _, value string, p oci.Platform) (*imageMeta, error) {
	return f.resolveBase(ctx, strings.TrimPrefix(value, "docker-image://"), p)
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
	return newPlan(context.Background(), f, &opts, oci.HostPlatform(), images)
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
			if op, ok := s.op.(*runOp); ok {
				m := map[string]string{}
				for _, k := range op.env.Keys() {
					m[k], _ = op.env.Get(k)
				}
				env[op.args[2]] = m
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
	assert.Equal(t, p.Warnings[0].Text, "one or more build arguments were not consumed: NOT")
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
	assert.DeepEqual(t, c.Config.Env, []string{"PATH=" + defaultPath})
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
	assert.Equal(t, definitionKey(with.Target.Final), definitionKey(without.Target.Final))
	op := with.Target.Final.op.(*runOp)
	assert.Assert(t, strings.Contains(strings.Join(op.environment(), " "), "http_proxy=http://p"))
}

func TestNameThatIsAlmostAStage(t *testing.T) {
	_, err := planOf(t, "FROM scratch AS build\nFROM scratch\nCOPY --from=biuld /x /\n", Options{}, nil)
	var step *StepError
	assert.Assert(t, errors.As(err, &step), "%v", err)
	assert.Equal(t, step.Range.Start, 3)
	assert.Assert(t, strings.Contains(step.Hint, "the stage build"), step.Hint)
}
