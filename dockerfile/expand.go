package dockerfile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// expandInstruction returns a copy of i with the variables expanded where the language says so (see Scope.Apply), and
// checked. The names of variables that are used but not set are returned sorted. The error is an *Error.
func expandInstruction(i Instruction, l *Lex, env Environment) (Instruction, []string, error) {
	w := i.place()
	x := &expander{lex: l, env: env, undefined: map[string]bool{}}
	out, err := x.instruction(i, w)
	if err != nil {
		return nil, nil, w.from.wrap(err, w.at)
	}
	return out, x.names(), nil
}

// expander expands one instruction and collects the names that are not set.
type expander struct {
	lex       *Lex
	env       Environment
	undefined map[string]bool
}

// names are the variables that were not set, sorted.
func (x *expander) names() []string { return slices.Sorted(maps.Keys(x.undefined)) }

func (x *expander) instruction(i Instruction, w *written) (Instruction, error) {
	switch i := i.(type) {
	case *Expose:
		return x.expose(i)
	case *Run, *Copy, *Env, *Label, *StopSignal, *User, *Volume, *Workdir:
		if w.node == nil {
			return i, nil // made by a program, not read: nothing to expand
		}
	default:
		return i, nil
	}
	parsed, err := parseNode(w.node)
	if err != nil {
		return nil, err
	}
	if c, ok := parsed.(instructions.SupportsSingleWordExpansion); ok {
		if err := c.Expand(x.word); err != nil {
			return nil, err
		}
	}
	if c, ok := parsed.(instructions.SupportsSingleWordExpansionRaw); ok {
		if err := c.ExpandRaw(x.content); err != nil {
			return nil, err
		}
	}
	out, err := typed(parsed, *w)
	if err != nil {
		return nil, err
	}
	return out, validate(out)
}

func (x *expander) word(word string) (string, error) {
	e, err := x.lex.Expand(word, x.env)
	return x.note(e, err)
}

func (x *expander) content(content string) (string, error) {
	e, err := x.lex.text(content, x.env)
	return x.note(e, err)
}

func (x *expander) note(e Expansion, err error) (string, error) {
	for _, name := range e.Undefined {
		x.undefined[name] = true
	}
	return e.Text, err
}

func (x *expander) expose(i *Expose) (Instruction, error) {
	var ports []string
	for _, p := range i.Ports {
		words, err := x.lex.Words(p, x.env)
		if err != nil {
			return nil, err
		}
		for _, word := range words {
			spec, err := parsePort(word)
			if err != nil {
				return nil, err
			}
			more := spec.ports()
			if len(ports)+len(more) > maxPorts {
				return nil, &LimitError{What: fmt.Sprintf("EXPOSE names more than %d ports", maxPorts)}
			}
			if err := x.lex.spent.make(len(more) * len("65535/sctp")); err != nil {
				return nil, err
			}
			ports = append(ports, more...)
		}
	}
	return &Expose{i.written, ports}, nil
}

// validate checks what can only be checked when all strings are final.
func validate(i Instruction) error {
	switch i := i.(type) {
	case *Copy:
		return i.validate()
	case *StopSignal:
		return validateSignal(i.Signal)
	case *Volume:
		for _, p := range i.Paths {
			if strings.TrimSpace(p) == "" {
				return errEmptyVolume
			}
		}
	}
	return nil
}
