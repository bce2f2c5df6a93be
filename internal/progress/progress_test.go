package progress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"

	"github.com/cairnbuild/cairn/internal/engine"
)

// script makes events at given milliseconds.
type script struct {
	start  time.Time
	events []engine.Event
	begun  map[int]int
}

func newScript() *script {
	return &script{start: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), begun: map[int]int{}}
}

func (s *script) add(ms int, ev engine.Event) {
	ev.Time = s.start.Add(time.Duration(ms) * time.Millisecond)
	s.events = append(s.events, ev)
}

func (s *script) planned(ms int, name string, total int64) {
	s.add(ms, engine.Event{Kind: engine.Planned, Name: name, Total: total})
}

func (s *script) begin(ms, step int, name string) {
	s.begun[step] = ms
	s.add(ms, engine.Event{Kind: engine.StepStarted, Step: step, Name: name})
}

func (s *script) out(ms, step int, text string) {
	s.add(ms, engine.Event{Kind: engine.StepOutput, Step: step, Stream: 1, Data: []byte(text)})
}

func (s *script) end(ms, step int, cached bool, err error) {
	d := time.Duration(ms-s.begun[step]) * time.Millisecond
	s.add(ms, engine.Event{Kind: engine.StepFinished, Step: step, Cached: cached, Err: err, Duration: d})
}

func (s *script) status(ms, step int, name string, current, total int64) {
	s.add(ms, engine.Event{
		Kind: engine.StepStatus, Step: step, Name: name, Current: current, Total: total, Done: current == total,
	})
}

func (s *script) built(ms int) {
	s.add(ms, engine.Event{Kind: engine.BuildFinished, Name: "sha256:0123456789ab", Duration: time.Duration(ms) * time.Millisecond})
}

// ordinary is a build in which all goes well, one step after the other.
func ordinary() *script {
	s := newScript()
	s.begin(0, 1, "[internal] load metadata for docker.io/library/debian:latest")
	s.end(40, 1, false, nil)
	s.begin(50, 2, "[stage-0 1/3] FROM docker.io/library/debian")
	s.status(60, 2, "sha256:aaaa", 0, 30_000_000)
	s.status(3000, 2, "sha256:aaaa", 10_000_000, 30_000_000)
	s.status(6000, 2, "sha256:aaaa", 20_000_000, 30_000_000)
	s.status(9000, 2, "sha256:aaaa", 30_000_000, 30_000_000)
	s.end(9100, 2, false, nil)
	s.begin(9200, 3, "[stage-0 2/3] RUN make")
	s.out(9300, 3, "compiling\nhalf a ")
	s.out(9400, 3, "line\r\nprogress 10%\rprogress 90%\rprogress done\n")
	s.out(9500, 3, "\x1b[31mred\x1b[0m \x1b[2Jcleared\x07\nno newline at the end")
	s.end(10400, 3, false, nil)
	s.begin(10400, 4, "[stage-0 3/3] COPY . /src")
	s.end(10400, 4, true, nil)
	s.add(10450, engine.Event{Kind: engine.Warned, Warning: &engine.Warning{
		Rule: "JSONArgsRecommended", Text: "JSON arguments recommended for CMD", File: "Dockerfile", Line: 4,
	}})
	s.built(10500)
	return s
}

// sideBySide has two steps that talk at the same time, and a third that is silent.
func sideBySide() *script {
	s := newScript()
	s.begin(0, 1, "[a 1/1] RUN loud")
	s.begin(10, 2, "[b 1/1] RUN loud too")
	s.begin(20, 3, "[c 1/1] RUN silent")
	for ms := 100; ms < 12000; ms += 400 {
		s.out(ms, 1, fmt.Sprintf("a at %d\n", ms))
		s.out(ms+10, 2, fmt.Sprintf("b at %d\n", ms))
	}
	s.end(12000, 1, false, nil)
	s.end(12100, 3, false, nil)
	s.end(12200, 2, false, nil)
	s.built(12300)
	return s
}

// failing has a step that fails and one that is stopped because of it.
func failing() *script {
	s := newScript()
	s.begin(0, 1, "[a 1/1] RUN sleep 9")
	s.begin(5, 2, "[b 1/1] RUN false")
	s.out(100, 2, "about to fail\n")
	s.end(200, 2, false, errors.New(`process "/bin/sh -c false" did not complete successfully: exit code: 1`))
	s.end(210, 1, false, context.Canceled)
	return s
}

func draw(t *testing.T, d Display, s *script) {
	t.Helper()
	for _, ev := range s.events {
		d.Event(ev)
	}
	assert.NilError(t, d.Close())
}

func TestPlain(t *testing.T) {
	for name, s := range map[string]*script{"ordinary": ordinary(), "side-by-side": sideBySide(), "failing": failing(), "nothing": newScript()} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			draw(t, newPlain(&b, Style{}), s)
			golden.Assert(t, b.String(), "plain-"+name+".golden")
		})
	}
}

func TestPlainKeepsColours(t *testing.T) {
	var b bytes.Buffer
	draw(t, newPlain(&b, Style{Colour: true}), ordinary())
	assert.Assert(t, strings.Contains(b.String(), "\x1b[31mred\x1b[0m cleared"), "%q", b.String())
}

// Of a step that talks alone, every line appears when it comes, not when the step is over.
func TestPlainDoesNotHoldBack(t *testing.T) {
	var b bytes.Buffer
	d := newPlain(&b, Style{})
	s := newScript()
	s.begin(0, 1, "RUN x")
	s.out(10, 1, "first\n")
	for _, ev := range s.events {
		d.Event(ev)
	}
	assert.Equal(t, b.String(), "#1 RUN x\n#1 0.010 first\n")
}

// A line of a step that waits for its turn appears without a further event when the one that has the floor is silent.
func TestPlainGivesTheFloorByTheClock(t *testing.T) {
	var b bytes.Buffer
	d := newPlain(&b, Style{})
	s := newScript()
	s.begin(0, 1, "RUN silent")
	s.begin(10, 2, "RUN talking")
	s.out(20, 2, "hello\n")
	for _, ev := range s.events {
		d.Event(ev)
	}
	assert.Equal(t, b.String(), "#1 RUN silent\n")
	d.tick(s.start.Add(500 * time.Millisecond))
	assert.Equal(t, b.String(), "#1 RUN silent\n")
	d.tick(s.start.Add(1100 * time.Millisecond))
	assert.Equal(t, b.String(), "#1 RUN silent\n\n#2 RUN talking\n#2 0.010 hello\n")
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	draw(t, newJSON(&b), ordinary())
	draw(t, newJSON(&b), failing())
	golden.Assert(t, b.String(), "json.golden")
}

func TestQuiet(t *testing.T) {
	d, err := New(Quiet, os.Stderr)
	assert.NilError(t, err)
	draw(t, d, ordinary())
}

func TestUnknownMode(t *testing.T) {
	_, err := New("fancy", os.Stderr)
	assert.ErrorContains(t, err, `unknown progress mode "fancy": there are auto, plain, tty`)
}

func TestAutoIsPlainWithoutTerminal(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/log")
	assert.NilError(t, err)
	defer f.Close()
	for _, mode := range []string{Auto, Plain, ""} {
		d, err := New(mode, f)
		assert.NilError(t, err)
		_, ok := d.(*ticking)
		assert.Assert(t, ok, mode)
		assert.NilError(t, d.Close())
	}
	_, err = New(TTY, f)
	assert.ErrorContains(t, err, "needs a terminal")
}

func TestClean(t *testing.T) {
	for _, c := range []struct{ in, plain, colour string }{
		{"text", "text", "text"},
		{"tab\there", "tab\there", "tab\there"},
		{"a\rb\rc", "c", "c"},
		{"a\rb\r", "b", "b"},
		{"\r", "", ""},
		{"abc\b\bX", "aX", "aX"},
		{"\x1b[1;32mok\x1b[m", "ok", "\x1b[1;32mok\x1b[m\x1b[0m"},
		{"\x1b[?25lhidden\x1b[2K\x1b[10;1H", "hidden", "hidden"},
		{"\x1b]0;title\x07x\x1b]8;;http://a\x1b\\y", "xy", "xy"},
		{"\x1bPq#0\x1b\\z", "z", "z"},
		{"\x1b(Bx\x1b=y", "xy", "xy"},
		{"\x1b", "", ""},
		{"\x1b[", "", ""},
		{"\x1b[31", "", ""},
		{"\x00\x01\x7f\u0085\u009bx", "x", "x"},
		{"bad \xff utf8 ü", "bad \uFFFD utf8 ü", "bad \uFFFD utf8 ü"},
		{"日本", "日本", "日本"},
	} {
		assert.Equal(t, clean(c.in, false), c.plain, "%q", c.in)
		assert.Equal(t, clean(c.in, true), c.colour, "%q", c.in)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b[31mred\x1b[0m\r\nx")
	f.Add("\x1b]0;t\x07\x1bP\x1b\\")
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s, false)
		assert.Assert(t, !strings.ContainsAny(got, "\x1b\r\x00\x07\b"), "%q gives %q", s, got)
	})
}

func TestLineBuffer(t *testing.T) {
	var b lineBuffer
	assert.DeepEqual(t, b.add([]byte("a\nb")), []string{"a"})
	assert.Equal(t, b.partial(), "b")
	assert.DeepEqual(t, b.add([]byte("c\n\n")), []string{"bc", ""})
	assert.Assert(t, b.flush() == nil)
	b.add([]byte("rest"))
	assert.DeepEqual(t, b.flush(), []string{"rest"})
}

// A program that never ends its line costs no more than a line.
func TestLineBufferIsBounded(t *testing.T) {
	var b lineBuffer
	total := 0
	for range 1000 {
		for _, l := range b.add(bytes.Repeat([]byte("ü"), 1000)) {
			total += len(l)
			assert.Equal(t, clean(l, false), l) // not cut inside a character
		}
		assert.Assert(t, len(b.rest) <= maxLine+2000)
	}
	assert.Assert(t, total > 1_900_000, total)
	var bar lineBuffer
	for i := range 100000 {
		assert.Equal(t, len(bar.add([]byte(fmt.Sprintf("\r%d%%", i)))), 0)
		assert.Assert(t, len(bar.rest) <= maxLine+10)
	}
}

func TestPrintFailure(t *testing.T) {
	var b bytes.Buffer
	var tail strings.Builder
	for i := range 100 {
		fmt.Fprintf(&tail, "line %d\n", i)
	}
	PrintFailure(&b, &engine.StepError{Name: "[2/2] RUN x", File: "Dockerfile", Tail: []byte(tail.String()), Excerpt: "excerpt\n"})
	lines := strings.Split(b.String(), "\n")
	assert.Equal(t, lines[1], " > [2/2] RUN x:")
	assert.Equal(t, lines[2], "line 80")
	assert.Equal(t, lines[21], "line 99")
	b.Reset()
	PrintFailure(&b, &engine.StepError{Name: "COPY x"})
	assert.Equal(t, b.String(), "")
}

// What turns the order of characters around is spelled out wherever somebody else's text is shown.
func TestMisleadingTextIsSpelledOut(t *testing.T) {
	const mark = "\u202e"
	s := newScript()
	s.begin(0, 1, "[1/2] RUN "+mark+"x")
	s.out(10, 1, "output "+mark+"x\n")
	s.status(20, 1, "status "+mark, 1, 2)
	s.add(30, engine.Event{Kind: engine.Warned, Warning: &engine.Warning{Text: mark, File: mark, Line: 1}})
	s.end(40, 1, false, errors.New("error "+mark+"\nand a second line"))
	s.begin(50, 2, "[2/2] RUN "+mark+"x")
	s.add(60, engine.Event{Kind: engine.BuildFinished, Name: mark})
	for mode, make := range map[string]func(io.Writer) Display{
		"plain": func(w io.Writer) Display { return newPlain(w, Style{Colour: true}) },
		"json":  func(w io.Writer) Display { return newJSON(w) },
	} {
		t.Run(mode, func(t *testing.T) {
			var b bytes.Buffer
			draw(t, make(&b), s)
			assert.Assert(t, !strings.Contains(b.String(), mark) && strings.Contains(b.String(), `\u202e`), b.String())
			assert.Assert(t, mode != "plain" || strings.Contains(b.String(), "\n#1 and a second line"), b.String())
		})
	}
	t.Run("tty", func(t *testing.T) {
		l := newLive(Style{}, s.start)
		for _, ev := range s.events {
			l.event(ev)
			for _, r := range append(l.area(ev.Time, 20), l.settled()...) {
				assert.Assert(t, !strings.Contains(r.left+r.right, mark), "%q", r)
			}
		}
	})
	var b bytes.Buffer
	PrintFailure(&b, &engine.StepError{Name: mark, Tail: []byte(mark + "\n"), Excerpt: mark + "\n"})
	assert.Assert(t, !strings.Contains(b.String(), mark), b.String())
}
