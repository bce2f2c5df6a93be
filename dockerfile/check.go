package dockerfile

import (
	"fmt"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
)

// ParseCheck reads the value of "# check=" or of the build argument BUILDKIT_DOCKERFILE_CHECK:
// "skip=Rule,Rule;experimental=all;error=true".
func ParseCheck(value string) (CheckOptions, error) {
	c, err := linter.ParseLintOptions(value)
	if err != nil {
		return CheckOptions{}, fmt.Errorf("parse check options: %s", message(err))
	}
	return CheckOptions{
		Skip: c.SkipRules, SkipAll: c.SkipAll, Experimental: c.ExperimentalRules, ExperimentalAll: c.ExperimentalAll, Error: c.ReturnAsError,
	}, nil
}
