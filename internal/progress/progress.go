// Package progress draws the events of a build: plain for logs, live for a terminal, JSON for programs, or not at all.
//
// The rules of what is drawn: everything goes to one writer, which is standard error. A line of a command's output is shown
// as what a terminal would have shown in the end: of a line that was overwritten with carriage returns the last state,
// without control characters; colours are kept, but not when NO_COLOR is set.
package progress

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/cairnbuild/cairn/internal/engine"
)

// The modes that New knows.
const (
	// Auto is TTY on a terminal that can move its cursor, else Plain.
	Auto  = "auto"
	Plain = "plain"
	TTY   = "tty"
	// JSON is one object per event and line; RawJSON is the same.
	JSON    = "json"
	RawJSON = "rawjson"
	// Quiet shows nothing.
	Quiet = "quiet"
)

// Modes lists what New knows.
func Modes() []string { return []string{Auto, Plain, TTY, JSON, RawJSON, Quiet} }

// IsMachine says whether a mode is for a program.
func IsMachine(mode string) bool { return mode == JSON || mode == RawJSON }

// Display draws events.
type Display interface {
	// Event draws one event. Calls must not overlap.
	Event(engine.Event)
	// Close draws what is left, the warnings and the summary last, and gives the terminal back as it was. It must be called,
	// whether the build went well or not, once, after the last Event.
	Close() error
}

// New returns the display for a mode. It is an error when there is no such mode, or it is TTY and out no terminal.
func New(mode string, out *os.File) (Display, error) {
	style := Style{Colour: os.Getenv("NO_COLOR") == ""}
	capable := term.IsTerminal(int(out.Fd())) && os.Getenv("TERM") != "dumb"
	switch mode {
	case Quiet:
		return discard{}, nil
	case JSON, RawJSON:
		return newJSON(out), nil
	case Plain:
		return startPlain(out, style), nil
	case Auto, "":
		if capable {
			return startTTY(out, style), nil
		}
		return startPlain(out, style), nil
	case TTY:
		if !capable {
			return nil, errors.New("progress mode tty needs a terminal on standard error that can move its cursor")
		}
		return startTTY(out, style), nil
	}
	return nil, fmt.Errorf("unknown progress mode %q: there are %s", mode, strings.Join(Modes(), ", "))
}

// Style says how to draw.
type Style struct {
	// Colour keeps the colours of commands, and on a terminal adds our own.
	Colour bool
}

type discard struct{}

func (discard) Event(engine.Event) {}
func (discard) Close() error       { return nil }
