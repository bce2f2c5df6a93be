package progress

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/cairnbuild/cairn/internal/engine"
)

// Control sequences. The cursor is hidden only while a frame is written, in the same write that shows it again: however
// the process ends, it is never left hidden.
const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	eraseRight = "\x1b[K"
	eraseBelow = "\x1b[J"
)

// screen draws rows that stay and rows that are replaced.
type screen struct {
	w     io.Writer
	style Style
	drawn []int // the columns of each row of the area below
	width int   // of the terminal when they were drawn
}

// margin is how many lines of the terminal the area leaves free: the cursor's, and the first. After a terminal has become
// smaller the first may be the end of a wrapped row that began above it: what was drawn there would be joined to that row
// when the terminal becomes wider again.
const margin = 2

// frame puts settled above the area, which has at most height-margin rows, and draws the area anew.
func (s *screen) frame(settled, area []row, width, height int) error {
	var b bytes.Buffer
	b.WriteString(hideCursor)
	if up := min(s.height(width), max(0, height-margin)); up > 0 {
		fmt.Fprintf(&b, "\r\x1b[%dA", up)
	} else {
		b.WriteByte('\r')
	}
	if width != s.width {
		// Rows that the terminal wrapped are erased as a whole, or it would join what is drawn over them to one row again.
		b.WriteString(eraseBelow)
		s.width = width
	}
	for _, r := range settled {
		text, _ := r.text(width, s.style)
		b.WriteString(text + eraseRight + "\n")
	}
	s.drawn = s.drawn[:0]
	for _, r := range area {
		text, columns := r.text(width, s.style)
		b.WriteString(text + eraseRight + "\n")
		s.drawn = append(s.drawn, columns)
	}
	b.WriteString(eraseBelow + showCursor)
	_, err := s.w.Write(b.Bytes())
	return err
}

// height is how many lines of the terminal the area takes now: a terminal that became narrower has wrapped its rows.
func (s *screen) height(width int) int {
	n := 0
	for _, columns := range s.drawn {
		n += max(1, (columns+width-1)/width)
	}
	return n
}

// forget makes the next frame begin below whatever stands on the terminal.
func (s *screen) forget() { s.drawn = s.drawn[:0] }

// tty draws a live display ten times a second.
type tty struct {
	out *os.File

	mu     sync.Mutex
	live   *live
	screen screen
	err    error

	stop, done chan struct{}
}

const frameTime = 100 * time.Millisecond

func startTTY(out *os.File, style Style) *tty {
	t := &tty{
		out: out, live: newLive(style, time.Now()), screen: screen{w: out, style: style},
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	go t.run()
	return t
}

// Event implements Display.
func (t *tty) Event(ev engine.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.live.event(ev)
}

func (t *tty) run() {
	defer close(t.done)
	clock := time.NewTicker(frameTime)
	defer clock.Stop()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	resumed := make(chan os.Signal, 1)
	signal.Notify(resumed, syscall.SIGCONT)
	defer signal.Stop(resumed)
	for {
		select {
		case <-t.stop:
			return
		case <-resumed:
			t.mu.Lock()
			t.screen.forget()
			t.mu.Unlock()
		case <-resized:
			t.draw()
		case <-clock.C:
			t.draw()
		}
	}
}

func (t *tty) draw() {
	t.mu.Lock()
	defer t.mu.Unlock()
	width, height := t.size()
	settled, area := t.live.settled(), t.live.area(time.Now(), height-margin)
	if len(settled)+len(area)+len(t.screen.drawn) == 0 {
		return
	}
	if err := t.screen.frame(settled, area, width, height); t.err == nil {
		t.err = err
	}
}

// size is the terminal's, or what terminals mostly are.
func (t *tty) size() (width, height int) {
	width, height, err := term.GetSize(int(t.out.Fd()))
	if err != nil || width < 1 || height < 1 {
		return 80, 24
	}
	return width, height
}

// Close implements Display: the running steps vanish, what is finished stays, the warnings and the summary follow.
func (t *tty) Close() error {
	close(t.stop)
	<-t.done
	t.mu.Lock()
	defer t.mu.Unlock()
	width, height := t.size()
	err := t.screen.frame(t.live.settled(), nil, width, height)
	if t.err == nil {
		t.err = err
	}
	printWarnings(t.out, t.live.warnings)
	if t.live.finished != nil {
		fmt.Fprintln(t.out, summary(*t.live.finished))
	}
	return t.err
}
