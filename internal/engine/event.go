package engine

import "time"

// EventKind says what an Event reports.
type EventKind int

// The kinds of events, in the order in which one step gives them.
const (
	// Planned: Name says what is going on ("building"), Total how many steps it has that are not Internal, 0 when that is
	// not known. Sent at most once; internal steps may come before it.
	Planned EventKind = iota + 1
	// StepStarted: Step, Name and Internal are set. Steps that are cached give StepStarted and StepFinished with Cached.
	StepStarted
	// StepOutput: Stream is 1 or 2, Data are raw bytes of the command's output, not cut at lines.
	StepOutput
	// StepStatus: Name is a sub-operation ("extracting sha256:..."), Current and Total are bytes (Total 0 when unknown), and
	// Done says that it is over.
	StepStatus
	// StepFinished: Duration, Cached, Err (nil when it went well; context.Canceled when another step's failure stopped it).
	StepFinished
	// Warned: Text is a warning with its source range, if it has one. Shown at the end.
	Warned
	// BuildFinished: Name is the short image id or the destination, Duration the total. Not sent when the build failed.
	BuildFinished
)

// Event is one thing that happened in a build. Events of one build come from one goroutine at a time.
type Event struct {
	Kind EventKind
	Time time.Time
	// Step numbers the step from 1 in the order in which steps first appear: the N of "#N". It is 0 for what takes long
	// before the steps are known, one thing at a time.
	Step int
	// Name is what stands behind the number: "[internal] load build context", "[stage-1 2/4] RUN make".
	Name string
	// Internal says of a step that it is none of the Dockerfile's.
	Internal bool
	Stream   int
	Data     []byte
	Current  int64
	Total    int64
	Done     bool
	Cached   bool
	Err      error
	Duration time.Duration
	Warning  *Warning
}

// Warning is a lint finding or another remark for the person who builds; it never fails the build by itself.
type Warning struct {
	// Rule is the lint rule's name, empty for other remarks.
	Rule string
	Text string
	// URL explains the rule.
	URL string
	// File and Line locate it, Line from 1; Line 0 when it has no place. Excerpt are the Dockerfile's lines around it, already numbered.
	File    string
	Line    int
	Excerpt string
}
