package dockerfile

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
)

const (
	// maxMatching bounds the work of one pattern: the value's length times the pattern's, more or less.
	maxMatching = 1 << 22
	// maxMatchingByFile is the same for all patterns that one Lex matches.
	maxMatchingByFile = 1 << 27
	// patternCost is what a pattern costs for each of its characters without any value.
	patternCost = 256
)

// largeHint is another way for large values.
const largeHint = "put large values in a file, and read it with COPY or RUN --mount=type=bind"

// allowance is what expanding a word may still cost.
type allowance struct {
	// made are bytes of values.
	made int
	file *spent
}

// spent is what the words of a file have cost so far. It may be used by several goroutines.
type spent struct{ made, matched atomic.Int64 }

// take counts n bytes of a value.
func (a *allowance) take(n int) error {
	if a.made -= n; a.made < 0 {
		return &LimitError{fmt.Sprintf("the variables in it expand to more than %d bytes", maxMade), largeHint}
	}
	if a.file != nil {
		return a.file.make(n)
	}
	return nil
}

// make counts n bytes that came out of less.
func (s *spent) make(n int) error {
	if s.made.Add(int64(n)) > maxMadeByFile {
		return &LimitError{fmt.Sprintf("the variables and ports of this file expand to more than %d bytes in all", maxMadeByFile), largeHint}
	}
	return nil
}

// compile makes a regular expression of a pattern that will be matched against a value.
func (a *allowance) compile(pattern, value string, greedy, anchored bool) (*regexp.Regexp, error) {
	cost := int64(len(pattern)+1) * int64(len(value)+patternCost)
	if cost > maxMatching || a.file != nil && a.file.matched.Add(cost) > maxMatchingByFile {
		return nil, &LimitError{What: fmt.Sprintf("a pattern of %d bytes and a value of %d are too much work", len(pattern), len(value))}
	}
	text, err := patternText(pattern, greedy)
	if err != nil {
		return nil, fmt.Errorf("invalid pattern (%s) in substitution: %w", short(pattern), err)
	}
	if anchored {
		text = "^" + text
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("invalid pattern (%s) in substitution: %w", short(pattern), err)
	}
	return re, nil
}

// patternText translates the shell's wildcards, of which there are only * and ?. The escape character of patterns is always the
// backslash.
func patternText(pattern string, greedy bool) (string, error) {
	star := ".*?"
	if greedy {
		star = ".*"
	}
	var out strings.Builder
	escaped := false
	for _, c := range strings.TrimPrefix(pattern, "\ufeff") {
		switch {
		case escaped && (c == '}' || c == '/'), escaped && (c == '*' || c == '?' || c == '\\'):
			out.WriteString(regexp.QuoteMeta(string(c)))
			escaped = false
		case escaped:
			return "", fmt.Errorf("invalid escape '\\%c'", c)
		case c == '\\':
			escaped = true
		case c == '*':
			out.WriteString(star)
		case c == '?':
			out.WriteByte('.')
		default:
			out.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	if escaped {
		return "", errors.New("invalid escape at the end")
	}
	return out.String(), nil
}

// trimPrefix removes what the pattern matches at the value's beginning: the longest if greedy, else the shortest.
func (a *allowance) trimPrefix(value, pattern string, greedy bool) (string, error) {
	re, err := a.compile(pattern, value, greedy, true)
	if err != nil {
		return "", err
	}
	if at := re.FindStringIndex(value); at != nil {
		return value[at[1]:], nil
	}
	return value, nil
}

// trimSuffix is trimPrefix on both strings reversed: regular expressions find the leftmost match, not the rightmost.
func (a *allowance) trimSuffix(value, pattern string, greedy bool) (string, error) {
	rest, err := a.trimPrefix(reversed(value), reversedPattern(pattern), greedy)
	return reversed(rest), err
}

func reversed(s string) string {
	r := []rune(s)
	slices.Reverse(r)
	return string(r)
}

// reversedPattern keeps escapes before what they escape.
func reversedPattern(pattern string) string {
	in := []rune(pattern)
	out := make([]rune, 0, len(in))
	for i := len(in) - 1; i >= 0; i-- {
		out = append(out, in[i])
	}
	// Each escape now stands behind its character. Read forwards to know which backslashes are escapes.
	for i := 0; i < len(in)-1; i++ {
		if in[i] == '\\' {
			at := len(in) - 1 - i
			out[at-1], out[at] = out[at], out[at-1]
			i++
		}
	}
	return string(out)
}

// replace replaces the first match of the pattern, or all of them. As with BuildKit, $0 in the text for all matches stands for
// the match.
func (a *allowance) replace(value, pattern, text string, all bool) (string, error) {
	re, err := a.compile(pattern, value, true, false)
	if err != nil {
		return "", err
	}
	if !all {
		at := re.FindStringIndex(value)
		if at == nil {
			return value, nil
		}
		return value[:at[0]] + text + value[at[1]:], nil
	}
	var limit error
	quotes := strings.Count(text, "$")
	out := re.ReplaceAllStringFunc(value, func(match string) string {
		if limit != nil {
			return ""
		}
		if limit = a.take(len(text) + quotes*len(match)); limit != nil {
			return ""
		}
		if quotes == 0 {
			return text
		}
		return string(re.ExpandString(nil, text, match, []int{0, len(match)}))
	})
	return out, limit
}

// short cuts a text that a message quotes.
func short(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
