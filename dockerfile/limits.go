package dockerfile

import (
	"bufio"
	"bytes"
	"fmt"
)

// A Dockerfile may be hostile, and it is small: these bounds keep it from becoming gigabytes. BuildKit has none but that of a line;
// all are far above what generators write.
const (
	// maxLines bounds what the parser makes of a file before anybody has looked at it.
	maxLines = 200_000
	// maxInstruction is the length of one instruction in bytes, its continuation lines included and its heredocs not.
	maxInstruction = 1 << 20
	// maxBraces is how many ${ may stand in one instruction: BuildKit's parser goes one call deeper for each that is in another.
	maxBraces = 20_000
	// maxInstructions counts the instructions of a file, and each further variable, label, port or mount of one.
	maxInstructions = 10_000
	// maxPorts is how many ports one EXPOSE can mean: all there are, of three protocols.
	maxPorts = 3 * 65536
)

// checkText finds what the parser must not be given, or would report without saying where.
func checkText(o *origin) error {
	line, start, size, braces := 0, 0, 0, 0
	continued := false
	for text := range bytes.Lines(o.text) {
		line++
		if !continued {
			start, size, braces = line, 0, 0
		}
		size += len(text)
		braces += bytes.Count(text, []byte("${"))
		switch {
		case len(text) >= bufio.MaxScanTokenSize:
			return o.errorf(Range{line, line}, "line has %d bytes, more than the allowed %d", len(text), bufio.MaxScanTokenSize-1)
		case line > maxLines:
			return o.errorf(Range{line, line}, "the file has more than %d lines", maxLines)
		case size > maxInstruction:
			return o.errorf(Range{start, start}, "the instruction is longer than %d bytes", maxInstruction)
		case braces > maxBraces:
			return o.errorf(Range{start, start}, "the instruction has more than %d ${", maxBraces)
		}
		continued = continues(text, continued)
	}
	return nil
}

// continues tells whether the parser may take the next line for a part of the same instruction. In doubt it does.
func continues(text []byte, continued bool) bool {
	text = bytes.TrimSpace(text)
	if len(text) == 0 || text[0] == '#' {
		return continued
	}
	last := text[len(text)-1]
	return last == '\\' || last == '`'
}

// counter counts what maxInstructions bounds.
type counter int

// add counts an instruction; i is nil for a FROM.
func (c *counter) add(i Instruction) error {
	n := 1
	switch i := i.(type) {
	case *Env:
		n = len(i.Pairs)
	case *Label:
		n = len(i.Pairs)
	case *Arg:
		n = len(i.Defs)
	case *Expose:
		n = len(i.Ports)
	case *Volume:
		n = len(i.Paths)
	case *Run:
		n += len(i.Mounts)
	}
	if *c += counter(n); *c > maxInstructions {
		return &LimitError{What: fmt.Sprintf("the file has more than %d instructions, variables, labels, ports and mounts", maxInstructions)}
	}
	return nil
}
