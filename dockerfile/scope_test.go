package dockerfile

import (
	"strings"
	"testing"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gotest.tools/v3/assert"
)

// scopeOf is a scope with these variables.
func scopeOf(f *File, env Vars) Scope { return Scope{Env: env, lex: NewLex(f.Escape)} }

// scopes evaluates all stages of a file in order and returns the last scope of each.
func scopes(t *testing.T, src string, given []string, base BaseImage) []Scope {
	t.Helper()
	f := parse(t, src)
	amd64 := ispec.Platform{OS: "linux", Architecture: "amd64"}
	args, err := f.Arguments(amd64, amd64, "", NewVars(given))
	assert.NilError(t, err)
	var all []Scope
	for _, s := range f.Stages {
		from, err := f.From(s, args)
		assert.NilError(t, err)
		scope := NewScope(f, args, base)
		switch {
		case from.Stage != nil:
			scope = all[from.Stage.Index]
		case from.Name.Text == scratch:
			scope = NewScope(f, args, Scratch(amd64))
		}
		for _, i := range s.Instructions {
			scope, _, err = scope.Apply(i)
			assert.NilError(t, err)
		}
		all = append(all, scope)
	}
	return all
}

// TestScope is the one place where it is written down what instructions change for those after them.
func TestScope(t *testing.T) { // docs/semantics.md 56, 62, 64-67, 70, 72, 73, 76, 100
	image := BaseImage{Env: []string{"PATH=/p", "BASE=1"}, Shell: []string{"bash", "-c"}, User: "app", Workdir: "srv"}
	const path = "PATH=" + DefaultPath
	for _, tt := range []struct {
		name, src string
		given     []string
		env       string // what a RUN sees
		image     string // what the image's config gets
		args      string
		shell     string
		user, dir string
	}{
		{name: "scratch", src: "FROM scratch", env: path, image: path, dir: "/"},
		{
			name: "image", src: "FROM x",
			env: "PATH=/p BASE=1", image: "PATH=/p BASE=1", shell: "bash -c", user: "app", dir: "/srv",
		},
		{
			name: "ENV", src: "FROM scratch\nENV a=1\nENV a=2 b=$a",
			env: path + " a=2 b=1", image: path + " a=2 b=1", dir: "/",
		},
		{
			name: "ENV of the base", src: "FROM x\nENV BASE=$BASE$BASE PATH=/q:$PATH",
			env: "PATH=/q:/p BASE=11", image: "PATH=/q:/p BASE=11", shell: "bash -c", user: "app", dir: "/srv",
		},
		{name: "ARG is no ENV", src: "FROM scratch\nARG a=1", env: path + " a=1", image: path, args: "a=1", dir: "/"},
		{name: "ARG without a value", src: "FROM scratch\nARG a", env: path, image: path, args: "a", dir: "/"},
		{
			name: "ARG and its ENV", src: "FROM scratch\nARG a=1\nENV a=$a$a\nARG a=3",
			env: path + " a=3", image: path + " a=11", args: "a=1 a=3", dir: "/",
		},
		{
			name: "--build-arg", src: "FROM scratch\nARG a=1 b=$a", given: []string{"a=2", "c=3"},
			env: path + " a=2 b=2", image: path, args: "a=2 b=2", dir: "/",
		},
		{
			name: "global ARG", src: "ARG g=1\nARG h=2\nFROM scratch\nARG g",
			env: path + " g=1", image: path, args: "g=1", dir: "/",
		},
		{
			name: "global ARG undeclared", src: "ARG g=1\nFROM scratch\nENV a=$g",
			env: path + " a=", image: path + " a=", dir: "/",
		},
		{
			name: "predefined ARG", src: "FROM scratch\nARG TARGETARCH TARGETSTAGE",
			env: path + " TARGETARCH=amd64 TARGETSTAGE=default", image: path,
			args: "TARGETARCH=amd64 TARGETSTAGE=default", dir: "/",
		},
		{
			name: "arguments of the scan",
			src: "FROM scratch\nARG BUILDKIT_SBOM_SCAN_STAGE=1 a=x$BUILDKIT_SBOM_SCAN_STAGE\n" +
				"ARG BUILDKIT_SBOM_SCAN_CONTEXT\nENV b=$BUILDKIT_SBOM_SCAN_CONTEXT",
			given: []string{"BUILDKIT_SBOM_SCAN_CONTEXT=1"}, env: path + " a=x b=", image: path + " b=",
			args: "BUILDKIT_SBOM_SCAN_STAGE=1 a=x BUILDKIT_SBOM_SCAN_CONTEXT=1", dir: "/",
		},
		{
			name: "SHELL", src: "FROM x\nSHELL [\"zsh\"]",
			env: "PATH=/p BASE=1", image: "PATH=/p BASE=1", shell: "zsh", user: "app", dir: "/srv",
		},
		{
			name: "USER", src: "FROM x\nENV u=me\nUSER $u:1",
			env: "PATH=/p BASE=1 u=me", image: "PATH=/p BASE=1 u=me", shell: "bash -c", user: "me:1", dir: "/srv",
		},
		{
			name: "WORKDIR", src: "FROM x\nWORKDIR a\nWORKDIR ../b",
			env: "PATH=/p BASE=1", image: "PATH=/p BASE=1", shell: "bash -c", user: "app", dir: "/srv/b",
		},
		{name: "WORKDIR of scratch", src: "FROM scratch\nWORKDIR a", env: path, image: path, dir: "/a"},
		{
			name: "a stage on another",
			src:  "FROM scratch AS one\nARG a=1\nENV e=2\nUSER u\nWORKDIR /w\nSHELL [\"s\"]\nFROM one\nARG b=$a$e",
			env:  path + " a=1 e=2 b=12", image: path + " e=2", args: "a=1 b=12", shell: "s", user: "u", dir: "/w",
		},
		{
			name: "a stage beside another", src: "FROM scratch AS one\nARG a=1\nENV e=2\nUSER u\nWORKDIR /w\n" +
				"FROM scratch\nENV x=$a$e",
			env: path + " x=", image: path + " x=", dir: "/",
		},
		{
			name: "what changes nothing", src: "FROM scratch\nRUN a=1\nCOPY a b\nLABEL a=b\nCMD a\n" +
				"EXPOSE 1\nVOLUME /v\nONBUILD ENV a=1\nMAINTAINER m\nSTOPSIGNAL 9\nHEALTHCHECK NONE",
			env: path, image: path, dir: "/",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all := scopes(t, tt.src, tt.given, image)
			s := all[len(all)-1]
			assert.Equal(t, strings.Join(s.Env.Slice(), " "), tt.env)
			assert.Equal(t, strings.Join(s.ImageEnv.Slice(), " "), tt.image)
			assert.Equal(t, strings.TrimPrefix(strings.TrimPrefix(ArgHistory(s.Args), "ARG"), " "), tt.args)
			assert.Equal(t, strings.Join(s.Shell, " "), tt.shell)
			assert.Equal(t, s.User, tt.user)
			assert.Equal(t, s.Workdir, tt.dir)
		})
	}
}

// Two stages on one do not see each other's arguments, although their scopes have the same beginning.
func TestScopesAreValues(t *testing.T) {
	all := scopes(t, "FROM scratch AS one\nARG a=1\nFROM one\nARG b=2\nENV e=2\n"+
		"FROM one\nARG c=3\nENV e=3", nil, BaseImage{})
	assert.Equal(t, ArgHistory(all[0].Args), "ARG a=1")
	assert.Equal(t, ArgHistory(all[1].Args), "ARG a=1 b=2")
	assert.Equal(t, ArgHistory(all[2].Args), "ARG a=1 c=3")
	_, set := all[0].Env.Get("e")
	assert.Assert(t, !set)
	e, _ := all[1].Env.Get("e")
	assert.Equal(t, e, "2")
}

// An instruction that fails leaves the scope as it was.
func TestApplyFails(t *testing.T) {
	f := parse(t, "FROM x\nENV a=1\nENV a=2 b=${c:?no}\nARG d=1 e=${c:?no}")
	s := NewScope(f, Arguments{}, BaseImage{})
	s, _, err := s.Apply(f.Stages[0].Instructions[0])
	assert.NilError(t, err)
	for _, i := range f.Stages[0].Instructions[1:] {
		after, _, err := s.Apply(i)
		assert.Equal(t, err.(*Error).Line(), i.Range().Start)
		assert.DeepEqual(t, after.Env.Slice(), []string{"PATH=" + DefaultPath, "a=1"})
		assert.Equal(t, len(after.Args), 0)
	}
}

func TestFrom(t *testing.T) { // docs/semantics.md 57, 116
	f := parse(t, "ARG B=one\nARG NOWHERE\nFROM x AS one\nFROM $B AS two\n"+
		"FROM --platform=$BUILDPLATFORM one\nFROM later\nFROM x AS later\nFROM $NOT\n"+
		"FROM --platform=$NOWHERE x\nFROM --platform=$BUILDPLATFOR x\nFROM --platform=a/b/c/d x")
	arm := ispec.Platform{OS: "linux", Architecture: "arm64"}
	args, err := f.Arguments(arm, ispec.Platform{OS: "linux", Architecture: "amd64"}, "", Vars{})
	assert.NilError(t, err)
	for i, want := range []struct {
		name     string
		stage    int
		platform string
		err      string
		hint     string
	}{
		{name: "x", stage: -1}, {name: "one", stage: 0}, {name: "one", stage: 0, platform: "arm64"},
		{name: "later", stage: -1}, {name: "x", stage: -1},
		{stage: -1, err: "Dockerfile:8: base name ($NOT) should not be blank",
			hint: "give the ARG in it a default value, or pass it with --build-arg"},
		{name: "x", stage: -1, err: "Dockerfile:9: --platform=$NOWHERE: the platform is empty"},
		{name: "x", stage: -1, err: "Dockerfile:10: --platform=$BUILDPLATFOR: the platform is empty",
			hint: "did you mean $BUILDPLATFORM?"},
		{name: "x", stage: -1, err: "Dockerfile:11: --platform=a/b/c/d"},
	} {
		from, err := f.From(f.Stages[i], args)
		if want.err != "" {
			e, ok := err.(*Error)
			assert.Assert(t, ok, "%v", err)
			assert.ErrorContains(t, err, want.err)
			assert.Equal(t, e.Hint, want.hint)
		} else {
			assert.NilError(t, err)
		}
		assert.Equal(t, from.Name.Text, want.name)
		stage, platform := -1, ""
		if from.Stage != nil {
			stage = from.Stage.Index
		}
		if from.Platform != nil {
			platform = from.Platform.Architecture
		}
		assert.Equal(t, stage, want.stage)
		assert.Equal(t, platform, want.platform)
	}
}
