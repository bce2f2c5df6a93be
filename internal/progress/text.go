package progress

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cairnbuild/cairn/internal/engine"
)

// The colours that we use ourselves.
const (
	colourOff    = "\x1b[0m"
	colourError  = "\x1b[31m"
	colourDone   = "\x1b[34m"
	colourCached = "\x1b[36m"
	colourWarn   = "\x1b[33m"
	colourFaint  = "\x1b[2m"
)

// seconds prints a duration as BuildKit does.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", max(0, d.Seconds())) }

// bytesText prints a size in decimal units.
func bytesText(n int64) string {
	f, units := float64(n), []string{"B", "kB", "MB", "GB", "TB"}
	i := 0
	for f >= 1000 && i < len(units)-1 {
		f /= 1000
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%dB", n)
	}
	return fmt.Sprintf("%.2f%s", f, units[i])
}

// stepName is a step's name as one line.
func stepName(ev engine.Event) string {
	return clean(strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ", "\t", " ").Replace(ev.Name), false)
}

// statusText describes a sub-operation: its name and how far it is.
func statusText(ev engine.Event) string {
	text := ev.Name
	if bytes := statusBytes(ev); bytes != "" {
		text += " " + bytes
	}
	if ev.Done {
		text += " done"
	}
	return text
}

// statusBytes says how far a sub-operation is, as far as that is known.
func statusBytes(ev engine.Event) string {
	switch {
	case ev.Total > 0:
		return bytesText(ev.Current) + " / " + bytesText(ev.Total)
	case ev.Current > 0:
		return bytesText(ev.Current)
	}
	return ""
}

// printWarnings lists the warnings, as a build's last words but one.
func printWarnings(w io.Writer, warnings []*engine.Warning) {
	if len(warnings) == 0 {
		return
	}
	plural := "s"
	if len(warnings) == 1 {
		plural = ""
	}
	fmt.Fprintf(w, "\n%d warning%s found:\n", len(warnings), plural)
	for _, warning := range warnings {
		fmt.Fprintf(w, " - %s\n", WarningText(warning))
	}
}

// WarningText is a warning as one line, without its excerpt.
func WarningText(w *engine.Warning) string {
	var b strings.Builder
	if w.Rule != "" {
		fmt.Fprintf(&b, "%s: ", w.Rule)
	}
	b.WriteString(w.Text)
	if w.Line > 0 {
		fmt.Fprintf(&b, " (%s line %d)", w.File, w.Line)
	}
	return Visible(b.String())
}

// summary is the last line: the image id and the total time.
func summary(ev engine.Event) string {
	if ev.Name == "" {
		return "built in " + seconds(ev.Duration)
	}
	return fmt.Sprintf("built %s in %s", Visible(ev.Name), seconds(ev.Duration))
}

// tailLines is how many of a failed step's last lines are shown, and tailWidth how many characters of each.
const (
	tailLines = 20
	tailWidth = 500
)

// PrintFailure shows what is worth seeing of a failed step before its error: the end of its output, and the Dockerfile's lines.
func PrintFailure(w io.Writer, e *engine.StepError) {
	if text := strings.TrimRight(string(e.Tail), "\r\n"); text != "" {
		lines := strings.Split(text, "\n")
		fmt.Fprintf(w, "------\n > %s:\n", Visible(e.Name))
		if len(lines) > tailLines {
			lines = lines[len(lines)-tailLines:]
		}
		for _, l := range lines {
			fmt.Fprintln(w, Shorten(clean(l, false), tailWidth))
		}
		fmt.Fprintln(w, "------")
	}
	if e.Excerpt != "" {
		fmt.Fprintf(w, "%s\n", Visible(strings.TrimRight(e.Excerpt, "\n")))
	}
}

// Shorten cuts text at a number of characters, of which the last is an ellipsis.
func Shorten(text string, limit int) string {
	if r := []rune(text); len(r) > limit {
		return string(r[:limit-1]) + "…"
	}
	return text
}
