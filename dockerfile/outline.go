package dockerfile

import (
	"cmp"
	"slices"
)

// Outline says what a build of one stage takes: what "--call=outline" prints.
type Outline struct {
	// Name and Description are the stage's; both may be empty.
	Name        string              `json:"name,omitempty"`
	Description string              `json:"description,omitempty"`
	Args        []OutlineArg        `json:"args,omitempty"`
	Secrets     []OutlineCredential `json:"secrets,omitempty"`
	SSH         []OutlineCredential `json:"ssh,omitempty"`
}

// OutlineArg is an argument that the stage, or a stage below or beside it that it needs, uses.
type OutlineArg struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Value is what it has with the given --build-arg values.
	Value string `json:"value,omitempty"`
	Range Range  `json:"range"`
}

// OutlineCredential is a secret or an ssh agent by its id.
type OutlineCredential struct {
	Name     string `json:"name"`
	Required bool   `json:"required,omitempty"`
	Range    Range  `json:"range"`
}

// Target is a stage that can be built: what "--call=targets" prints.
type Target struct {
	Name        string `json:"name,omitempty"`
	Default     bool   `json:"default,omitempty"`
	Description string `json:"description,omitempty"`
	// Base and Platform are as written.
	Base     string `json:"base,omitempty"`
	Platform string `json:"platform,omitempty"`
	Range    Range  `json:"range"`
}

// Targets lists the stages of f, in order.
func Targets(f *File) []Target {
	var all []Target
	for i, s := range f.Stages {
		all = append(all, Target{
			Name: s.Name, Default: i == len(f.Stages)-1, Description: s.Comment, Base: s.Base, Platform: s.Platform, Range: s.Range,
		})
	}
	return all
}

// NewOutline evaluates f for o.Target (empty: the last stage) and says what that build takes, each list in the order of
// the file. The error is an *Error.
func NewOutline(f *File, o LintOptions) (*Outline, error) {
	o.NeededOnly = true
	w, err := walk(f, o, newRuleLinter(f, LintOptions{Check: &CheckOptions{SkipAll: true}}))
	if err != nil {
		return nil, err
	}
	out := &Outline{Name: w.target.Name, Description: w.target.Comment}
	global, err := w.globalArgs()
	if err != nil {
		return nil, err
	}
	seen := collected{args: map[string]bool{}, secrets: map[string]bool{}, ssh: map[string]bool{}, stages: map[int]bool{}}
	w.collect(out, w.target, global, seen)
	slices.SortStableFunc(out.Args, func(a, b OutlineArg) int { return cmp.Compare(a.Range.Start, b.Range.Start) })
	byLine := func(a, b OutlineCredential) int { return cmp.Compare(a.Range.Start, b.Range.Start) }
	slices.SortStableFunc(out.Secrets, byLine)
	slices.SortStableFunc(out.SSH, byLine)
	return out, nil
}

// offers are what one stage by itself lets its user choose.
type offers struct {
	args []OutlineArg
	// uses are the global arguments that it uses.
	uses         []string
	secrets, ssh []OutlineCredential
}

// arg notes an ARG. One that only takes over a global argument, declared or predefined, is that argument's use.
func (o *offers) arg(f *File, a *Arg, def ArgDef, v ArgValue) {
	o.uses = append(o.uses, def.Name)
	if v.FromGlobal || def.Default == nil && f.declaresGlobal(def.Name) {
		return
	}
	arg := OutlineArg{Name: def.Name, Description: def.Comment, Range: a.at}
	if v.Value != nil {
		arg.Value = *v.Value
	}
	o.args = append(o.args, arg)
}

// run notes the secrets and agents of an expanded RUN.
func (o *offers) run(r *Run) error {
	for _, m := range r.Mounts {
		resolved, err := m.Resolved("/")
		if err != nil && (m.Type == MountSecret || m.Type == MountSSH) {
			return r.from.wrap(err, r.at)
		}
		credential := OutlineCredential{Name: resolved.ID, Required: m.Required, Range: r.at}
		switch m.Type {
		case MountSecret:
			o.secrets = append(o.secrets, credential)
		case MountSSH:
			o.ssh = append(o.ssh, credential)
		}
	}
	return nil
}

// globalArg is an ARG before the first FROM and the arguments that its default uses.
type globalArg struct {
	OutlineArg
	uses []string
}

func (w *walker) globalArgs() (map[string]globalArg, error) {
	all := map[string]globalArg{}
	for _, a := range w.f.Args {
		for _, def := range a.Defs {
			g := globalArg{OutlineArg: OutlineArg{Name: def.Name, Description: def.Comment, Range: a.at}}
			g.Value, _ = w.args.Global.Get(def.Name)
			if _, given := w.o.Args.Get(def.Name); def.Default != nil && !given {
				e, err := w.lex.Expand(*def.Default, w.args.Global)
				if err != nil {
					return nil, a.from.wrap(err, a.at)
				}
				g.uses = append(e.Used, all[def.Name].uses...)
			}
			all[def.Name] = g
		}
	}
	return all, nil
}

// collected is what an outline already has.
type collected struct {
	args, secrets, ssh map[string]bool
	stages             map[int]bool
}

// collect adds what s and the stages that it needs offer; what is nearer to the target wins.
func (w *walker) collect(out *Outline, s *Stage, global map[string]globalArg, seen collected) {
	if seen.stages[s.Index] || w.found[s.Index] == nil {
		return
	}
	seen.stages[s.Index] = true
	o := w.found[s.Index].offers
	// Of two definitions of one argument in a stage the later counts.
	for _, a := range slices.Backward(o.args) {
		out.addArg(a, seen)
	}
	var use func(name string)
	use = func(name string) {
		g, ok := global[name]
		if !ok || seen.args[name] {
			return
		}
		out.addArg(g.OutlineArg, seen)
		for _, n := range g.uses {
			use(n)
		}
	}
	for _, name := range o.uses {
		use(name)
	}
	out.Secrets = addCredentials(out.Secrets, o.secrets, seen.secrets)
	out.SSH = addCredentials(out.SSH, o.ssh, seen.ssh)
	for _, d := range w.dependencies(s) {
		w.collect(out, d, global, seen)
	}
}

func (o *Outline) addArg(a OutlineArg, seen collected) {
	if !seen.args[a.Name] {
		seen.args[a.Name] = true
		o.Args = append(o.Args, a)
	}
}

func addCredentials(to, more []OutlineCredential, seen map[string]bool) []OutlineCredential {
	for _, in := range more {
		if !seen[in.Name] {
			seen[in.Name] = true
			to = append(to, in)
		}
	}
	return to
}
