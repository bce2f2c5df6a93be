package build

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/oci"
	"golang.org/x/sync/errgroup"
)

// resolveReachable finds what the target needs and resolves the images in it. ONBUILD triggers of a base can need further
// stages, so it goes round until nothing new appears.
func (pl *planner) resolveReachable(ctx context.Context) (map[*Stage]bool, error) {
	for {
		reachable := map[*Stage]bool{}
		if err := pl.reach(pl.target, reachable, nil, pl.target.rng); err != nil {
			return nil, err
		}
		if err := pl.resolveImages(ctx, reachable); err != nil {
			return nil, err
		}
		more := false
		for s := range reachable {
			if _, done := pl.onbuild[s]; done || s.def == nil {
				continue
			}
			triggers, err := pl.triggers(s)
			if err != nil {
				return nil, err
			}
			pl.onbuild[s] = triggers
			more = more || len(triggers) > 0
		}
		if !more {
			return reachable, nil
		}
	}
}

// reach marks s and all it depends on; path is the chain that led here, to find circles, and at the lines that asked for s.
func (pl *planner) reach(s *Stage, seen map[*Stage]bool, path []*Stage, at dockerfile.Range) error {
	if contains(path, s) {
		return pl.errorAt(at, "", fmt.Errorf("circular dependency detected on stage: %s", s.def.Name))
	}
	if seen[s] {
		return nil
	}
	path = append(path, s)
	if s.base != nil {
		if err := pl.reach(s.base, seen, path, s.rng); err != nil {
			return err
		}
	}
	for _, ref := range pl.fromNames(s) {
		dep, err := pl.lookupFrom(ref)
		if err != nil {
			return err
		}
		if err := pl.reach(dep, seen, path, ref.at); err != nil {
			return err
		}
	}
	seen[s] = true
	return nil
}

// instructions are the ONBUILD triggers that a stage's base brings, then its own.
func (pl *planner) instructions(s *Stage) []dockerfile.Instruction {
	if s.def == nil {
		return nil
	}
	return append(append([]dockerfile.Instruction(nil), pl.onbuild[s]...), s.def.Instructions...)
}

// fromName is a --from and the lines that it stands in.
type fromName struct {
	name string
	at   dockerfile.Range
}

// fromNames lists the --from names in a stage's instructions.
func (pl *planner) fromNames(s *Stage) []fromName {
	var names []fromName
	for _, in := range pl.instructions(s) {
		switch in := in.(type) {
		case *dockerfile.Copy:
			if in.From != "" {
				names = append(names, fromName{in.From, in.Range()})
			}
		case *dockerfile.Run:
			for _, m := range in.Mounts {
				if m.From != "" && m.From != "scratch" {
					names = append(names, fromName{m.From, in.Range()})
				}
			}
		}
	}
	return names
}

// lookupFrom finds what --from=name means: a stage by number, a named context, a stage by name, else an image.
func (pl *planner) lookupFrom(ref fromName) (*Stage, error) {
	name := ref.name
	if n, err := strconv.Atoi(name); err == nil {
		if n < 0 || n >= len(pl.stages) {
			return nil, pl.errorAt(ref.at, "", fmt.Errorf("invalid stage index %d", n))
		}
		return pl.stages[n], nil
	}
	if x, ok := pl.extra[name]; ok {
		return x, nil
	}
	value, isNamed := pl.opts.Input.named(name)
	if !isNamed {
		if dep, ok := pl.byName[strings.ToLower(name)]; ok {
			return dep, nil
		}
	}
	x := &Stage{Name: name, Platform: pl.platform, image: name, rng: ref.at}
	if isNamed {
		x.image, x.named, x.alias = "", namedValue(value), name
	}
	if name == "scratch" {
		x.image = ""
	}
	pl.extra[name] = x
	return x, nil
}

// resolveImages asks for the configs of all base images at once.
func (pl *planner) resolveImages(ctx context.Context, reachable map[*Stage]bool) error {
	g, ctx := errgroup.WithContext(ctx)
	type found struct {
		s *Stage
		m *imageMeta
	}
	results := make(chan found, len(reachable))
	for s := range reachable {
		if s.base != nil || (s.image == "" && s.named == "") || pl.metas[s] != nil || s.isContext() {
			continue
		}
		g.Go(func() error {
			m, err := pl.resolveOne(ctx, s)
			if err != nil {
				return pl.imageError(s, err)
			}
			results <- found{s, m}
			return nil
		})
	}
	err := g.Wait()
	close(results)
	for r := range results {
		pl.metas[r.s] = r.m
	}
	return err
}

// imageError places what went wrong with an image. A name that is almost a stage's is likely a slip.
func (pl *planner) imageError(s *Stage, err error) error {
	e := &StepError{Name: "FROM " + s.image + s.named, File: pl.file.Name, Range: s.rng, Excerpt: excerpt(pl.file, s.rng), Err: err}
	if similar := pl.file.SimilarStage(s.image); s.image != "" && similar != "" {
		e.Hint = fmt.Sprintf("%q is no stage, so it is taken for an image: did you mean the stage %s?", s.image, similar)
	}
	return e
}

func (pl *planner) resolveOne(ctx context.Context, s *Stage) (*imageMeta, error) {
	if s.named != "" {
		return pl.resolver.resolveNamed(ctx, s.alias, s.named, s.Platform)
	}
	return pl.resolver.resolveBase(ctx, s.image, s.Platform)
}

// namedValue is a --build-context value, with "" for the empty image.
func namedValue(value string) string {
	if value == "docker-image://scratch" {
		return ""
	}
	return value
}

// triggers parses the ONBUILD triggers that the base of s leaves: those of an image's config or of a local stage.
func (pl *planner) triggers(s *Stage) ([]dockerfile.Instruction, error) {
	var exprs []string
	if m := pl.metas[s]; m != nil {
		exprs = m.config.Config.OnBuild
	}
	if s.base != nil && s.base.def != nil {
		for _, in := range s.base.def.Instructions {
			if ob, ok := in.(*dockerfile.OnBuild); ok {
				exprs = append(exprs, ob.Expression)
			}
		}
	}
	out := make([]dockerfile.Instruction, 0, len(exprs))
	for _, e := range exprs {
		in, err := pl.file.ParseOnBuild(e, s.rng)
		if err != nil {
			return nil, err
		}
		out = append(out, in)
	}
	return out, nil
}

// isContext reports whether the stage is a named context that is no image: a directory, a URL or a git repository.
func (s *Stage) isContext() bool {
	return s != nil && s.named != "" && !strings.HasPrefix(s.named, "docker-image://") && !strings.HasPrefix(s.named, "oci-layout://")
}

// emptyConfig is the config of FROM scratch.
func emptyConfig(p oci.Platform) oci.Config {
	var c oci.Config
	c.Platform = p
	c.RootFS.Type = "layers"
	c.Config.WorkingDir = "/"
	c.Config.Env = []string{"PATH=" + defaultPath}
	return c
}

// defaultPath is the PATH of images that set none, as in Docker.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
