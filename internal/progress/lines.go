package progress

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxLine is how long an unfinished line may grow before it is shown in pieces.
const maxLine = 16 << 10

// lineBuffer cuts a stream of output into lines.
type lineBuffer struct{ rest []byte }

// add returns the lines that p completes.
func (b *lineBuffer) add(p []byte) []string {
	var lines []string
	b.rest = append(b.rest, p...)
	for {
		i := bytes.IndexByte(b.rest, '\n')
		switch {
		case i >= 0:
			lines = append(lines, string(b.rest[:i]))
			b.rest = b.rest[i+1:]
		case len(b.rest) > maxLine:
			b.rest = lastState(b.rest)
			if len(b.rest) <= maxLine {
				return lines
			}
			cut := maxLine
			for cut > maxLine-utf8.UTFMax && !utf8.RuneStart(b.rest[cut]) {
				cut--
			}
			lines = append(lines, string(b.rest[:cut]))
			b.rest = b.rest[cut:]
		default:
			return lines
		}
	}
}

// flush returns the unfinished line, if there is one.
func (b *lineBuffer) flush() []string {
	if len(b.rest) == 0 {
		return nil
	}
	line := string(b.rest)
	b.rest = nil
	return []string{line}
}

// partial is the unfinished line as it stands.
func (b *lineBuffer) partial() string { return string(b.rest) }

// lastState returns what is left of a line after its carriage returns: a progress bar that drew itself a thousand times is
// one state of it. A carriage return at the end belongs to the line end.
func lastState(line []byte) []byte {
	end := len(line)
	for end > 0 && line[end-1] == '\r' {
		end--
	}
	if i := bytes.LastIndexByte(line[:end], '\r'); i >= 0 {
		return line[i+1:]
	}
	return line
}

// clean makes a line of a command's output safe to show: the last state of it, no control characters but tabs, no escape
// sequences but colours, and those only if colour is true; misleading characters are spelled out as Visible does it.
func clean(line string, colour bool) string {
	line = strings.TrimRight(string(lastState([]byte(line))), "\r")
	if !needsCleaning(line) {
		return line
	}
	var b strings.Builder
	coloured := false
	for i := 0; i < len(line); {
		c := line[i]
		if c == 0x1b {
			n := escapeLength(line[i:])
			if colour && isColour(line[i:i+n]) {
				b.WriteString(line[i : i+n])
				coloured = true
			}
			i += n
			continue
		}
		r, n := utf8.DecodeRuneInString(line[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteRune(utf8.RuneError)
		case misleading(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		case r == '\t' || r >= 0x20 && r != 0x7f && (r < 0x80 || r > 0x9f):
			b.WriteString(line[i : i+n])
		case r == '\b':
			s := b.String()
			if _, last := utf8.DecodeLastRuneInString(s); last > 0 && !coloured {
				b.Reset()
				b.WriteString(s[:len(s)-last])
			}
		}
		i += n
	}
	if coloured {
		b.WriteString(colourOff)
	}
	return b.String()
}

func needsCleaning(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 && s[i] != '\t' || s[i] >= 0x7f {
			return true
		}
	}
	return false
}

// escapeLength is the length of the escape sequence that s starts with: CSI, OSC and the other strings, or two bytes.
func escapeLength(s string) int {
	if len(s) < 2 {
		return len(s)
	}
	switch s[1] {
	case '[':
		for i := 2; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return i + 1
			}
		}
		return len(s)
	case ']', 'P', 'X', '^', '_':
		for i := 2; i < len(s); i++ {
			if s[i] == 0x07 {
				return i + 1
			}
			if s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\' {
				return i + 2
			}
		}
		return len(s)
	case '(', ')', '*', '+', '#', ' ', '%':
		return min(3, len(s))
	}
	return 2
}

// isColour says whether an escape sequence is a select graphic rendition.
func isColour(s string) bool {
	return strings.HasPrefix(s, "\x1b[") && strings.HasSuffix(s, "m") &&
		strings.Trim(s[2:len(s)-1], "0123456789;:") == ""
}
