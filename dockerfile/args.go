package dockerfile

import "slices"

// ArgValue is an argument that has been given its value.
type ArgValue struct {
	Name string
	// Value is nil for an argument that has neither default nor value: it is not in the environment of a RUN.
	Value *string
	// FromGlobal says that the value comes from an ARG before the first FROM or from a predefined argument.
	FromGlobal bool
}

// resolve gives the definitions of an ARG in a stage their values: the one that is given, else the default, expanded
// with env and the definitions before it in the same instruction, else the global one. A default that is not used is
// not expanded. The names that are used but not set are returned, sorted. The error is an *Error.
func (a *Arg) resolve(l *Lex, env Environment, args Arguments) ([]ArgValue, []string, error) {
	x := &expander{lex: l, env: env, undefined: map[string]bool{}}
	var values []ArgValue
	for _, def := range a.Defs {
		v := ArgValue{Name: def.Name}
		if value, ok := args.Given.Get(def.Name); ok {
			v.Value = &value
		} else if def.Default != nil {
			value, err := x.word(*def.Default)
			if err != nil {
				return nil, nil, a.from.wrap(err, a.at)
			}
			v.Value = &value
		} else if value, ok := args.Global.Get(def.Name); ok {
			v.Value, v.FromGlobal = &value, true
		}
		if v.Value != nil && isEnvironmentArg(v.Name) {
			x.env = overlaid{x.env, v.Name, *v.Value}
		}
		values = append(values, v)
	}
	return values, x.names(), nil
}

// globals returns the arguments that FROM instructions see: predefined ones (see platformArgs) and those of f.Args,
// each with the value in given (--build-arg), else its default. An ARG without either leaves a predefined one alone.
// The error is an *Error.
func (f *File) globals(predefined Vars, given Environment) (Vars, error) {
	l, vars := NewLex(f.Escape), predefined
	for _, a := range f.Args {
		for _, def := range a.Defs {
			if value, ok := given.Get(def.Name); ok {
				vars = vars.With(def.Name, value)
				continue
			}
			if def.Default == nil {
				continue
			}
			value, _, err := l.Word(*def.Default, vars)
			if err != nil {
				return Vars{}, a.from.wrap(err, a.at)
			}
			vars = vars.With(def.Name, value)
		}
	}
	return vars, nil
}

// declaresGlobal tells whether an ARG before the first FROM has that name.
func (f *File) declaresGlobal(name string) bool {
	return slices.ContainsFunc(f.Args, func(a *Arg) bool {
		return slices.ContainsFunc(a.Defs, func(d ArgDef) bool { return d.Name == name })
	})
}

// overlaid is an Environment with one more variable.
type overlaid struct {
	below      Environment
	key, value string
}

func (o overlaid) Get(key string) (string, bool) {
	if key == o.key {
		return o.value, true
	}
	return o.below.Get(key)
}

func (o overlaid) Keys() []string { return slices.Concat(o.below.Keys(), []string{o.key}) }
