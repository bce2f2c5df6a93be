package build

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/oci"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// stageState is what instructions change one after the other while a stage is planned.
type stageState struct {
	*Stage
	env     dockerfile.Vars // ENV and the ARGs declared so far: what RUN sees
	args    []dockerfile.ArgValue
	cmdSet  bool
	index   int // of the next step in the stage, for its name
	total   int
	onbuild bool
	noCache bool
}

// dispatchStage turns a stage's instructions into steps and config.
func (pl *planner) dispatchStage(s *Stage) error {
	st := &stageState{Stage: s, noCache: pl.opts.Cache.NoCache || pl.filtered(s)}
	pl.states[s] = st
	pl.inheritBase(st)
	for i, in := range pl.instructions(s) {
		st.onbuild = i < len(pl.onbuild[s])
		if err := pl.dispatch(st, in); err != nil {
			return err
		}
	}
	return nil
}

// filtered reports whether --no-cache-filter names the stage, by its name or its number.
func (pl *planner) filtered(s *Stage) bool {
	number := strconv.Itoa(slices.Index(pl.stages, s))
	return slices.ContainsFunc(pl.opts.Cache.NoCacheFilter, func(f string) bool {
		return s.def != nil && (f == number || strings.EqualFold(f, s.Name) || f == "stage-"+number)
	})
}

// inheritBase starts a stage from nothing, from an image or from an earlier stage.
func (pl *planner) inheritBase(st *stageState) {
	s := st.Stage
	st.total = pl.countSteps(s)
	meta := pl.metas[s]
	switch {
	case s.base != nil:
		b := pl.states[s.base]
		s.Config = cloneConfig(s.base.Config)
		s.layerSteps, s.baseHistory = slices.Clone(s.base.layerSteps), s.base.baseHistory
		s.Final, s.Platform = s.base.Final, s.base.Platform
		st.env, st.args = b.env, slices.Clone(b.args)
	case meta != nil:
		s.Config = cloneConfig(meta.config)
		s.Config.History = completeHistory(s.Config.History, len(meta.image.Layers))
		s.layerSteps, s.baseHistory = make([]*Step, len(s.Config.History)), len(s.Config.History)
		st.env = dockerfile.NewVars(s.Config.Config.Env)
		s.Final = pl.addStep(st, "FROM "+meta.ref, s.rng, &imageOp{meta: meta})
	default:
		s.Config = emptyConfig(s.Platform)
		st.env = dockerfile.NewVars(s.Config.Config.Env)
		if s.isContext() {
			op := &copyOp{in: &dockerfile.Copy{Sources: []string{"/"}, Dest: "/", From: s.named}, dest: "/", stage: s, list: []dockerfile.Source{{Text: "/"}}}
			step := pl.addStep(st, "FROM "+s.named, s.rng, op)
			s.Config.History = append(s.Config.History, ispec.History{Comment: exporterComment})
			s.layerSteps = append(s.layerSteps, step)
		}
	}
	s.Config.Config.OnBuild = nil
	if _, ok := dockerfile.NewVars(s.Config.Config.Env).Get("PATH"); !ok {
		s.Config.Config.Env = append(s.Config.Config.Env, "PATH="+defaultPath)
		st.env = st.env.With("PATH", defaultPath)
	}
	if s.Config.Config.WorkingDir != "" {
		s.Config.Config.WorkingDir = path.Join("/", s.Config.Config.WorkingDir)
	}
}

// completeHistory makes a base image's history fit its layers: it is optional, and not all tools write one. As BuildKit does, a layer
// without an entry gets one.
func completeHistory(h []ispec.History, layers int) []ispec.History {
	n := 0
	for i := range h {
		if h[i].EmptyLayer {
			continue
		}
		if n++; n > layers {
			h[i].EmptyLayer = true
		}
	}
	for ; n < layers; n++ {
		h = append(h, ispec.History{Comment: exporterComment})
	}
	return h
}

// exporterComment is that of history entries for layers that no instruction made.
const exporterComment = "buildkit.exporter.image.v0"

func (pl *planner) countSteps(s *Stage) int {
	n := 0
	if pl.metas[s] != nil || s.isContext() {
		n = 1
	}
	for _, in := range pl.instructions(s) {
		switch in.(type) {
		case *dockerfile.Run, *dockerfile.Copy, *dockerfile.Workdir:
			n++
		}
	}
	return n
}

// addStep appends a step to the stage's chain.
func (pl *planner) addStep(st *stageState, text string, r dockerfile.Range, op operation) *Step {
	st.index++
	name := "["
	if pl.multi {
		name += oci.FormatPlatform(st.Platform) + " "
	}
	if st.Name != "" {
		name += st.Name + " "
	}
	width := 1
	if st.total > 0 {
		width = int(1 + math.Log10(float64(st.total)))
	}
	name += fmt.Sprintf("%*d/%d] ", width, st.index, max(st.total, st.index))
	if st.onbuild {
		name += "ONBUILD "
	}
	pl.steps++
	step := &Step{ID: pl.steps, Name: name + text, Stage: st.Stage, Range: r, Parent: st.Final, op: op, NoCache: st.noCache}
	st.Steps = append(st.Steps, step)
	st.Final = step
	return step
}

// commit adds a history entry; step is the one that made its layer, nil for an entry without.
func (st *stageState) commit(createdBy string, step *Step) {
	st.Config.History = append(st.Config.History, ispec.History{CreatedBy: createdBy, Comment: dockerfile.HistoryComment, EmptyLayer: step == nil})
	st.layerSteps = append(st.layerSteps, step)
}

func (pl *planner) dispatch(st *stageState, raw dockerfile.Instruction) error {
	in, _, err := dockerfile.Expand(raw, pl.lex, st.env)
	if err != nil {
		return err
	}
	switch in := in.(type) {
	case *dockerfile.Run:
		err = pl.dispatchRun(st, in)
	case *dockerfile.Copy:
		err = pl.dispatchCopy(st, in)
	case *dockerfile.Workdir:
		pl.dispatchWorkdir(st, in)
	case *dockerfile.Arg:
		err = pl.dispatchArg(st, in)
	case *dockerfile.Env:
		for _, kv := range in.Pairs {
			st.env = st.env.With(kv.Key, kv.Value)
		}
		err = st.dispatchConfig(in)
	default:
		err = st.dispatchConfig(in)
	}
	if step := (*StepError)(nil); errors.As(err, &step) {
		return err
	}
	return pl.errorAt(raw.Range(), "", err)
}

func (pl *planner) dispatchArg(st *stageState, in *dockerfile.Arg) error {
	values, _, err := in.Resolve(pl.lex, st.env, pl.given, pl.global)
	if err != nil {
		return err
	}
	for _, v := range values {
		pl.usedArgs[v.Name] = true
		if v.Value != nil {
			st.env = st.env.With(v.Name, *v.Value)
		}
	}
	st.args = append(st.args, values...)
	st.commit(dockerfile.ArgHistory(values), nil)
	return nil
}

func (pl *planner) dispatchWorkdir(st *stageState, in *dockerfile.Workdir) {
	wd := in.Dir(st.Config.Config.WorkingDir)
	st.Config.Config.WorkingDir = wd
	var step *Step
	if wd == "/" {
		st.index++
	} else {
		step = pl.addStep(st, dockerfile.DisplayName(in, pl.lex, st.env), in.Range(), &workdirOp{path: wd, user: st.Config.Config.User})
	}
	st.commit(in.History(wd), step)
}

// dispatchRun plans a RUN.
func (pl *planner) dispatchRun(st *stageState, in *dockerfile.Run) error {
	if err := pl.checkRun(in); err != nil {
		return err
	}
	cfg := st.Config.Config
	script, err := in.Script(cfg.Shell)
	if err != nil {
		return err
	}
	op := &runOp{
		args: script.Args, file: script.File, env: st.env, proxy: proxyEnv(pl.opts.Args), user: cfg.User, dir: cfg.WorkingDir,
		network: in.Network, insecure: in.Security == "insecure", platform: st.Platform, options: pl.opts.Run,
		hostname: pl.opts.Args["BUILDKIT_SANDBOX_HOSTNAME"],
	}
	if op.hostname == "" {
		op.hostname = "buildkitsandbox"
	}
	if op.network == "" || op.network == "default" {
		op.network = pl.opts.Run.Network
	}
	agents := 0
	for _, m := range in.Mounts {
		rm, err := pl.runMount(st, op, m, in.Range(), &agents)
		if err != nil {
			return err
		}
		op.mounts = append(op.mounts, rm)
	}
	step := pl.addStep(st, dockerfile.DisplayName(in, pl.lex, st.env), in.Range(), op)
	st.commit(in.History(script, st.args, st.env), step)
	return nil
}

func (pl *planner) checkRun(in *dockerfile.Run) error {
	allowed := pl.opts.Run.Allow
	switch {
	case len(in.Devices) > 0:
		return errors.New("RUN --device is not supported: there is no daemon that could hand out devices")
	case in.Network == "host" && pl.opts.Run.Network != "host" && !slices.Contains(allowed, "network.host"):
		return &EntitlementError{"network.host"}
	case in.Security == "insecure" && !slices.Contains(allowed, "security.insecure"):
		return &EntitlementError{"security.insecure"}
	}
	return nil
}

func (pl *planner) runMount(st *stageState, op *runOp, m dockerfile.Mount, at dockerfile.Range, agents *int) (runMount, error) {
	m, err := m.Resolved(st.Config.Config.WorkingDir)
	if err != nil {
		return runMount{}, err
	}
	if m.Type == dockerfile.MountSSH && m.Target == "" {
		m.Target = fmt.Sprintf("/run/buildkit/ssh_agent.%d", *agents)
		*agents++
	}
	rm := runMount{Mount: m, source: -1}
	if m.From == "" || m.From == "scratch" {
		return rm, nil
	}
	rm.stage, err = pl.fromStage(st, m.From, at)
	if err != nil {
		return rm, err
	}
	rm.source = len(op.from)
	op.from = append(op.from, rm.stage.Final)
	return rm, nil
}

// fromStage is lookupFrom for a stage that must already be planned.
func (pl *planner) fromStage(st *stageState, name string, at dockerfile.Range) (*Stage, error) {
	dep, err := pl.lookupFrom(fromName{name, at})
	if err != nil {
		return nil, err
	}
	if pl.states[dep] == nil {
		return nil, fmt.Errorf("cannot copy from stage %q, it needs to be defined before current stage %q", name, st.Name)
	}
	return dep, nil
}

func cloneConfig(c oci.Config) oci.Config {
	out := c
	out.Config.Env = slices.Clone(c.Config.Env)
	out.Config.Cmd = slices.Clone(c.Config.Cmd)
	out.Config.Entrypoint = slices.Clone(c.Config.Entrypoint)
	out.Config.OnBuild = slices.Clone(c.Config.OnBuild)
	out.Config.ExposedPorts = maps.Clone(c.Config.ExposedPorts)
	out.Config.Volumes = maps.Clone(c.Config.Volumes)
	out.Config.Labels = maps.Clone(c.Config.Labels)
	out.Config.Shell = slices.Clone(c.Config.Shell)
	if h := c.Config.Healthcheck; h != nil {
		copied := *h
		copied.Test = slices.Clone(h.Test)
		out.Config.Healthcheck = &copied
	}
	out.History = slices.Clone(c.History)
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// dispatchCopy plans a COPY or ADD.
func (pl *planner) dispatchCopy(st *stageState, in *dockerfile.Copy) error {
	op := &copyOp{in: in, dest: absDest(st.Config.Config.WorkingDir, in.Dest)}
	if in.From != "" {
		stage, err := pl.fromStage(st, in.From, in.Range())
		if err != nil {
			return err
		}
		op.stage, op.from = stage, []*Step{stage.Final}
	}
	for _, s := range in.Sources {
		src, err := dockerfile.ParseSource(s)
		if err != nil {
			return err
		}
		op.list = append(op.list, src)
	}
	step := pl.addStep(st, dockerfile.DisplayName(in, pl.lex, st.env), in.Range(), op)
	st.commit(in.History(), step)
	return nil
}

// absDest makes a destination absolute and keeps its trailing slash, which says that it is a directory.
func absDest(workdir, dest string) string {
	if dest == "" || dest == "." {
		dest = "./"
	}
	abs := dest
	if !path.IsAbs(dest) {
		abs = path.Join("/", workdir) + "/" + dest
	}
	slash := strings.HasSuffix(abs, "/") || strings.HasSuffix(abs, "/.")
	abs = path.Clean(abs)
	if slash && abs != "/" {
		abs += "/"
	}
	return abs
}
