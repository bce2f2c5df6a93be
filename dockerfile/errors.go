package dockerfile

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/command"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/util/suggest"
)

// Error is a mistake in a Dockerfile, with its place.
type Error struct {
	File string
	// Ranges are the lines that are wrong; empty when no line is.
	Ranges []Range
	// Msg says what is wrong; Hint, when not empty, what may have been meant ("did you mean RUN?"). Error leaves the
	// hint out.
	Msg  string
	Hint string
	// Text is the whole file, for Excerpt.
	Text []byte
}

// Error returns "file:line: message".
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if line := e.Line(); line > 0 {
			fmt.Fprintf(&b, ":%d", line)
		}
		b.WriteString(": ")
	}
	b.WriteString(e.Msg)
	return b.String()
}

// Line is the first line of the first range, or 0.
func (e *Error) Line() int {
	if len(e.Ranges) == 0 {
		return 0
	}
	return e.Ranges[0].Start
}

// Excerpt returns the lines around the mistake, the wrong ones marked; empty when the error has no place.
func (e *Error) Excerpt() string { return Excerpt(e.Text, e.Ranges) }

// What an excerpt shows of a long range, such as a heredoc of a thousand lines, and of a long line.
const (
	excerptLines = 12 // in all, of which the last excerptTail are the range's end
	excerptTail  = 3
	excerptWidth = 200 // characters
)

// Excerpt returns the lines of src around ranges as BuildKit prints them: numbered, a few lines of surroundings, ">>>" at
// the lines in a range, rulers above and below. The middle of a long range is left out, and so is the end of a long line. It is
// empty when the ranges name no line of src.
func Excerpt(src []byte, ranges []Range) string {
	start, end := bounds(ranges)
	lines := strings.Split(strings.TrimSuffix(string(src), "\n"), "\n")
	if start < 1 || start > len(lines) {
		return ""
	}
	end = min(end, len(lines))
	from, to := surround(start, end, len(lines))
	var b strings.Builder
	const ruler = "--------------------\n"
	b.WriteString(ruler)
	for i := from; i <= to; i++ {
		if hidden := to - i + 1 - excerptTail; i-from == excerptLines-excerptTail-1 && hidden > 1 {
			fmt.Fprintf(&b, " ... | ... %d more lines\n", hidden)
			i += hidden - 1
			continue
		}
		mark := "   "
		if contains(ranges, i) {
			mark = ">>>"
		}
		fmt.Fprintf(&b, " %3d | %s %s\n", i, mark, shorten(strings.TrimSuffix(lines[i-1], "\r")))
	}
	b.WriteString(ruler)
	return b.String()
}

// shorten cuts a line at excerptWidth characters.
func shorten(line string) string {
	if len(line) <= excerptWidth {
		return line
	}
	n := 0
	for i := range line {
		if n++; n == excerptWidth {
			return line[:i] + "…"
		}
	}
	return line
}

// surround widens start..end by up to four lines in all around a single line and two around several; what one side lacks
// the other gets only in part, as in BuildKit.
func surround(start, end, last int) (from, to int) {
	padding := 2
	if start == end {
		padding = 4
	}
	for used := 0; used < padding; used++ {
		if start > 1 {
			start--
			used++
		}
		if end < last {
			end++
			used++
		}
	}
	return start, end
}

func bounds(ranges []Range) (start, end int) {
	for _, r := range ranges {
		if r.IsZero() {
			continue
		}
		if start == 0 || r.Start < start {
			start = r.Start
		}
		end = max(end, r.Start, r.End)
	}
	return start, end
}

func contains(ranges []Range, line int) bool {
	return slices.ContainsFunc(ranges, func(r Range) bool { return r.Start <= line && line <= max(r.Start, r.End) })
}

func (o *origin) errorf(r Range, format string, args ...any) *Error {
	e := &Error{Msg: fmt.Sprintf(format, args...)}
	if o != nil {
		e.File, e.Text = o.name, o.text
	}
	if !r.IsZero() {
		e.Ranges = []Range{r}
	}
	return e
}

// wrap makes an Error of one that BuildKit's packages gave: its place and its suggestion are taken out of the text.
func (o *origin) wrap(err error, r Range) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	e := o.errorf(r, "%s", message(err))
	if loc, ok := errors.AsType[*parser.LocationError](err); ok && r.IsZero() {
		e.Ranges = merge(loc.Locations)
	}
	if unknown, ok := errors.AsType[*instructions.UnknownInstructionError](err); ok {
		e.Msg, e.Hint = unknown.Error(), ""
		if match := nearest(unknown.Instruction, keywords(), false); match != "" {
			e.Hint = didYouMean(match)
		}
		return e
	}
	if limit, ok := errors.AsType[*LimitError](err); ok {
		e.Hint = limit.Hint
		return e
	}
	if m := suggestion.FindStringSubmatch(e.Msg); m != nil {
		e.Msg, e.Hint = strings.Replace(e.Msg, m[0], "", 1), didYouMean(m[1])
		if strings.HasPrefix(e.Msg, "unknown flag") {
			e.Hint = didYouMean("--" + m[1])
		}
	}
	return e
}

var (
	suggestion = regexp.MustCompile(` \(did you mean ([^()]*)\?\)`)
	linePrefix = regexp.MustCompile(`^dockerfile parse error on line \d+: `)
)

// message is err's text without what an Error says in its own way.
func message(err error) string {
	msg := linePrefix.ReplaceAllString(err.Error(), "")
	return strings.TrimPrefix(msg, "failed to ")
}

func didYouMean(match string) string { return "did you mean " + match + "?" }

// nearest returns the option most like word, or "" when none is like it. Ties go to the first in alphabetical order, so
// that the same mistake always gets the same answer.
func nearest(word string, options []string, caseSensitive bool) string {
	match, _ := suggest.Search(word, slices.Sorted(slices.Values(options)), caseSensitive)
	return match
}

func keywords() []string {
	var all []string
	for name := range command.Commands {
		all = append(all, strings.ToUpper(name))
	}
	return all
}

// merge joins the per-line ranges of BuildKit to runs of lines, sorted.
func merge(locations [][]parser.Range) []Range {
	var all []Range
	for _, l := range locations {
		for _, r := range l {
			if r.Start.Line > 0 {
				all = append(all, Range{r.Start.Line, max(r.Start.Line, r.End.Line)})
			}
		}
	}
	slices.SortFunc(all, func(a, b Range) int { return a.Start - b.Start })
	var merged []Range
	for _, r := range all {
		if n := len(merged); n > 0 && r.Start <= merged[n-1].End+1 {
			merged[n-1].End = max(merged[n-1].End, r.End)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}
