package progress

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/cairnbuild/cairn/internal/engine"
)

// jsonEvent is an event as a line of JSON. Fields that say nothing are left out.
type jsonEvent struct {
	// Event is plan, start, output, status, finish, warning or built. The command line adds error.
	Event string    `json:"event"`
	Time  time.Time `json:"time"`
	// Step is there for all events of a step; 0 is what takes long before the steps are known.
	Step *int `json:"step,omitempty"`
	// Name is the step's, the sub-operation's (status), the image id (built) or what is going on (plan).
	Name string `json:"name,omitempty"`
	// Steps is how many steps there are that are not internal (plan).
	Steps    int64 `json:"steps,omitempty"`
	Internal bool  `json:"internal,omitempty"`
	// Stream is 1 or 2, Data what came on it, not cut at lines; bytes that are no UTF-8 are replaced.
	Stream  int          `json:"stream,omitempty"`
	Data    string       `json:"data,omitempty"`
	Bytes   *jsonBytes   `json:"bytes,omitempty"`
	Outcome *jsonOutcome `json:"outcome,omitempty"`
	Warning *jsonWarning `json:"warning,omitempty"`
	Seconds *float64     `json:"seconds,omitempty"`
}

// jsonBytes is how far a sub-operation is; Total 0 is unknown.
type jsonBytes struct {
	Current int64 `json:"current"`
	Total   int64 `json:"total"`
	Done    bool  `json:"done"`
}

// jsonOutcome is how a step ended.
type jsonOutcome struct {
	Cached   bool   `json:"cached"`
	Canceled bool   `json:"canceled,omitempty"`
	Error    string `json:"error,omitempty"`
}

type jsonWarning struct {
	Rule string `json:"rule,omitempty"`
	Text string `json:"text"`
	URL  string `json:"url,omitempty"`
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

// jsonDisplay writes one object per event.
type jsonDisplay struct {
	enc *json.Encoder
	err error
}

func newJSON(w io.Writer) *jsonDisplay {
	e := json.NewEncoder(VisibleWriter(w)) // JSON leaves some control characters as they are
	e.SetEscapeHTML(false)
	return &jsonDisplay{enc: e}
}

// Event implements Display.
func (d *jsonDisplay) Event(ev engine.Event) {
	out := jsonEvent{Time: ev.Time.UTC(), Name: ev.Name}
	switch ev.Kind {
	case engine.StepStarted, engine.StepOutput, engine.StepStatus, engine.StepFinished:
		out.Step = &ev.Step
	}
	elapsed := ev.Duration.Seconds()
	switch ev.Kind {
	case engine.Planned:
		out.Event, out.Steps = "plan", ev.Total
	case engine.StepStarted:
		out.Event, out.Internal = "start", ev.Internal
	case engine.StepOutput:
		out.Event, out.Stream, out.Data = "output", stream(ev), strings.ToValidUTF8(string(ev.Data), "\uFFFD")
	case engine.StepStatus:
		out.Event, out.Bytes = "status", &jsonBytes{ev.Current, ev.Total, ev.Done}
	case engine.StepFinished:
		out.Event, out.Seconds, out.Outcome = "finish", &elapsed, &jsonOutcome{Cached: ev.Cached}
		if errors.Is(ev.Err, context.Canceled) {
			out.Outcome.Canceled = true
		} else if ev.Err != nil {
			out.Outcome.Error = ev.Err.Error()
		}
	case engine.Warned:
		w := ev.Warning
		out.Event, out.Warning = "warning", &jsonWarning{w.Rule, w.Text, w.URL, w.File, w.Line}
	case engine.BuildFinished:
		out.Event, out.Seconds = "built", &elapsed
	}
	if err := d.enc.Encode(out); d.err == nil {
		d.err = err
	}
}

// Close implements Display: it returns the first error of writing.
func (d *jsonDisplay) Close() error { return d.err }
