package dockerfile

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
)

// baseNames runs InvalidDefaultArgInFrom: base names have to be valid when no build argument is given.
func (w *walker) baseNames(predefined Vars) {
	globals, err := w.f.globals(predefined, Vars{})
	if err != nil {
		return
	}
	for _, s := range w.f.Stages {
		name, _, err := w.lex.Word(s.Base, globals)
		if err != nil {
			return
		}
		if _, err := reference.ParseNormalizedNamed(name); err != nil {
			w.rules.linter.Run(&linter.RuleInvalidDefaultArgInFrom, location(s.Range),
				linter.RuleInvalidDefaultArgInFrom.Format(s.Base))
		}
	}
}

// undeclared runs UndefinedArgInFrom.
func (w *walker) undeclared(l *linter.Linter, s *Stage, e Expansion) {
	for _, name := range e.Undefined {
		if w.f.declaresGlobal(name) {
			continue
		}
		keys := w.args.Global.Keys()
		for _, a := range w.f.Args {
			for _, def := range a.Defs {
				keys = append(keys, def.Name)
			}
		}
		l.Run(&linter.RuleUndefinedArgInFrom, location(s.Range), linter.RuleUndefinedArgInFrom.Format(name, nearest(name, keys, true)))
	}
}

// platformFlag runs RedundantTargetPlatform and FromPlatformFlagConstDisallowed.
func (w *walker) platformFlag(l *linter.Linter, s *Stage, e Expansion) {
	target, _ := w.args.Global.Get("TARGETPLATFORM")
	if slices.Equal(e.Used, []string{"TARGETPLATFORM"}) && len(e.Undefined) == 0 && e.Text == target {
		l.Run(&linter.RuleRedundantTargetPlatform, location(s.Range), linter.RuleRedundantTargetPlatform.Format(s.Platform))
	}
	if len(e.Used)+len(e.Undefined) > 0 {
		return
	}
	// A stage that is named after its platform has a reason for it.
	p, err := platforms.Parse(e.Text)
	if err != nil || strings.Contains(s.Name, p.OS) || strings.Contains(s.Name, p.Architecture) {
		return
	}
	l.Run(&linter.RuleFromPlatformFlagConstDisallowed, location(s.Range), linter.RuleFromPlatformFlagConstDisallowed.Format(e.Text))
}

// basePlatform runs InvalidBaseImagePlatform.
func (w *walker) basePlatform(s *Stage, b base, image BaseImage) {
	want, have := b.platform, image.Platform
	if want.OS == have.OS && want.Architecture == have.Architecture {
		return
	}
	w.rules.linter.Run(&linter.RuleInvalidBaseImagePlatform, location(s.Range), linter.RuleInvalidBaseImagePlatform.Format(
		b.ref, platforms.FormatAll(platforms.Normalize(want)), platforms.FormatAll(platforms.Normalize(have))))
}

// undefined runs UndefinedVar. An ARG without a value counts as defined; nothing is said where the base image's
// variables are not known.
func (w *walker) undefined(l *linter.Linter, st *findings, src *written, names []string) {
	for _, name := range names {
		declared := slices.ContainsFunc(st.scope.Args, func(a ArgValue) bool { return a.Name == name })
		if declared || !st.known || !isEnvironmentArg(name) {
			continue
		}
		l.Run(&linter.RuleUndefinedVar, location(src.at), linter.RuleUndefinedVar.Format(name, nearest(name, st.scope.Env.Keys(), true)))
	}
}

// pairs runs LegacyKeyValueFormat on ENV and LABEL.
func (w *walker) pairs(l *linter.Linter, src *written) {
	parsed, err := parseNode(src.node)
	if err != nil {
		return
	}
	var all instructions.KeyValuePairs
	switch c := parsed.(type) {
	case *instructions.EnvCommand:
		all = c.Env
	case *instructions.LabelCommand:
		all = c.Labels
	}
	for _, kv := range all {
		if kv.NoDelim {
			l.Run(&linter.RuleLegacyKeyValueFormat, location(src.at), linter.RuleLegacyKeyValueFormat.Format(src.node.Value))
		}
	}
}

// A name is secret when one of its words, between underscores, is one of these and none says that it is harmless.
var (
	secretWords   = regexp.MustCompile(`(?i)(^|_)(apikey|auth|credentials?|key|password|pword|passwd|secret|token)(_|$)`)
	harmlessWords = regexp.MustCompile(`(?i)(^|_)(public|file|version)(_|$)`)
)

// secretName runs SecretsUsedInArgOrEnv.
func (w *walker) secretName(l *linter.Linter, src *written, keyword, name string) {
	if secretWords.MatchString(name) && !harmlessWords.MatchString(name) {
		l.Run(&linter.RuleSecretsUsedInArgOrEnv, location(src.at), linter.RuleSecretsUsedInArgOrEnv.Format(keyword, name))
	}
}

// once runs MultipleInstructionsDisallowed: the one before, which has no effect, is reported.
func (w *walker) once(l *linter.Linter, src *written, last *Range) {
	if !last.IsZero() {
		l.Run(&linter.RuleMultipleInstructionsDisallowed, location(*last),
			linter.RuleMultipleInstructionsDisallowed.Format(src.node.Value))
	}
	*last = src.at
}

// jsonArgs runs JSONArgsRecommended. Who sets SHELL has chosen the shell form.
func (w *walker) jsonArgs(l *linter.Linter, st *findings, src *written, c Command) {
	if c.Shell && len(st.scope.Shell) == 0 {
		l.Run(&linter.RuleJSONArgsRecommended, location(src.at), linter.RuleJSONArgsRecommended.Format(src.node.Value))
	}
}

// ports runs ExposeProtoCasing and ExposeInvalidFormat.
func (w *walker) ports(l *linter.Linter, st *findings, src *written) error {
	parsed, err := parseNode(src.node)
	if err != nil {
		return src.from.wrap(err, src.at)
	}
	for _, raw := range parsed.(*instructions.ExposeCommand).Ports {
		words, err := w.lex.Words(raw, st.scope.Env)
		if err != nil {
			return src.from.wrap(err, src.at)
		}
		for _, word := range words {
			p, err := parsePort(word)
			if err != nil {
				return src.from.wrap(err, src.at)
			}
			if p.protocol != strings.ToLower(p.protocol) {
				l.Run(&linter.RuleExposeProtoCasing, location(src.at), linter.RuleExposeProtoCasing.Format(word))
			}
			if p.hostIP != "" || p.hostPort != "" {
				l.Run(&linter.RuleExposeInvalidFormat, location(src.at), linter.RuleExposeInvalidFormat.Format(word))
			}
		}
	}
	return nil
}

// relativeWorkdir runs WorkdirRelativePath on the first WORKDIR of a stage and the stages below it.
func (w *walker) relativeWorkdir(l *linter.Linter, st *findings, src *written, dir string) {
	if !st.workdir && !path.IsAbs(dir) {
		l.Run(&linter.RuleWorkdirRelativePath, location(src.at), linter.RuleWorkdirRelativePath.Format(dir))
	}
	st.workdir = true
}

// ignoredSources runs CopyIgnoredFile.
func (w *walker) ignoredSources(l *linter.Linter, src *written, c *Copy) {
	if w.o.Ignored == nil || c.From != "" {
		return
	}
	verb := "Copy"
	if c.Add {
		verb = "Add"
	}
	for _, s := range c.Sources {
		// Expand has accepted every source.
		if parsed, err := ParseSource(s); err != nil || parsed.Kind != LocalSource {
			continue
		}
		if s = path.Clean(s); w.o.Ignored(s) {
			l.Run(&linter.RuleCopyIgnoredFile, location(src.at), linter.RuleCopyIgnoredFile.Format(verb, s))
		}
	}
}
