package dockerfile

import (
	"fmt"
	"strings"
	"testing"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gotest.tools/v3/assert"
)

// known is a callback that knows all images to be for linux/amd64 and to set BASE.
func known(string, ispec.Platform) (BaseImage, bool) {
	return BaseImage{Platform: ispec.Platform{OS: "linux", Architecture: "amd64"}, Env: []string{"BASE=1"}}, true
}

// found are the violations as "Rule:line", with experimental rules on.
func found(t *testing.T, src string, o LintOptions) []string {
	t.Helper()
	f := parse(t, src)
	if o.Base == nil {
		o.Base = known
	}
	if o.Check == nil {
		f.Check.ExperimentalAll = true
	}
	r := Check(f, o)
	assert.NilError(t, r.Err)
	all := []string{}
	for _, w := range r.Warnings {
		assert.Assert(t, w.Text != "" && w.Description != "", w.Rule)
		all = append(all, fmt.Sprintf("%s:%d", w.Rule, w.Range.Start))
	}
	return all
}

// Each of BuildKit's 22 rules, once violated and once not.
func TestRules(t *testing.T) {
	hides := LintOptions{Ignored: func(s string) bool { return s == "hidden" }}
	rules := map[string]bool{}
	for _, tt := range []struct {
		rule      string
		bad, good string
		line      int
		o         LintOptions
	}{
		{rule: "StageNameCasing", bad: "FROM x AS Build", good: "FROM x AS build", line: 1},
		{rule: "FromAsCasing", bad: "FROM x as build", good: "from x as build", line: 1},
		{rule: "NoEmptyContinuation", bad: "FROM x\nRUN a \\\n\n b", good: "FROM x\nRUN a \\\n#\n b", line: 4},
		{rule: "ConsistentInstructionCasing", bad: "FROM x\nRUN a\nrun b", good: "from x\nrun a\nrun b", line: 3},
		{rule: "ConsistentInstructionCasing", bad: "from x\nrun a\nCMD [\"b\"]", good: "FROM x\nRUN b", line: 3},
		{rule: "ConsistentInstructionCasing", bad: "FROM x\nRUN a\nRun b", good: "FROM x\nRUN b", line: 3},
		{rule: "DuplicateStageName", bad: "FROM x AS a\nFROM x AS a", good: "FROM x AS a\nFROM x AS b\nFROM x\nFROM x", line: 2},
		{rule: "ReservedStageName", bad: "FROM x AS scratch", good: "FROM scratch AS x", line: 1},
		{rule: "ReservedStageName", bad: "FROM x AS context", good: "FROM x", line: 1},
		{rule: "JSONArgsRecommended", bad: "FROM x\nCMD a", good: "FROM x\nSHELL [\"a\"]\nCMD a", line: 2},
		{rule: "JSONArgsRecommended", bad: "FROM x\nENTRYPOINT a", good: "FROM x\nENTRYPOINT [\"a\"]", line: 2},
		{rule: "MaintainerDeprecated", bad: "FROM x\nMAINTAINER a", good: "FROM x\nLABEL a=b", line: 2},
		{rule: "UndefinedArgInFrom", bad: "FROM x$a", good: "ARG a\nFROM x$a", line: 1},
		{rule: "WorkdirRelativePath", bad: "FROM x\nWORKDIR a", good: "FROM x AS y\nWORKDIR /a\nFROM y\nWORKDIR b", line: 2},
		{rule: "UndefinedVar", bad: "FROM x\nCOPY $a b", good: "FROM x\nARG a\nCOPY $a$BASE$PATH b", line: 2},
		{rule: "UndefinedVar", bad: "FROM x\nARG b=$a", good: "FROM x\nENV a=1\nARG b=$a", line: 2},
		{rule: "UndefinedVar", bad: "FROM x\nCOPY <<a b\n$u\na\n", good: "FROM x\nCOPY <<'a' b\n$u\na\n", line: 2},
		{rule: "MultipleInstructionsDisallowed", bad: "FROM x\nCMD [\"a\"]\nCMD [\"b\"]", good: "FROM x AS y\nCMD [\"a\"]\nFROM y\nCMD [\"a\"]", line: 2},
		{rule: "MultipleInstructionsDisallowed", bad: "FROM x\nENTRYPOINT [\"a\"]\nENTRYPOINT [\"b\"]", good: "FROM x\nENTRYPOINT [\"a\"]", line: 2},
		{rule: "MultipleInstructionsDisallowed", bad: "FROM x\nHEALTHCHECK NONE\nHEALTHCHECK CMD a", good: "FROM x\nHEALTHCHECK NONE", line: 2},
		{rule: "LegacyKeyValueFormat", bad: "FROM x\nENV a b", good: "FROM x\nENV a=b", line: 2},
		{rule: "LegacyKeyValueFormat", bad: "FROM x\nLABEL a b", good: "FROM x\nLABEL a=b", line: 2},
		{rule: "InvalidBaseImagePlatform", bad: "FROM x", good: "FROM scratch", line: 1, o: LintOptions{TargetPlatform: ispec.Platform{OS: "linux", Architecture: "arm64"}}},
		{rule: "RedundantTargetPlatform", bad: "FROM --platform=$TARGETPLATFORM x", good: "FROM --platform=$BUILDPLATFORM x", line: 1},
		{rule: "SecretsUsedInArgOrEnv", bad: "FROM x\nENV API_KEY=1", good: "FROM x\nENV API_KEY_FILE=1 KEYBOARD=2", line: 2},
		{rule: "SecretsUsedInArgOrEnv", bad: "FROM x\nARG token", good: "FROM x\nARG TOKEN_VERSION TOKENS", line: 2},
		{rule: "InvalidDefaultArgInFrom", bad: "ARG V\nFROM x:$V", good: "ARG V=1\nFROM x:$V", line: 2, o: LintOptions{Args: NewVars([]string{"V=2"})}},
		{rule: "FromPlatformFlagConstDisallowed", bad: "FROM --platform=linux/amd64 x AS y", good: "FROM --platform=linux/amd64 x AS y-amd64", line: 1},
		{rule: "CopyIgnoredFile", bad: "FROM x\nCOPY a ./hidden b/", good: "FROM x AS y\nFROM x\nCOPY --from=y hidden b", line: 2, o: hides},
		{rule: "CopyIgnoredFile", bad: "FROM x\nADD hidden b/", good: "FROM x\nADD https://h/hidden b/", line: 2, o: hides},
		{rule: "InvalidDefinitionDescription", bad: "# what it is\nARG a=1\nFROM x", good: "# a what it is\nARG a=1\nFROM x", line: 2},
		{rule: "ExposeProtoCasing", bad: "FROM x\nEXPOSE 80/TCP", good: "FROM x\nEXPOSE 80/tcp", line: 2},
		{rule: "ExposeInvalidFormat", bad: "FROM x\nEXPOSE 8080:80", good: "FROM x\nEXPOSE 8080-8081", line: 2},
	} {
		rules[tt.rule] = true
		t.Run(tt.rule, func(t *testing.T) {
			assert.DeepEqual(t, found(t, tt.bad, tt.o), []string{fmt.Sprintf("%s:%d", tt.rule, tt.line)})
			assert.DeepEqual(t, found(t, tt.good, tt.o), []string{})
			// And it can be switched off, in the file and for one instruction.
			skip := LintOptions{Check: &CheckOptions{Skip: []string{tt.rule}}, Args: tt.o.Args, TargetPlatform: tt.o.TargetPlatform, Ignored: tt.o.Ignored}
			assert.DeepEqual(t, found(t, tt.bad, skip), []string{})
		})
	}
	assert.Equal(t, len(rules), 22)
}

func TestRuleText(t *testing.T) {
	f := parse(t, "FROM x\nENV HOST=1\nCOPY $HOTS /\n")
	w := Lint(f, LintOptions{Base: known})[0]
	assert.Equal(t, w.Text, "Usage of undefined variable '$HOTS' (did you mean $HOST?)")
	assert.Equal(t, w.URL, "https://docs.docker.com/go/dockerfile/rule/undefined-var/")
	assert.Equal(t, w.Range, Range{3, 3})
	// What the base image sets is not known: no complaint.
	assert.Equal(t, len(Lint(f, LintOptions{})), 0)
	w = Lint(parse(t, "ARG VERSION\nFROM x:1$VERSIO\n"), LintOptions{})[0]
	assert.Equal(t, w.Text, "FROM argument 'VERSIO' is not declared (did you mean VERSION?)")
}

func TestCheckDirective(t *testing.T) {
	src := "FROM x as y\nMAINTAINER a\n"
	assert.DeepEqual(t, found(t, "# check=skip=all\n"+src, LintOptions{Check: nil}), []string{})
	assert.DeepEqual(t, found(t, "# check=skip=FromAsCasing\n"+src, LintOptions{}), []string{"MaintainerDeprecated:3"})
	assert.DeepEqual(t, found(t, "FROM x as y\n# check=skip=MaintainerDeprecated\nMAINTAINER a\n", LintOptions{}), []string{"FromAsCasing:1"})
	// Experimental rules have to be asked for.
	assert.Equal(t, len(Lint(parse(t, "# what it is\nARG a=1\nFROM x"), LintOptions{})), 0)

	f := parse(t, "# check=error=true\n"+src)
	r := Check(f, LintOptions{})
	e, ok := r.Err.(*Error)
	assert.Assert(t, ok, "%v", r.Err)
	assert.Equal(t, e.Msg, "lint violation found for rules: FromAsCasing, MaintainerDeprecated")
	assert.Equal(t, e.Line(), 2)
	assert.NilError(t, Check(f, LintOptions{Check: &CheckOptions{SkipAll: true, Error: true}}).Err)
	assert.NilError(t, Check(parse(t, "# check=error=true\nFROM x"), LintOptions{}).Err)
}

func TestCheckMistakes(t *testing.T) {
	for src, want := range map[string]string{
		"FROM $a":                               "1: base name ($a) should not be blank",
		"FROM --platform=a/b/c/d x":             "1: --platform=a/b/c/d",
		"FROM x AS a\nUSER ${x:?why}\nFROM x":   "2: expand",
		"FROM x AS a\nEXPOSE x\nFROM a":         `2: invalid port "x"`,
		"ARG a=${b?c}\nFROM x":                  "1: expand",
		"FROM x\nONBUILD RUNN a\nFROM x":        "",
		"FROM x AS a\nONBUILD RUNN a\nFROM a\n": "3: parse ONBUILD trigger",
	} {
		r := Check(parse(t, src), LintOptions{})
		if want == "" {
			assert.NilError(t, r.Err)
			continue
		}
		assert.ErrorContains(t, r.Err, "Dockerfile:"+want)
	}
}

// Only what is built is looked into when NeededOnly or Target say so.
func TestNeeded(t *testing.T) {
	src := `FROM x AS a
CMD a
FROM x AS b
CMD b
FROM x AS c
COPY --from=a / /
FROM c AS d
RUN --mount=from=b,target=/b true
FROM x AS e
CMD e
FROM c
`
	assert.DeepEqual(t, found(t, src, LintOptions{}), []string{"JSONArgsRecommended:2", "JSONArgsRecommended:4", "JSONArgsRecommended:10"})
	assert.DeepEqual(t, found(t, src, LintOptions{NeededOnly: true}), []string{"JSONArgsRecommended:2"})
	assert.DeepEqual(t, found(t, src, LintOptions{Target: "D"}), []string{"JSONArgsRecommended:2", "JSONArgsRecommended:4"})
	assert.ErrorContains(t, Check(parse(t, src), LintOptions{Target: "f"}).Err, `target stage "f" could not be found`)
}

// Triggers are looked at where they fire.
func TestLintTriggers(t *testing.T) {
	assert.DeepEqual(t, found(t, "FROM x AS a\nONBUILD CMD a\nFROM a AS b\nFROM b", LintOptions{}), []string{"JSONArgsRecommended:3"})
	base := func(string, ispec.Platform) (BaseImage, bool) {
		return BaseImage{Platform: ispec.Platform{OS: "linux", Architecture: "amd64"}, OnBuild: []string{"ENV A=1", "WORKDIR a"}, Shell: []string{"s"}}, true
	}
	assert.DeepEqual(t, found(t, "\nFROM x\nCOPY $A /\nCMD a", LintOptions{Base: base}), []string{"WorkdirRelativePath:2"})
}

func TestOutline(t *testing.T) {
	src := `# VERSION of the thing
ARG VERSION=1
ARG UNUSED=2
ARG FULL=$VERSION-x
FROM debian:$FULL AS base
# MODE debug or release
ARG MODE=debug TARGETARCH
RUN --mount=type=secret,id=tok,required --mount=type=ssh,required true
FROM x AS other
ARG OTHER
RUN --mount=type=secret,id=o true
# final what you want
FROM base AS final
ARG VERSION
ARG MODE=$VERSION
RUN --mount=type=secret,id=tok --mount=type=ssh,id=b true
`
	out, err := NewOutline(parse(t, src), LintOptions{Args: NewVars([]string{"VERSION=9"})})
	assert.NilError(t, err)
	assert.DeepEqual(t, out, &Outline{
		Name: "final", Description: "what you want",
		Args: []OutlineArg{
			{Name: "VERSION", Description: "of the thing", Value: "9", Range: Range{2, 2}},
			{Name: "FULL", Value: "9-x", Range: Range{4, 4}},
			{Name: "MODE", Value: "9", Range: Range{15, 15}},
		},
		Secrets: []OutlineCredential{{Name: "tok", Range: Range{16, 16}}},
		SSH:     []OutlineCredential{{Name: "default", Required: true, Range: Range{8, 8}}, {Name: "b", Range: Range{16, 16}}},
	})
	out, err = NewOutline(parse(t, src), LintOptions{Target: "other"})
	assert.NilError(t, err)
	assert.DeepEqual(t, out, &Outline{
		Name: "other", Args: []OutlineArg{{Name: "OTHER", Range: Range{10, 10}}}, Secrets: []OutlineCredential{{Name: "o", Range: Range{11, 11}}},
	})
	_, err = NewOutline(parse(t, src), LintOptions{Target: "no"})
	assert.ErrorContains(t, err, "could not be found")
}

func TestTargets(t *testing.T) {
	assert.DeepEqual(t, Targets(parse(t, "# a first\nFROM --platform=$P x AS a\nFROM a\n")), []Target{
		{Name: "a", Description: "first", Base: "x", Platform: "$P", Range: Range{2, 2}},
		{Default: true, Base: "a", Range: Range{3, 3}},
	})
}

func TestPlatformArgs(t *testing.T) {
	arm := ispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}
	vars := platformArgs(ispec.Platform{OS: "linux", Architecture: "amd64"}, arm, "", NewVars([]string{"TARGETARCH=mine"}))
	assert.Equal(t, strings.Join(vars.Slice(), " "), "BUILDPLATFORM=linux/amd64 BUILDOS=linux BUILDOSVERSION= BUILDARCH=amd64 BUILDVARIANT= "+
		"TARGETPLATFORM=linux/arm/v7 TARGETOS=linux TARGETOSVERSION= TARGETARCH=mine TARGETVARIANT=v7 TARGETSTAGE=default")
}
