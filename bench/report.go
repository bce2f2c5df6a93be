package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

const floorName = "floor"

// report prints a Markdown table, a line as soon as it is measured. The first tool is what the others are compared with.
type report struct {
	w     io.Writer
	tools []tool
}

func newReport(w io.Writer, tools []tool) *report {
	r := &report{w: w, tools: tools}
	first := tools[0].name()
	head := []string{"workload", first + " s", "CPU s", "peak MB", first + " / floor", "CPU"}
	for _, t := range tools[1:] {
		head = append(head, t.name()+" / "+first, "CPU")
	}
	fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	return r
}

// row prints one workload. Ratios are of samples of the same turn.
func (r *report) row(name string, got map[string][]sample) {
	first := got[r.tools[0].name()]
	wall := func(s sample) float64 { return s.wall.Seconds() }
	cpu := func(s sample) float64 { return max(s.cpu, time.Millisecond).Seconds() }
	rss := int64(0)
	for _, s := range first {
		rss = max(rss, s.rss)
	}
	cells := []string{name, fmt.Sprintf("%.3f", median(each(first, wall))), fmt.Sprintf("%.3f", median(each(first, cpu))), fmt.Sprint(rss >> 20),
		ratios(first, got[floorName], wall), ratios(first, got[floorName], cpu)}
	for _, t := range r.tools[1:] {
		cells = append(cells, ratios(got[t.name()], first, wall), ratios(got[t.name()], first, cpu))
	}
	fmt.Fprintf(r.w, "| %s |\n", strings.Join(cells, " | "))
}

func each(samples []sample, f func(sample) float64) (out []float64) {
	for _, s := range samples {
		out = append(out, f(s))
	}
	return out
}

// ratios is a/b of each turn: median (min to max).
func ratios(a, b []sample, f func(sample) float64) string {
	var v []float64
	for i := range a {
		v = append(v, f(a[i])/f(b[i]))
	}
	slices.Sort(v)
	return fmt.Sprintf("%.2f (%.2f to %.2f)", median(v), v[0], v[len(v)-1])
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
