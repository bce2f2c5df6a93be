package engine

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/sandbox"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gotest.tools/v3/assert"
)

// fakeImages are base images from a table.
type fakeImages map[string]oci.Config

func (f fakeImages) ResolveBase(_ context.Context, name string, _ oci.Platform) (*planner.Base, error) {
	ref, err := oci.ParseReference(name)
	return &planner.Base{Config: f[name], Reference: ref, Name: ref.String()}, err
}

func (f fakeImages) ResolveContext(ctx context.Context, c planner.NamedContext, p oci.Platform) (*planner.Base, error) {
	return f.ResolveBase(ctx, c.Location, p)
}

func imageWith(edit func(*oci.Config)) oci.Config {
	c := oci.Config{}
	c.History = []ispec.History{{CreatedBy: "base", EmptyLayer: true}}
	edit(&c)
	return c
}

func mustPlan(t *testing.T, text string, opts Options, images fakeImages) *planner.Plan {
	t.Helper()
	f, err := dockerfile.Parse("Dockerfile", []byte(text))
	assert.NilError(t, err)
	p, err := planner.New(t.Context(), f, opts.plannerOptions(oci.HostPlatform(), nil), images)
	assert.NilError(t, err)
	return p
}

// keyOf is the key of the last step of a Dockerfile's target, on a file system of one layer.
func keyOf(t *testing.T, text string, opts Options, layer string) digest.Digest {
	t.Helper()
	plan := mustPlan(t, text, opts, nil)
	e := &engine{opts: &opts, plan: plan, project: &project{reading: &reading{}}}
	r := newLayerRef()
	r.diffID = digest.FromString(layer)
	act, err := actionOf(plan.Target.Final.Op)
	assert.NilError(t, err)
	w := &workspace{engine: e, step: plan.Target.Final, action: act, below: emptySnapshot.with(r)}
	k, _, err := e.key(t.Context(), w)
	assert.NilError(t, err)
	return k
}

const keyText = `FROM scratch AS one
ARG A=1
ENV B=2
WORKDIR /w
USER u
RUN --network=none --mount=type=cache,target=/c,id=x echo
`

// TestKeyFormat fails when what goes into keys changes. Then every user's cache is worth nothing: that has to be meant, and keyVersion has
// to change with it.
func TestKeyFormat(t *testing.T) {
	assert.Equal(t, keyVersion, "cairn-key-1")
	assert.Equal(t, keyOf(t, keyText, Options{}, "below").String(), goldenRunKey)
	assert.Equal(t, keyOf(t, "FROM scratch\nWORKDIR /w\n", Options{}, "below").String(), goldenWorkdirKey)
	assert.Equal(t, chainID([]digest.Digest{"a:1", "b:2"}).String(), goldenChain)
}

const (
	goldenRunKey     = "sha256:0a0e66caf6f3113ff2a8fd20fb0f75a140e3dd45e34c7dd0a6db0d8a6de7633d"
	goldenWorkdirKey = "sha256:f501cae23e9c972cf624c49d2b7c57dbbbb74b12d482611644ec14676b6cf732"
	goldenChain      = "sha256:b0548379174f83b8c2a739d766d7fdf2eec3962cab3a4a1c400174101c45295d"
)

// TestDefinitionFormat does the same for every flag that goes into keys.
func TestDefinitionFormat(t *testing.T) {
	opts := Options{
		Run: RunOptions{
			RunOptions: planner.RunOptions{
				Hosts: []string{"a:1.2.3.4"}, Allow: []planner.Entitlement{planner.AllowNetworkHost, planner.AllowInsecure},
			},
			Limits: sandbox.Limits{ShmSize: 5, Rlimits: []sandbox.Rlimit{{Name: "nofile", Soft: 5, Hard: 5}}},
		},
		Args: map[string]string{"BUILDKIT_SANDBOX_HOSTNAME": "h"},
	}
	for want, text := range map[string]string{
		"sha256:38da6e4ab15bed59407d891804e9ff94588ac82d6dceac8500dcb328e6c8543d": "COPY --from=0 --link --parents --chown=1:2 --chmod=u=rwX --exclude=x --exclude=y a b <<e d/\nf\ne\n",
		"sha256:4433219401767225fc9cf81a1a800022ff56fd2735c64e23eecc28be7a791222": "ADD --checksum=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 " +
			"--keep-git-dir=true --unpack=false https://h/f .",
		"sha256:5baaade6b3b2ab20b774795f5e287554f141a7ac7a4c591f195ab2f8c55d9ace": "RUN --network=host --security=insecure --mount=type=secret,id=s,env=E,required " +
			"--mount=type=ssh,mode=0640,uid=1 --mount=type=tmpfs,target=t,size=1m --mount=from=0,target=/m,rw " +
			"--mount=type=cache,target=c,sharing=locked,from=0,gid=3 <<e\n#!/bin/x\ne\n",
	} {
		p := mustPlan(t, "FROM scratch\nCOPY x /\nFROM scratch\nWORKDIR /w\n"+text, opts, nil)
		assert.Equal(t, definitionKey(p.Target.Final).String(), want, text)
	}
}

func TestKeyHasWhatTheStepCanSee(t *testing.T) {
	epoch := time.Unix(1700000000, 0)
	edit := func(from, to string) string {
		text := strings.Replace(keyText, from, to, 1)
		assert.Assert(t, text != keyText, from)
		return text
	}
	was := keyOf(t, keyText, Options{}, "below")
	limited := RunOptions{Limits: sandbox.Limits{Rlimits: []sandbox.Rlimit{{Name: "nofile", Soft: 5, Hard: 5}}}}
	for name, now := range map[string]digest.Digest{
		"command":           keyOf(t, edit("echo", "echo x"), Options{}, "below"),
		"exec form":         keyOf(t, edit("echo", `["/bin/sh", "-c", "echo", ""]`), Options{}, "below"),
		"shell":             keyOf(t, edit("USER u", "USER u\nSHELL [\"/bin/bash\", \"-c\"]"), Options{}, "below"),
		"ARG":               keyOf(t, keyText, Options{Args: map[string]string{"A": "2"}}, "below"),
		"ENV":               keyOf(t, edit("B=2", "B=3"), Options{}, "below"),
		"WORKDIR":           keyOf(t, edit("/w", "/x"), Options{}, "below"),
		"USER":              keyOf(t, edit("USER u", "USER v"), Options{}, "below"),
		"network":           keyOf(t, edit("--network=none ", ""), Options{}, "below"),
		"cache":             keyOf(t, edit("id=x", "id=y"), Options{}, "below"),
		"layers below":      keyOf(t, keyText, Options{}, "other"),
		"SOURCE_DATE_EPOCH": keyOf(t, keyText, Options{Epoch: &epoch}, "below"),
		"hosts":             keyOf(t, keyText, Options{Run: RunOptions{RunOptions: planner.RunOptions{Hosts: []string{"a:1.2.3.4"}}}}, "below"),
		"limits":            keyOf(t, keyText, Options{Run: limited}, "below"),
	} {
		assert.Assert(t, now != was, "the key does not have the %s in it", name)
	}
}

func TestKeyHasNothingElse(t *testing.T) {
	was := keyOf(t, keyText, Options{}, "below")
	for name, now := range map[string]digest.Digest{
		"name of the stage":     keyOf(t, strings.Replace(keyText, "AS one", "AS two", 1), Options{}, "below"),
		"comments and labels":   keyOf(t, strings.Replace(keyText, "USER u", "# x\nLABEL a=b\nUSER u", 1), Options{}, "below"),
		"steps before":          keyOf(t, strings.Replace(keyText, "ARG A=1", "RUN other\nARG A=1", 1), Options{}, "below"),
		"later ARG":             keyOf(t, keyText+"ARG LATE=1\n", Options{Args: map[string]string{"LATE": "2"}}, "below"),
		"proxies":               keyOf(t, keyText, Options{Args: map[string]string{"http_proxy": "p"}}, "below"),
		"values of secrets":     keyOf(t, keyText, Options{Run: RunOptions{Secrets: []Secret{{ID: "s", Env: "S"}}}}, "below"),
		"--no-cache":            keyOf(t, keyText, Options{Cache: CacheOptions{NoCache: true}}, "below"),
		"labels of the command": keyOf(t, keyText, Options{Labels: map[string]string{"a": "b"}}, "below"),
	} {
		assert.Equal(t, now, was, name)
	}
}

func TestNoTwoListsOfFieldsAreTheSameBytes(t *testing.T) {
	sums := map[digest.Digest][]string{}
	for _, values := range [][]string{nil, {""}, {"", ""}, {"a", "b"}, {"ab"}, {"a\x00b"}, {"b", "a"}} {
		h := newHasher("x")
		h.field("f", values...)
		d := h.digest()
		assert.Assert(t, sums[d] == nil, "%q and %q", sums[d], values)
		sums[d] = append([]string{"-"}, values...)
	}
}
