package dockerfile

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The rules of this file are those of BuildKit's shell package, which FuzzWord compares it with. It is written here because that
// package has no bounds: one pattern can make gigabytes of a short line, and braces can be nested until the stack is used up.

const (
	// maxNesting is how deep ${...} may stand in each other.
	maxNesting = 100
	// maxMade is how many bytes the variables of one word may give, those in operands that are not used included. The kernel
	// passes no variable of more than 128 KiB to a program.
	maxMade = 1 << 20
	// maxMadeByFile is the same for all words that one Lex expands: for one evaluation of a file.
	maxMadeByFile = 64 << 20
	// maxMadeForShow is the same for a line that is only shown.
	maxMadeForShow = 8 << 10
)

// LimitError says that variables expand to more than this package allows.
type LimitError struct {
	// What is the thing there is too much of, with the limit.
	What string
	// Hint, when not empty, is another way.
	Hint string
}

func (e *LimitError) Error() string { return e.What }

// eof is the end of a word; no character has this value.
const eof rune = -1

// wordMode is how a word is read.
type wordMode struct {
	escape rune
	// keepQuotes and keepEscapes leave quotes and escapes in the result, plainQuotes takes quotes for letters, and keepUnset leaves
	// variables as they are written when they are not set.
	keepQuotes, keepEscapes, plainQuotes, keepUnset bool
}

// wordReader expands one word.
type wordReader struct {
	wordMode
	env  Environment
	rest string
	// raw says that the reader is in a pattern: escapes stay, for the pattern's own reader.
	raw       bool
	depth     int
	made      *allowance
	used      map[string]bool
	undefined map[string]bool
}

func newWordReader(mode wordMode, word string, env Environment, made *allowance) *wordReader {
	return &wordReader{
		wordMode: mode, env: env, rest: strings.TrimPrefix(word, "\ufeff"), raw: mode.keepEscapes, made: made,
		used: map[string]bool{}, undefined: map[string]bool{},
	}
}

func (r *wordReader) peek() rune {
	if r.rest == "" {
		return eof
	}
	c, _ := utf8.DecodeRuneInString(r.rest)
	return c
}

func (r *wordReader) next() rune {
	if r.rest == "" {
		return eof
	}
	c, size := utf8.DecodeRuneInString(r.rest)
	r.rest = r.rest[size:]
	return c
}

// until reads to the character stop, which it takes, or to the end where stop is eof. raw says whether escapes stay; pattern
// that what was quoted must not be taken for a wildcard later.
func (r *wordReader) until(stop rune, raw, pattern bool) (string, error) {
	was := r.raw
	r.raw = raw
	defer func() { r.raw = was }()
	var out strings.Builder
	for {
		c := r.peek()
		switch {
		case c == stop:
			r.next()
			return out.String(), nil
		case c == eof:
			return "", fmt.Errorf("unexpected end of statement while looking for matching %c", stop)
		}
		text, _, err := r.piece(pattern)
		if err != nil {
			return "", err
		}
		out.WriteString(text)
	}
}

// pieceKind says where a piece comes from, which decides whether spaces in it split words.
type pieceKind int

const (
	quotedPiece pieceKind = iota // spaces do not split
	plainPiece                   // what a variable gave, or one character as it is written
)

// piece reads a quoted string, a variable or one character, and expands it.
func (r *wordReader) piece(pattern bool) (string, pieceKind, error) {
	c := r.peek()
	switch {
	case c == '$':
		text, err := r.dollar()
		return text, plainPiece, err
	case c == '\'' && !r.plainQuotes:
		text, err := r.singleQuoted(pattern)
		return text, quotedPiece, err
	case c == '"' && !r.plainQuotes:
		text, err := r.doubleQuoted(pattern)
		return text, quotedPiece, err
	case c == '<':
		return r.angle(), quotedPiece, nil
	}
	if c = r.next(); c != r.escape {
		return string(c), plainPiece, nil
	}
	prefix := ""
	if r.raw {
		prefix = string(c)
	}
	if c = r.next(); c == eof {
		return prefix, quotedPiece, nil
	}
	return prefix + string(c), quotedPiece, nil
}

// angle reads a < and, where it begins a heredoc, the spaces before the heredoc's name.
func (r *wordReader) angle() string {
	r.next()
	if r.peek() != '<' {
		return "<"
	}
	r.next()
	name := strings.TrimLeft(r.rest, "\t\r ")
	spaces := r.rest[:len(r.rest)-len(name)]
	r.rest = name
	return "<<" + spaces
}

func (r *wordReader) singleQuoted(pattern bool) (string, error) {
	r.next()
	text, after, closed := strings.Cut(r.rest, "'")
	if !closed {
		r.rest = ""
		return "", errors.New("unexpected end of statement while looking for matching single-quote")
	}
	r.rest = after
	text = strings.Map(func(c rune) rune { return c }, text) // invalid bytes become U+FFFD, as everywhere in a word
	if pattern {
		text = strings.ReplaceAll(text, string(r.escape), string([]rune{r.escape, r.escape}))
	}
	if r.keepQuotes {
		text = "'" + text + "'"
	}
	return text, nil
}

func (r *wordReader) doubleQuoted(pattern bool) (string, error) {
	var out strings.Builder
	r.next()
	if r.keepQuotes {
		out.WriteByte('"')
	}
	for {
		switch r.peek() {
		case eof:
			return "", errors.New("unexpected end of statement while looking for matching double-quote")
		case '"':
			r.next()
			if r.keepQuotes {
				out.WriteByte('"')
			}
			return out.String(), nil
		case '$':
			value, err := r.dollar()
			if err != nil {
				return "", err
			}
			out.WriteString(value)
			continue
		}
		c := r.next()
		if c != r.escape {
			out.WriteRune(c)
			continue
		}
		switch r.peek() {
		case eof:
			continue
		case '"', '$', r.escape:
			if r.raw {
				out.WriteRune(c)
			}
			c = r.next()
		default:
			if r.raw && (!r.keepQuotes || pattern) {
				out.WriteRune(c)
			}
		}
		out.WriteRune(c)
	}
}

// name reads a variable's name: letters, digits and underscores, a number, or one of the shell's special parameters.
func (r *wordReader) name() string {
	c := r.peek()
	if c != eof && !unicode.IsDigit(c) && strings.ContainsRune("@*#?-$!", c) {
		r.next()
		return string(c)
	}
	ok := func(c rune) bool { return unicode.IsLetter(c) || unicode.IsDigit(c) || c == '_' }
	if unicode.IsDigit(c) {
		ok = unicode.IsDigit
	}
	rest := strings.TrimLeftFunc(r.rest, ok)
	name := r.rest[:len(r.rest)-len(rest)]
	r.rest = rest
	return name
}

func (r *wordReader) get(name string) (string, bool) {
	value, set := r.env.Get(name)
	if set {
		r.used[name] = true
	} else {
		r.undefined[name] = true
	}
	return value, set
}

// words expands the word and splits the result at spaces that are not quoted.
func (r *wordReader) words() ([]string, error) {
	var words []string
	var word strings.Builder
	end := func() {
		if word.Len() > 0 {
			words = append(words, word.String())
			word.Reset()
		}
	}
	for r.peek() != eof {
		text, kind, err := r.piece(false)
		if err != nil {
			return nil, err
		}
		if kind == quotedPiece {
			word.WriteString(text)
			continue
		}
		for _, c := range text {
			if unicode.IsSpace(c) {
				end()
			} else {
				word.WriteRune(c)
			}
		}
	}
	end()
	return words, nil
}
