package dockerfile

import (
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
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
type Lex struct{ escape rune }

// NewLex returns a Lex for files with that escape character.
func NewLex(escape rune) *Lex { return &Lex{escape} }

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
	return expand(shell.NewLex(l.escape), word, env)
}

// Words expands word and splits the result at spaces that are not quoted.
func (l *Lex) Words(word string, env Environment) ([]string, error) {
	return shell.NewLex(l.escape).ProcessWords(word, env)
}

// text expands the content of a heredoc: quotes stay, and the escape character is a backslash whatever the file says.
func text(content string, env Environment) (Expansion, error) {
	lex := shell.NewLex('\\')
	lex.SkipProcessQuotes = true
	return expand(lex, content, env)
}

// display expands a RUN's line for show: quotes, escapes and unset variables stay as they are.
func (l *Lex) display(line string, env Environment) (Expansion, error) {
	lex := shell.NewLex(l.escape)
	lex.RawQuotes, lex.RawEscapes, lex.SkipUnsetEnv = true, true, true
	return expand(lex, line, env)
}

func expand(lex *shell.Lex, word string, env Environment) (Expansion, error) {
	r, err := lex.ProcessWordWithMatches(word, env)
	return Expansion{
		Text:      r.Result,
		Used:      slices.Sorted(maps.Keys(r.Matched)),
		Undefined: slices.Sorted(maps.Keys(r.Unmatched)),
	}, err
}
