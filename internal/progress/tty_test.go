package progress

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/engine"
)

// emulator is as much of a terminal as the screen uses: lines, cursor up, erase, the cursor's visibility. Rows that are
// wider than it fail the test, since they would wrap.
type emulator struct {
	t      *testing.T
	width  int
	lines  []string
	at     int
	hidden bool
}

func (e *emulator) Write(p []byte) (int, error) {
	s := string(p)
	for s != "" {
		switch {
		case strings.HasPrefix(s, hideCursor):
			e.hidden, s = true, s[len(hideCursor):]
		case strings.HasPrefix(s, showCursor):
			e.hidden, s = false, s[len(showCursor):]
		case strings.HasPrefix(s, eraseRight):
			s = s[len(eraseRight):]
		case strings.HasPrefix(s, eraseBelow):
			e.lines, s = e.lines[:min(e.at, len(e.lines))], s[len(eraseBelow):]
		case s[0] == '\r':
			s = s[1:]
		case s[0] == 0x1b:
			var up int
			_, err := fmt.Sscanf(s, "\x1b[%dA", &up)
			assert.NilError(e.t, err, "%q", s)
			e.at -= up
			assert.Assert(e.t, e.at >= 0, "moved above the first line")
			s = s[strings.IndexByte(s, 'A')+1:]
		default:
			i := strings.IndexAny(s, "\n\x1b")
			line := s[:i]
			assert.Assert(e.t, runewidth.StringWidth(line) < e.width, "%q is too wide", line)
			for len(e.lines) <= e.at {
				e.lines = append(e.lines, "")
			}
			e.lines[e.at] = line
			s = strings.TrimPrefix(s[i:], eraseRight)
			assert.Assert(e.t, strings.HasPrefix(s, "\n"))
			s = s[1:]
			e.at++
		}
	}
	assert.Assert(e.t, !e.hidden, "a frame left the cursor hidden")
	return len(p), nil
}

func (e *emulator) text() string { return strings.Join(e.lines, "\n") }

// watch feeds a script's events one by one and draws a frame after each.
func watch(t *testing.T, s *script, width, height int) (*emulator, []string) {
	t.Helper()
	e := &emulator{t: t, width: width}
	l := newLive(Style{}, s.start)
	sc := &screen{w: e}
	var frames []string
	for _, ev := range s.events {
		l.event(ev)
		area := l.area(ev.Time, height-margin)
		assert.Assert(t, len(area) <= max(0, height-margin))
		assert.NilError(t, sc.frame(l.settled(), area, width, height))
		frames = append(frames, e.text())
	}
	assert.NilError(t, sc.frame(l.settled(), nil, width, height))
	return e, append(frames, e.text())
}

func TestLiveEndsWithOneLinePerStep(t *testing.T) {
	e, _ := watch(t, ordinary(), 60, 24)
	lines := strings.Split(e.text(), "\n")
	assert.Equal(t, len(lines), 4)
	assert.Equal(t, lines[1], "=> [stage-0 1/3] FROM docker.io/library/debian         9.1s")
	assert.Equal(t, lines[0], "=> [internal] load metadata for docker.io/library/deb… 0.0s")
	assert.Equal(t, lines[3], "=> CACHED [stage-0 3/3] COPY . /src                    0.0s")
}

func TestLiveShowsTheLastLines(t *testing.T) {
	s := newScript()
	s.planned(0, "building", 2)
	s.begin(0, 1, "[2/2] RUN many")
	for i := range 20 {
		s.out(100*i, 1, fmt.Sprintf("line %d\n", i))
	}
	s.out(2000, 1, "50%\r60%")
	_, frames := watch(t, s, 40, 24)
	assert.Equal(t, frames[len(frames)-2], strings.Join([]string{
		"[+] building, 0 of 2 steps done    2.0s",
		" => [2/2] RUN many                 2.0s",
		" => => # line 15",
		" => => # line 16",
		" => => # line 17",
		" => => # line 18",
		" => => # line 19",
		" => => # 60%",
	}, "\n"))
	assert.Equal(t, frames[len(frames)-1], "")
}

func TestLiveShowsTransfers(t *testing.T) {
	s := newScript()
	s.begin(0, 1, "FROM x")
	s.status(100, 1, "sha256:a", 5, 10)
	s.status(200, 1, "sha256:b", 1000, 2000)
	s.status(300, 1, "sha256:a", 10, 10)
	_, frames := watch(t, s, 40, 24)
	assert.Equal(t, frames[3], "[+] building                       0.3s\n"+
		" => FROM x                         0.3s\n => => sha256:b         1.00kB / 2.00kB")
}

// A digest is longer than a terminal is wide beside how far it is; what counts is the latter.
func TestLiveShowsBytesBesideALongName(t *testing.T) {
	s := newScript()
	s.planned(0, "pulling busybox:latest", 0)
	s.begin(0, 1, "[internal] pull docker.io/library/busybox:latest")
	s.status(100, 1, "sha256:"+strings.Repeat("0123456789abcdef", 4), 10_000_000, 930_000_000)
	for _, width := range []int{40, 80, 120} {
		_, frames := watch(t, s, width, 24)
		lines := strings.Split(frames[2], "\n")
		assert.Assert(t, strings.HasPrefix(lines[0], "[+] pulling busybox:latest "), frames[2])
		assert.Assert(t, strings.HasSuffix(lines[2], " 10.00MB / 930.00MB"), frames[2])
		assert.Assert(t, strings.HasPrefix(lines[2], " => => sha256:0123"), frames[2])
	}
}

// The headline counts the Dockerfile's steps: all that there are, those that are finished, and no others.
func TestLiveCountsPlannedSteps(t *testing.T) {
	s := newScript()
	s.add(0, engine.Event{Kind: engine.StepStarted, Step: 1, Name: "[internal] load metadata", Internal: true})
	s.end(10, 1, false, nil)
	s.planned(20, "building", 7)
	s.begin(30, 2, "[1/7] FROM x")
	s.begin(30, 3, "[2/7] RUN a")
	s.begin(30, 4, "[3/7] RUN b")
	s.end(40, 2, true, nil)
	s.add(50, engine.Event{Kind: engine.StepStarted, Step: 5, Name: "exporting layers", Internal: true})
	s.end(60, 3, false, nil)
	_, frames := watch(t, s, 80, 24)
	last := frames[len(frames)-2]
	assert.Assert(t, strings.HasPrefix(last, "=> [internal]"), last)
	assert.Assert(t, strings.Contains(last, "[+] building, 2 of 7 steps done "), last)
}

// However small the terminal, the area fits, and newer steps are shown rather than older ones.
func TestLiveFitsAnyTerminal(t *testing.T) {
	s := newScript()
	for i := 1; i <= 10; i++ {
		s.begin(i, i, fmt.Sprintf("[stage-%d 1/1] RUN 日本語 something that is rather long", i))
		s.out(i, i, "output\twith a tab\n")
	}
	s.end(100, 3, false, nil)
	for _, width := range []int{1, 2, 5, 10, 20, 80} {
		for _, height := range []int{1, 2, 3, 8, 50} {
			if width > 2 {
				watch(t, s, width, height)
			}
		}
	}
	l := newLive(Style{}, s.start)
	for _, ev := range s.events {
		l.event(ev)
	}
	area := l.area(s.start, 3)
	assert.Assert(t, strings.Contains(area[2].left, "stage-10"))
	assert.Equal(t, len(l.area(s.start, 0)), 0)
}

// The lines of several running steps share what room there is.
func TestLiveSharesTheRoom(t *testing.T) {
	s := newScript()
	for i := 1; i <= 3; i++ {
		s.begin(0, i, fmt.Sprintf("RUN %d", i))
		s.out(0, i, "1\n2\n3\n4\n5\n6\n7\n")
	}
	l := newLive(Style{}, s.start)
	for _, ev := range s.events {
		l.event(ev)
	}
	area := l.area(s.start, 13) // a headline, three steps, nine lines
	assert.Equal(t, len(area), 13)
	assert.Equal(t, area[5].left, " => RUN 2")
	assert.Equal(t, area[4].left, " => => # 7")
}

func TestScreenAfterNarrowing(t *testing.T) {
	var b bytes.Buffer
	sc := &screen{w: &b}
	wide := row{left: strings.Repeat("x", 70)}
	assert.NilError(t, sc.frame(nil, []row{wide, {left: "short"}}, 80, 24))
	b.Reset()
	assert.NilError(t, sc.frame(nil, []row{wide}, 30, 24))
	assert.Assert(t, strings.HasPrefix(b.String(), hideCursor+"\r\x1b[4A"+eraseBelow), "%q", b.String()) // 70 columns are three lines of 30
	sc.forget()
	b.Reset()
	assert.NilError(t, sc.frame(nil, nil, 30, 24))
	assert.Equal(t, b.String(), hideCursor+"\r"+eraseBelow+showCursor)
}

func TestRowColours(t *testing.T) {
	r := row{left: "=> x", right: "1.0s", colour: colourCached}
	text, columns := r.text(20, Style{Colour: true})
	assert.Equal(t, text, colourCached+"=> x           1.0s"+colourOff)
	assert.Equal(t, columns, 19)
	text, _ = r.text(20, Style{})
	assert.Equal(t, text, "=> x           1.0s")
}

func TestLiveErrors(t *testing.T) {
	e, _ := watch(t, failing(), 50, 24)
	lines := strings.Split(e.text(), "\n")
	assert.Assert(t, strings.HasPrefix(lines[0], "=> ERROR [b 1/1] RUN false"))
	assert.Assert(t, strings.HasPrefix(lines[1], "=> CANCELED [a 1/1] RUN sleep 9"))
}

func TestLiveIgnoresUnknownSteps(t *testing.T) {
	l := newLive(Style{}, time.Now())
	l.event(engine.Event{Kind: engine.StepOutput, Step: 7, Data: []byte("x\n")})
	l.event(engine.Event{Kind: engine.StepFinished, Step: 7})
	assert.Equal(t, len(l.settled()), 0)
}
