package dockerfile

import (
	"errors"
	"fmt"
	"strings"
)

// dollar reads $name or ${...}.
func (r *wordReader) dollar() (string, error) {
	r.next()
	if r.peek() != '{' {
		name := r.name()
		if name == "" {
			return "$", nil
		}
		value, set := r.get(name)
		if !set && r.keepUnset {
			return "$" + name, nil
		}
		return value, r.made.take(len(value))
	}
	r.next()
	if r.depth++; r.depth > maxNesting {
		return "", &LimitError{What: fmt.Sprintf("${...} is nested more than %d deep", maxNesting)}
	}
	defer func() { r.depth-- }()
	switch r.peek() {
	case eof:
		return "", errMissingBrace
	case '{', '}', ':':
		return "", errors.New("syntax error: bad substitution")
	}
	name := r.name()
	switch op := r.next(); op {
	case '}':
		value, set := r.get(name)
		if !set && r.keepUnset {
			return "${" + name + "}", nil
		}
		return value, r.made.take(len(value))
	case eof:
		return "", errMissingBrace
	case '/':
		return r.replaced(name)
	case ':':
		return r.operated(name, string(op), r.next())
	default:
		return r.operated(name, "", op)
	}
}

var errMissingBrace = errors.New("syntax error: missing '}'")

// operand reads what stands behind an operator, up to stop.
func (r *wordReader) operand(stop rune, raw, pattern bool, missing error) (string, error) {
	text, err := r.until(stop, raw, pattern)
	if _, limit := errors.AsType[*LimitError](err); err != nil && r.rest == "" && !limit {
		return "", missing
	}
	return text, err
}

// operated expands ${name<op>word} for all operators but /; colon is ":" where there is one before op.
func (r *wordReader) operated(name, colon string, op rune) (string, error) {
	trim, known := op == '#' || op == '%', strings.ContainsRune("+-?#%", op)
	if trim && colon != "" || !known && colon == "" {
		return "", fmt.Errorf("unsupported modifier (%s) in substitution", colon+string(op))
	}
	word, err := r.operand('}', trim, trim, errMissingBrace)
	if err != nil {
		return "", err
	}
	value, set := r.get(name)
	if !set && r.keepUnset {
		return "${" + name + colon + string(op) + word + "}", nil
	}
	if !known {
		return "", fmt.Errorf("unsupported modifier (%s) in substitution", colon+string(op))
	}
	empty := !set || colon != "" && value == ""
	switch {
	case op == '-' && empty, op == '+' && !empty:
		return word, nil
	case op == '+':
		return "", nil
	case op == '?' && empty:
		if word == "" {
			word = "is not allowed to be unset"
			if set {
				word = "is not allowed to be empty"
			}
		}
		return "", fmt.Errorf("%s: %s", name, short(word))
	}
	if err := r.made.take(len(value)); err != nil || !trim {
		return value, err
	}
	greedy := strings.HasPrefix(word, string(op))
	if greedy {
		word = word[1:]
	}
	if op == '%' {
		return r.made.trimSuffix(value, word, greedy)
	}
	return r.made.trimPrefix(value, word, greedy)
}

// replaced expands ${name/pattern/text} and ${name//pattern/text}.
func (r *wordReader) replaced(name string) (string, error) {
	all := r.peek() == '/'
	if all {
		r.next()
	}
	pattern, err := r.operand('/', true, true, errors.New("syntax error: missing '/' in ${}"))
	if err != nil {
		return "", err
	}
	text, err := r.operand('}', true, false, errMissingBrace)
	if err != nil {
		return "", err
	}
	value, set := r.get(name)
	if !set && r.keepUnset {
		return "${" + name + "/" + pattern + "/" + text + "}", nil
	}
	if err := r.made.take(len(value)); err != nil {
		return "", err
	}
	return r.made.replace(value, pattern, text, all)
}
