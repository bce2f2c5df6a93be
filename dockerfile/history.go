package dockerfile

import (
	"fmt"
	"path"
	"strings"
	"time"
)

// HistoryComment is the comment of every history entry that a Dockerfile makes.
const HistoryComment = "buildkit.dockerfile.v0"

// layerSuffix ends the created_by of instructions that make a layer, except WORKDIR.
const layerSuffix = " # buildkit"

// The History methods return the created_by string of an expanded instruction, to the byte what BuildKit writes, so
// that images of both compare equal. ONBUILD and FROM have no history entry.

// History returns the created_by string of a RUN whose Script is s. args are the arguments declared so far in the
// order of declaration, those of the stages below first; env is what the command sees, and gives them their values.
func (r *Run) History(s Script, args []ArgValue, env Environment) string {
	var names []string
	values := map[string]string{}
	for _, a := range args {
		if _, seen := values[a.Name]; !seen {
			names = append(names, a.Name)
		}
		v, ok := env.Get(a.Name)
		if !ok && a.Value != nil {
			v = *a.Value
		}
		values[a.Name] = v
	}
	words := []string{"RUN"}
	if len(names) > 0 {
		words = append(words, fmt.Sprintf("|%d", len(names)))
	}
	for _, name := range names {
		words = append(words, name+"="+values[name])
	}
	return strings.Join(append(words, s.Args...), " ") + layerSuffix
}

// History returns the created_by string.
func (e *Env) History() string { return "ENV" + joinPairs(e.Pairs) }

// History returns the created_by string.
func (l *Label) History() string { return "LABEL" + joinPairs(l.Pairs) }

func joinPairs(pairs []KeyValue) string {
	var b strings.Builder
	for _, kv := range pairs {
		b.WriteString(" " + kv.Key + "=" + kv.Value)
	}
	return b.String()
}

// ArgHistory returns the created_by string of an ARG with the values that Scope.Apply gave it.
func ArgHistory(values []ArgValue) string {
	words := []string{"ARG"}
	for _, v := range values {
		word := v.Name
		if v.Value != nil {
			word += "=" + *v.Value
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// History returns the created_by string of a WORKDIR that leads to dir (see Dir).
func (w *Workdir) History(dir string) string { return "WORKDIR " + dir }

// Dir returns the absolute directory that an expanded WORKDIR leads to from the current one. Only one other than "/"
// makes a layer.
func (w *Workdir) Dir(current string) string {
	if path.IsAbs(w.Path) {
		return path.Clean(w.Path)
	}
	return path.Join("/", current, w.Path)
}

// History returns the created_by string.
func (u *User) History() string { return "USER " + u.User }

// History returns the created_by string of a CMD in a stage with that shell.
func (c *Cmd) History(shell []string) string { return fmt.Sprintf("CMD %q", c.WithShell(shell)) }

// History returns the created_by string of an ENTRYPOINT in a stage with that shell.
func (e *Entrypoint) History(shell []string) string {
	return fmt.Sprintf("ENTRYPOINT %q", e.WithShell(shell))
}

// History returns the created_by string of an expanded EXPOSE.
func (e *Expose) History() string { return fmt.Sprintf("EXPOSE %v", e.Ports) }

// History returns the created_by string.
func (v *Volume) History() string { return fmt.Sprintf("VOLUME %v", v.Paths) }

// History returns the created_by string.
func (s *StopSignal) History() string { return "STOPSIGNAL " + s.Signal }

// History returns the created_by string.
func (s *Shell) History() string { return fmt.Sprintf("SHELL %v", s.Args) }

// History returns the created_by string.
func (m *Maintainer) History() string { return "MAINTAINER " + m.Name }

// History returns the created_by string.
func (h *Healthcheck) History() string {
	// The form is that of Go's %+v of BuildKit's struct: these fields in this order.
	return fmt.Sprintf("HEALTHCHECK %+v", struct {
		Test                                          []string
		Interval, Timeout, StartPeriod, StartInterval time.Duration
		Retries                                       int
	}{h.Test, h.Interval, h.Timeout, h.StartPeriod, h.StartInterval, h.Retries})
}

// DisplayName returns how progress shows an instruction that sees this scope: its line with the keyword in upper case
// and variables expanded, with the first line of a RUN's only heredoc behind it. A variable that a RUN takes from a
// secret shows as ****.
func (s Scope) DisplayName(i Instruction) string {
	line := i.String()
	if r, ok := i.(*Run); ok {
		return upperKeyword(r.displayLine(line, s.lex, s.Env))
	}
	e, err := s.lex.shown(line, s.Env)
	if err != nil {
		return upperKeyword(line)
	}
	return upperKeyword(e.Text)
}

func (r *Run) displayLine(line string, l *Lex, env Environment) string {
	for _, m := range r.Mounts {
		if m.Type == MountSecret && m.Env != nil {
			env = overlaid{env, *m.Env, "****"}
		}
	}
	if doc, ok := r.onlyHeredoc(); ok {
		first, _, more := strings.Cut(strings.TrimSpace(doc.Content), "\n")
		if first = strings.TrimSuffix(first, "\r"); more {
			first += "..."
		}
		line += " (" + first + ")"
	}
	e, err := l.display(line, env)
	if err != nil {
		return line
	}
	return e.Text
}

func upperKeyword(line string) string {
	keyword, rest, found := strings.Cut(line, " ")
	if !found {
		return strings.ToUpper(keyword)
	}
	return strings.ToUpper(keyword) + " " + rest
}
