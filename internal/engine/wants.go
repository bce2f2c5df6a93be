package engine

import (
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/oci/compress"
)

// wants are the plan's hints about which forms of a step's layer somebody will need.
type wants struct {
	// blob marks steps whose layers go into the image.
	blob map[*planner.Step]bool
	// dir marks steps that a RUN stands on or mounts.
	dir         map[*planner.Step]bool
	compression compress.Options
}

func wantsOf(p *planner.Plan, opts *Options) wants {
	w := wants{blob: map[*planner.Step]bool{}, dir: map[*planner.Step]bool{}, compression: opts.Output.Compression}
	if opts.keepsImage() {
		for s := p.Target.Final; s != nil; s = s.Parent {
			w.blob[s] = true
		}
	}
	for _, st := range p.Stages {
		for _, s := range st.Steps {
			op, ok := s.Op.(*planner.Run)
			if !ok {
				continue
			}
			w.markDirs(s.Parent)
			for _, from := range op.Reads() {
				w.markDirs(from.Final)
			}
		}
	}
	return w
}

func (w *wants) markDirs(s *planner.Step) {
	for ; s != nil && !w.dir[s]; s = s.Parent {
		w.dir[s] = true
	}
}

// keepsImage reports whether an image is made: false when the only outputs are the bare file system.
func (o *Options) keepsImage() bool {
	if len(o.Output.Tags) > 0 || len(o.Output.Exports) == 0 {
		return true
	}
	for _, x := range o.Output.Exports {
		if x.Type != "local" && x.Type != "tar" {
			return true
		}
	}
	return false
}
