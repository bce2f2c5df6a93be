package build

import "github.com/cairnbuild/cairn/oci/compress"

// wants are the plan's hints about which forms of a step's layer somebody will need.
type wants struct {
	// blob marks steps whose layers go into the image.
	blob map[*Step]bool
	// dir marks steps that a RUN stands on or mounts.
	dir         map[*Step]bool
	compression compress.Options
}

func wantsOf(p *Plan, opts *Options) wants {
	w := wants{blob: map[*Step]bool{}, dir: map[*Step]bool{}, compression: opts.Output.Compression}
	if opts.keepsImage() {
		for s := p.Target.Final; s != nil; s = s.Parent {
			w.blob[s] = true
		}
	}
	for _, st := range p.Stages {
		for _, s := range st.Steps {
			op, ok := s.op.(*runOp)
			if !ok {
				continue
			}
			w.markDirs(s.Parent)
			for _, src := range op.from {
				w.markDirs(src)
			}
		}
	}
	return w
}

func (w *wants) markDirs(s *Step) {
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
