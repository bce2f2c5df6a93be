package store

import (
	"errors"
	"io"
	"sync"
)

// A pipe carries pipeDepth blocks of pipeBlock bytes, so that its two ends run at the same time, which those of an io.Pipe
// hardly do.
const (
	pipeBlock = 128 << 10
	pipeDepth = 8
)

// errPipeStopped is what a writer gets whose reader has gone, for whatever reason of its own.
var errPipeStopped = errors.New("the reader stopped")

// pipe is a buffered io.Pipe for one writing and one reading goroutine.
type pipe struct {
	blocks  chan []byte
	free    chan []byte
	stopped chan struct{}
	once    sync.Once
	err     error // set before blocks is closed
	current []byte
	rest    []byte
}

func newPipe() *pipe {
	return &pipe{
		blocks:  make(chan []byte, pipeDepth),
		free:    make(chan []byte, pipeDepth),
		stopped: make(chan struct{}),
	}
}

// Write implements io.Writer.
func (p *pipe) Write(data []byte) (int, error) {
	n := 0
	for n < len(data) {
		var block []byte
		select {
		case block = <-p.free:
		default:
			block = make([]byte, pipeBlock)
		}
		m := copy(block[:pipeBlock], data[n:])
		select {
		case p.blocks <- block[:m]:
			n += m
		case <-p.stopped:
			return n, errPipeStopped
		}
	}
	return n, nil
}

// end ends the writing; the reader gets err, or io.EOF for nil. It returns err, and nil for the error of a writer whose reader
// stopped: that the reader reports itself.
func (p *pipe) end(err error) error {
	p.err = err
	close(p.blocks)
	if errors.Is(err, errPipeStopped) {
		return nil
	}
	return err
}

// Read implements io.Reader.
func (p *pipe) Read(data []byte) (int, error) {
	if len(p.rest) == 0 {
		if p.current != nil {
			select {
			case p.free <- p.current:
			default:
			}
		}
		block, ok := <-p.blocks
		if !ok {
			p.current = nil
			if p.err != nil {
				return 0, p.err
			}
			return 0, io.EOF
		}
		p.current, p.rest = block, block
	}
	n := copy(data, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// stop ends the reading: the writer gets an error instead of waiting for ever.
func (p *pipe) stop() { p.once.Do(func() { close(p.stopped) }) }
