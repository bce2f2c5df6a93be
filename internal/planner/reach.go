package planner

import (
	"context"
	"fmt"
	"slices"

	"github.com/cairnbuild/cairn/dockerfile"
	"golang.org/x/sync/errgroup"
)

// resolveReachable finds what the target needs and resolves the images in it. ONBUILD triggers of a base can need
// further stages, so it goes round until nothing new appears.
func (pl *planner) resolveReachable(ctx context.Context) (map[*node]bool, error) {
	for {
		reachable := map[*node]bool{}
		if err := pl.reach(pl.target, reachable, nil, pl.target.at); err != nil {
			return nil, err
		}
		if err := pl.resolveImages(ctx, reachable); err != nil {
			return nil, err
		}
		more := false
		for _, n := range pl.nodes {
			if n.triggered || !reachable[n] {
				continue
			}
			if err := pl.trigger(n); err != nil {
				return nil, err
			}
			more = more || len(n.triggers) > 0
		}
		if !more {
			return reachable, nil
		}
	}
}

// reach marks n and all it depends on; path is the chain that led here, to find circles, and at the lines that asked
// for n.
func (pl *planner) reach(n *node, seen map[*node]bool, path []*node, at dockerfile.Range) error {
	if slices.Contains(path, n) {
		return pl.errorAt(at, fmt.Errorf("circular dependency detected on stage: %s", n.def.Name))
	}
	if seen[n] {
		return nil
	}
	path = append(path, n)
	if n.below != nil {
		if err := pl.reach(n.below, seen, path, n.at); err != nil {
			return err
		}
	}
	for _, ref := range n.fromNames() {
		dep, _, err := pl.find(ref)
		if err != nil {
			return err
		}
		if dep == nil {
			continue
		}
		if err := pl.reach(dep, seen, path, ref.at); err != nil {
			return err
		}
	}
	seen[n] = true
	return nil
}

// resolveImages asks for the configs of all base images at once.
func (pl *planner) resolveImages(ctx context.Context, reachable map[*node]bool) error {
	g, ctx := errgroup.WithContext(ctx)
	for n := range reachable {
		if !n.isImage() || n.base != nil {
			continue
		}
		g.Go(func() (err error) {
			if n.base, err = pl.resolve(ctx, n); err != nil {
				return pl.baseError(n, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (pl *planner) resolve(ctx context.Context, n *node) (*Base, error) {
	if n.context != nil {
		return pl.bases.ResolveContext(ctx, *n.context, n.Platform)
	}
	return pl.bases.ResolveBase(ctx, n.image, n.Platform)
}

// baseError places what went wrong with an image. A name that is almost a stage's is likely a slip.
func (pl *planner) baseError(n *node, err error) error {
	e := &BaseError{Name: "FROM " + n.fromText(), Range: n.at, Err: err}
	if similar := pl.file.SimilarStage(n.image); n.image != "" && similar != "" {
		const text = "%q is no stage, so it is taken for an image: did you mean the stage %s?"
		e.Hint = fmt.Sprintf(text, n.image, similar)
	}
	return e
}

// trigger parses the ONBUILD triggers that the base of n leaves: those of an image's config or of an earlier stage.
func (pl *planner) trigger(n *node) error {
	n.triggered = true
	var expressions []string
	switch {
	case n.base != nil:
		expressions = n.base.Config.Config.OnBuild
	case n.below != nil:
		expressions = n.below.def.Triggers()
	}
	for _, e := range expressions {
		in, err := pl.file.ParseOnBuild(e, n.at)
		if err != nil {
			return err
		}
		n.triggers = append(n.triggers, in)
	}
	return nil
}
