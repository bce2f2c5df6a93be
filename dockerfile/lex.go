package dockerfile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Environment is a set of variables.
type Environment interface {
	// Get returns a variable's value and whether it is set.
	Get(key string) (string, bool)
	// Keys are the names of all that are set.
	Keys() []string
}

// Vars is an Environment that keeps its order. It is a value: With returns another one. The zero value is empty.
type Vars struct{ pairs []KeyValue }

// NewVars makes Vars of "key=value" strings, as an image's config has them. Of two with one key the later counts.
func NewVars(env []string) Vars {
	var v Vars
	for _, e := range env {
		key, value, _ := strings.Cut(e, "=")
		v = v.With(key, value)
	}
	return v
}

// With returns the variables with key set to value, in its old place or at the end.
func (v Vars) With(key, value string) Vars {
	pairs := slices.Clone(v.pairs)
	if i := v.find(key); i >= 0 {
		pairs[i].Value = value
	} else {
		pairs = append(pairs, KeyValue{key, value})
	}
	return Vars{pairs}
}

// Get returns the value of key.
func (v Vars) Get(key string) (string, bool) {
	if i := v.find(key); i >= 0 {
		return v.pairs[i].Value, true
	}
	return "", false
}

// Keys returns the names in order.
func (v Vars) Keys() []string {
	keys := make([]string, 0, len(v.pairs))
	for _, kv := range v.pairs {
		keys = append(keys, kv.Key)
	}
	return keys
}

// Slice returns the variables as "key=value" strings, in order.
func (v Vars) Slice() []string {
	env := make([]string, 0, len(v.pairs))
	for _, kv := range v.pairs {
		env = append(env, kv.Key+"="+kv.Value)
	}
	return env
}

func (v Vars) find(key string) int {
	return slices.IndexFunc(v.pairs, func(kv KeyValue) bool { return kv.Key == key })
}

// Lex expands variables and removes quotes in words, as a shell would: $v, ${v}, the operators :- - :+ + :? ? # ## % %% / and
// // nested at will, single quotes that suppress, double quotes that keep, the escape character.
//
// What variables may expand to is bounded: in one word, and in all words of one Lex. More is a *LimitError. Its methods may be
// called from several goroutines.
type Lex struct {
	escape rune
	spent  spent
}

// NewLex returns a Lex for files with that escape character. Each evaluation of a file takes a new one.
func NewLex(escape rune) *Lex { return &Lex{escape: escape} }

// Expansion is an expanded word.
type Expansion struct {
	Text string
	// Used and Undefined are the names of the variables in the word that are set and not set, sorted.
	Used      []string
	Undefined []string
}

// Word expands one word and returns the names of variables in it that are not set, sorted; they expand to nothing.
func (l *Lex) Word(word string, env Environment) (string, []string, error) {
	e, err := l.Expand(word, env)
	return e.Text, e.Undefined, err
}

// Expand is Word that also tells which variables were used.
func (l *Lex) Expand(word string, env Environment) (Expansion, error) {
	return expand(wordMode{escape: l.escape}, word, env, l.allowance())
}

// Words expands word and splits the result at spaces that are not quoted.
func (l *Lex) Words(word string, env Environment) ([]string, error) {
	words, err := newWordReader(wordMode{escape: l.escape}, word, env, l.allowance()).words()
	return words, about(word, err)
}

// text expands the content of a heredoc: quotes stay, and the escape character is a backslash whatever the file says.
func (l *Lex) text(content string, env Environment) (Expansion, error) {
	return expand(wordMode{escape: '\\', plainQuotes: true}, content, env, l.allowance())
}

// display expands a RUN's line for show: quotes, escapes and unset variables stay as they are.
func (l *Lex) display(line string, env Environment) (Expansion, error) {
	return expand(wordMode{escape: l.escape, keepQuotes: true, keepEscapes: true, keepUnset: true}, line, env, forShow())
}

// shown expands any other instruction's line for show.
func (l *Lex) shown(line string, env Environment) (Expansion, error) {
	return expand(wordMode{escape: l.escape}, line, env, forShow())
}

func (l *Lex) allowance() *allowance { return &allowance{made: maxMade, file: &l.spent} }

func forShow() *allowance { return &allowance{made: maxMadeForShow} }

func expand(mode wordMode, word string, env Environment, made *allowance) (Expansion, error) {
	r := newWordReader(mode, word, env, made)
	text, err := r.until(eof, r.raw, false)
	return Expansion{
		Text: text, Used: slices.Sorted(maps.Keys(r.used)), Undefined: slices.Sorted(maps.Keys(r.undefined)),
	}, about(word, err)
}

// about says which word an error is about.
func about(word string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("expand %q: %w", short(word), err)
}
