package progress

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/cairnbuild/cairn/internal/engine"
)

// How much a running step shows.
const (
	logLines    = 6
	statusLines = 4
)

// liveStep is a step that is running.
type liveStep struct {
	name     string
	internal bool
	began    time.Time
	output   [3]lineBuffer  // by stream
	log      []string       // the last lines, at most logLines
	statuses []engine.Event // by name, in order of appearance
}

// live is what the screen of a running build shows: above, once and for all, a line per finished step; below, redrawn again
// and again, the running steps with their last lines.
type live struct {
	style    Style
	began    time.Time
	steps    map[int]*liveStep
	running  []int // numbers of running steps, in order of start
	title    string
	total    int   // how many steps of the Dockerfile there are, 0 when that is not known
	over     int   // how many of them are finished
	done     []row // finished and not yet drawn
	warnings []*engine.Warning
	finished *engine.Event
}

// row is one line of the screen: text on the left, shortened if need be, and a time on the right.
type row struct {
	left, right string
	colour      string
}

func newLive(style Style, now time.Time) *live {
	return &live{style: style, began: now, title: "building", steps: map[int]*liveStep{}}
}

func (l *live) event(ev engine.Event) {
	switch ev.Kind {
	case engine.Planned:
		l.title, l.total = clean(ev.Name, false), int(ev.Total)
		return
	case engine.StepStarted:
		l.steps[ev.Step] = &liveStep{name: stepName(ev), internal: ev.Internal, began: ev.Time}
		l.running = append(l.running, ev.Step)
		return
	case engine.Warned:
		l.warnings = append(l.warnings, ev.Warning)
		return
	case engine.BuildFinished:
		l.finished = &ev
		return
	}
	s := l.steps[ev.Step]
	if s == nil {
		return
	}
	switch ev.Kind {
	case engine.StepOutput:
		for _, line := range s.output[stream(ev)].add(ev.Data) {
			s.log = append(s.log, line)
		}
		s.log = s.log[max(0, len(s.log)-logLines):]
	case engine.StepStatus:
		s.status(ev)
	case engine.StepFinished:
		l.finish(s, ev)
	}
}

func (s *liveStep) status(ev engine.Event) {
	for i := range s.statuses {
		if s.statuses[i].Name == ev.Name {
			s.statuses[i] = ev
			return
		}
	}
	s.statuses = append(s.statuses, ev)
}

// finish turns a running step into one line for good.
func (l *live) finish(s *liveStep, ev engine.Event) {
	delete(l.steps, ev.Step)
	for i, n := range l.running {
		if n == ev.Step {
			l.running = append(l.running[:i:i], l.running[i+1:]...)
			break
		}
	}
	if !s.internal {
		l.over++
	}
	r := row{left: "=> " + s.name, right: seconds(ev.Duration), colour: colourDone}
	switch {
	case errors.Is(ev.Err, context.Canceled):
		r.left, r.colour = "=> CANCELED "+s.name, colourWarn
	case ev.Err != nil:
		r.left, r.colour = "=> ERROR "+s.name, colourError
	case ev.Cached:
		r.left, r.colour = "=> CACHED "+s.name, colourCached
	}
	l.done = append(l.done, r)
}

// settled takes the finished steps that were not drawn yet.
func (l *live) settled() []row {
	rows := l.done
	l.done = nil
	return rows
}

// area are the rows of the running steps, at most height of them: the headline, every step, and as many of their lines as fit.
func (l *live) area(now time.Time, height int) []row {
	if len(l.running) == 0 || height < 1 {
		return nil
	}
	headline := row{left: "[+] " + l.title, right: seconds(now.Sub(l.began))}
	if l.total > 0 {
		headline.left += fmt.Sprintf(", %d of %d steps done", l.over, l.total)
	}
	rows := []row{headline}
	shown := l.running
	if len(shown) > height-1 {
		shown = shown[len(shown)-(height-1):]
	}
	room := height - 1 - len(shown)
	for i, n := range shown {
		s := l.steps[n]
		rows = append(rows, row{left: " => " + s.name, right: seconds(now.Sub(s.began))})
		share := room / (len(shown) - i)
		details := s.details(share)
		room -= len(details)
		rows = append(rows, details...)
	}
	return rows
}

// details are what a running step shows below its name: transfers that are under way, then the last lines of its output.
func (s *liveStep) details(limit int) []row {
	var rows []row
	for _, ev := range s.statuses {
		if !ev.Done {
			// Of a name that is too long, such as a digest, the terminal's width cuts the end; how far it is stays.
			rows = append(rows, row{left: " => => " + clean(ev.Name, false), right: statusBytes(ev), colour: colourFaint})
		}
	}
	rows = rows[max(0, len(rows)-statusLines):]
	lines := s.log
	for i := range s.output {
		if rest := s.output[i].partial(); rest != "" {
			lines = append(lines[:len(lines):len(lines)], rest)
		}
	}
	for _, line := range lines[max(0, len(lines)-logLines):] {
		rows = append(rows, row{left: " => => # " + clean(line, false), colour: colourFaint})
	}
	return rows[max(0, len(rows)-max(0, limit)):]
}

// text draws a row for a terminal of some width and says how many columns it takes. It never fills the last column: there
// terminals differ.
func (r row) text(width int, style Style) (text string, columns int) {
	left := strings.ReplaceAll(r.left, "\t", "    ")
	room := max(1, width-1)
	right := r.right
	if len(right)+8 > room {
		right = ""
	}
	if right != "" {
		room -= len(right) + 1
	}
	if runewidth.StringWidth(left) > room {
		left = runewidth.Truncate(left, room, "…")
	}
	columns = runewidth.StringWidth(left)
	text = left
	if right != "" {
		text += strings.Repeat(" ", room-columns+1) + right
		columns = room + 1 + len(right)
	}
	if style.Colour && r.colour != "" {
		text = r.colour + text + colourOff
	}
	return text, columns
}
