package engine

import (
	"fmt"

	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/sandbox"
	units "github.com/docker/go-units"
)

// limits puts --shm-size and --ulimit into a step's spec.
func (e *engine) limits(spec *sandbox.Spec, l planner.Limits) error {
	spec.Limits.ShmSize, spec.Limits.Resources = l.ShmSize, e.opts.Run.Resources
	for _, s := range l.Ulimits {
		u, err := units.ParseUlimit(s)
		if err != nil {
			return fmt.Errorf("--ulimit %s: %w", s, err)
		}
		spec.Limits.Rlimits = append(spec.Limits.Rlimits, sandbox.Rlimit{Name: u.Name, Soft: uint64(u.Soft), Hard: uint64(u.Hard)})
	}
	return nil
}
