package dockerfile

import (
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
)

// defaultPath is what PATH is in images that do not set it.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// stage evaluates the instructions of s after its base.
func (w *walker) stage(s *Stage) error {
	st := w.inherit(s)
	w.states[s.Index] = st
	st.offers.uses = slices.Clone(w.bases[s.Index].used)
	for _, expression := range w.triggerTexts(s) {
		i, err := w.f.ParseOnBuild(expression, s.Range)
		if err != nil {
			return err
		}
		if err := w.instruction(st, i); err != nil {
			return err
		}
	}
	for _, i := range s.Instructions {
		if err := w.instruction(st, i); err != nil {
			return err
		}
	}
	return nil
}

// inherit is the state of s right after its FROM.
func (w *walker) inherit(s *Stage) *stageState {
	b := w.bases[s.Index]
	if b.stage != nil {
		if below := w.states[b.stage.Index]; below != nil {
			return &stageState{
				known: below.known, env: below.env, args: slices.Clone(below.args), shell: below.shell, workdir: below.workdir,
			}
		}
	}
	image, known := w.image(b)
	if known && b.ref != scratch {
		w.basePlatform(s, b, image)
	}
	st := &stageState{known: known, env: NewVars(image.Env), shell: image.Shell}
	if _, ok := st.env.Get("PATH"); !ok {
		st.env = st.env.With("PATH", defaultPath)
	}
	return st
}

// instruction runs the rules of one instruction and lets it change the state.
func (w *walker) instruction(st *stageState, i Instruction) error {
	src := i.source()
	l := w.at(*src)
	if a, ok := i.(*Arg); ok {
		return w.arg(l, st, a)
	}
	expanded, undefined, err := Expand(i, w.lex, st.env)
	if err != nil {
		return err
	}
	w.undefined(l, st, src, undefined)
	switch i := expanded.(type) {
	case *Env:
		w.pairs(l, src)
		for _, kv := range i.Pairs {
			w.secretName(l, src, "ENV", kv.Key)
			st.env = st.env.With(kv.Key, kv.Value)
		}
	case *Label:
		w.pairs(l, src)
	case *Shell:
		st.shell = i.Args
	case *Cmd:
		w.once(l, src, &st.cmd)
		w.jsonArgs(l, st, src, i.Command)
	case *Entrypoint:
		w.once(l, src, &st.entrypoint)
		w.jsonArgs(l, st, src, i.Command)
	case *Healthcheck:
		w.once(l, src, &st.healthcheck)
	case *Expose:
		return w.ports(l, st, src)
	case *Workdir:
		w.relativeWorkdir(l, st, src, i.Path)
	case *Copy:
		w.ignoredSources(l, src, i)
	case *Run:
		return st.offers.run(i)
	}
	return nil
}

// arg evaluates an ARG.
func (w *walker) arg(l *linter.Linter, st *stageState, a *Arg) error {
	for _, def := range a.Defs {
		w.secretName(l, &a.written, "ARG", def.Name)
	}
	values, undefined, err := a.Resolve(w.lex, st.env, w.o.Args, w.globals)
	if err != nil {
		return err
	}
	w.undefined(l, st, &a.written, undefined)
	for n, v := range values {
		if v.Value != nil && IsEnvironmentArg(v.Name) {
			st.env = st.env.With(v.Name, *v.Value)
		}
		st.offers.arg(w.f, a, a.Defs[n], v)
	}
	st.args = append(st.args, values...)
	return nil
}
