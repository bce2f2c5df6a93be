package dockerfile

import (
	"cmp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// LintOptions are what Check, Lint and NewOutline have to know of the build. The zero value checks all stages, with no
// build arguments and base images that nobody knows.
type LintOptions struct {
	// Target is the stage that would be built: stages that it does not need are then not looked into. Empty means all
	// stages or, with NeededOnly (as when building without --target), those that the last one needs.
	Target     string
	NeededOnly bool
	// Args are the --build-arg values.
	Args Vars
	// BuildPlatform is the machine's; TargetPlatform that of the image. Zero values mean linux/amd64.
	BuildPlatform  ispec.Platform
	TargetPlatform ispec.Platform
	// Base tells about an image that a FROM names, for the platform that the FROM asks for. It returns false when it
	// does not know: then its variables are not known either, and none is reported as undefined. nil knows nothing.
	Base func(ref string, platform ispec.Platform) (BaseImage, bool)
	// Ignored tells whether .dockerignore surely hides a source of COPY or ADD (ignore.Matcher.HidesSource). nil hides
	// none.
	Ignored func(source string) bool
	// Check replaces the options of "# check=" (BUILDKIT_DOCKERFILE_CHECK); nil leaves those.
	Check *CheckOptions
}

// Report is the result of Check.
type Report struct {
	// Warnings are the violations, sorted by line.
	Warnings []Warning
	// Err is the mistake that would stop a build, an *Error, or else, with error=true, that there are violations. It is
	// nil for a file that can be built as far as can be seen here.
	Err error
}

// Lint returns the violations of BuildKit's lint rules in f, sorted by line. Rules that "# check=skip=" names are
// silent.
func Lint(f *File, o LintOptions) []Warning { return Check(f, o).Warnings }

// Check evaluates f as a build would do, without building, and returns the violations of BuildKit's lint rules and the
// mistakes found.
func Check(f *File, o LintOptions) Report {
	l := newRuleLinter(f, o)
	l.file()
	_, err := walk(f, o, l)
	slices.SortStableFunc(l.warnings, func(a, b Warning) int { return cmp.Compare(a.Range.Start, b.Range.Start) })
	switch {
	case err != nil:
		return Report{l.warnings, err}
	case l.config.ReturnAsError && len(l.warnings) > 0:
		return Report{l.warnings, l.violations()}
	}
	return Report{Warnings: l.warnings}
}

// ruleLinter collects what BuildKit's linter reports.
type ruleLinter struct {
	f        *File
	config   *linter.Config
	linter   *linter.Linter
	warnings []Warning
}

func newRuleLinter(f *File, o LintOptions) *ruleLinter {
	check := f.Check
	if o.Check != nil {
		check = *o.Check
	}
	l := &ruleLinter{f: f}
	l.config = &linter.Config{
		SkipAll: check.SkipAll, SkipRules: check.Skip, ExperimentalAll: check.ExperimentalAll, ExperimentalRules: check.Experimental,
		ReturnAsError: check.Error, Warn: l.warn,
	}
	l.linter = linter.New(l.config)
	return l
}

func (l *ruleLinter) warn(rule, description, url, text string, location []parser.Range) {
	w := Warning{Rule: rule, Description: description, URL: url, Text: text}
	if at := merge([][]parser.Range{location}); len(at) > 0 {
		w.Range = at[0]
	}
	l.warnings = append(l.warnings, w)
}

// violations is the error of error=true.
func (l *ruleLinter) violations() *Error {
	var rules []string
	var ranges []Range
	for _, w := range l.warnings {
		rules = append(rules, w.Rule)
		ranges = append(ranges, w.Range)
	}
	slices.Sort(rules)
	e := l.f.Errorf(Range{}, "lint violation found for rules: %s", strings.Join(slices.Compact(rules), ", "))
	e.Ranges = ranges
	return e
}

// file runs the rules that need only the text.
func (l *ruleLinter) file() {
	for _, at := range l.f.emptyContinuations {
		l.linter.Run(&linter.RuleNoEmptyContinuation, location(at), linter.RuleNoEmptyContinuation.Format())
	}
	for _, a := range l.f.Args {
		l.parse(a.node)
	}
	for _, s := range l.f.Stages {
		l.parse(s.at.node)
		for _, i := range s.Instructions {
			l.parse(i.place().node)
		}
	}
	l.stageNames()
	l.casing()
}

// parse runs the rules that BuildKit's instruction parser has in itself.
func (l *ruleLinter) parse(node *parser.Node) {
	// Parse has parsed the node without an error before.
	_, _ = instructions.ParseInstructionWithLinter(node, l.linter)
}

// stageNames runs ReservedStageName and DuplicateStageName.
func (l *ruleLinter) stageNames() {
	seen := map[string]bool{"": true}
	for _, s := range l.f.Stages {
		if s.Name == "context" || s.Name == "scratch" {
			l.linter.Run(&linter.RuleReservedStageName, location(s.Range), linter.RuleReservedStageName.Format(s.Name))
		}
		if seen[s.Name] && s.Name != "" {
			l.linter.Run(&linter.RuleDuplicateStageName, location(s.Range), linter.RuleDuplicateStageName.Format(s.Name))
		}
		seen[s.Name] = true
	}
}

// casing runs ConsistentInstructionCasing: the case that most instructions have is the right one.
func (l *ruleLinter) casing() {
	var all []*written
	for _, s := range l.f.Stages {
		all = append(all, &s.at)
		for _, i := range s.Instructions {
			all = append(all, i.place())
		}
	}
	lower, upper := 0, 0
	for _, w := range all {
		switch w.node.Value {
		case strings.ToLower(w.node.Value):
			lower++
		case strings.ToUpper(w.node.Value):
			upper++
		}
	}
	fix, name := strings.ToUpper, "uppercase"
	if lower > upper {
		fix, name = strings.ToLower, "lowercase"
	}
	for _, w := range all {
		if keyword := w.node.Value; keyword != fix(keyword) {
			l.linter.Run(&linter.RuleConsistentInstructionCasing, location(w.at),
				linter.RuleConsistentInstructionCasing.Format(keyword, name))
		}
	}
}

// location is r in BuildKit's form.
func location(r Range) []parser.Range {
	return []parser.Range{{Start: parser.Position{Line: r.Start}, End: parser.Position{Line: r.End}}}
}
