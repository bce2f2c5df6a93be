package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/util/suggest"
)

// didYouMean returns "did you mean X?" for the nearest of names, or "" when none is near.
func didYouMean(got string, names []string) string {
	if best := nearest(got, names); best != "" {
		return fmt.Sprintf("did you mean %s?", best)
	}
	return ""
}

// nearest returns the name that is most like got, as BuildKit's messages do; "" when none is like it, and for a word of one or
// two letters, which is as near to any other. Of two that are equally like it the first in alphabetical order is the one.
func nearest(got string, names []string) string {
	if len(strings.TrimLeft(got, "-")) < 3 {
		return ""
	}
	best, _ := suggest.Search(got, slices.Sorted(slices.Values(names)), true)
	return best
}
