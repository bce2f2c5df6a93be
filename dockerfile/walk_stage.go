package dockerfile

import (
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
)

// stage evaluates the instructions of s after its base.
func (w *walker) stage(s *Stage) error {
	st := w.inherit(s)
	w.found[s.Index] = st
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

// inherit is what is known of s right after its FROM.
func (w *walker) inherit(s *Stage) *findings {
	b := w.bases[s.Index]
	if b.stage != nil {
		if below := w.found[b.stage.Index]; below != nil {
			return &findings{scope: below.scope, known: below.known, workdir: below.workdir}
		}
	}
	image, known := w.image(b)
	if known && b.ref != scratch {
		w.basePlatform(s, b, image)
	}
	return &findings{scope: NewScope(w.f, w.args, image), known: known}
}

// instruction runs the rules of one instruction and goes on to the scope of the next one.
func (w *walker) instruction(st *findings, i Instruction) error {
	src := i.place()
	l := w.at(*src)
	if a, ok := i.(*Arg); ok {
		for _, def := range a.Defs {
			w.secretName(l, src, "ARG", def.Name)
		}
	}
	scope, applied, err := st.scope.Apply(i)
	if err != nil {
		return err
	}
	w.undefined(l, st, src, applied.Undefined)
	if err := w.rulesOf(l, st, src, applied); err != nil {
		return err
	}
	st.scope = scope
	return nil
}

// rulesOf runs the rules of one kind of instruction. The scope of st is still the one that it sees.
func (w *walker) rulesOf(l *linter.Linter, st *findings, src *written, applied Applied) error {
	switch i := applied.Instruction.(type) {
	case *Arg:
		for n, v := range applied.Args {
			st.offers.arg(w.f, i, i.Defs[n], v)
		}
	case *Env:
		w.pairs(l, src)
		for _, kv := range i.Pairs {
			w.secretName(l, src, "ENV", kv.Key)
		}
	case *Label:
		w.pairs(l, src)
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
