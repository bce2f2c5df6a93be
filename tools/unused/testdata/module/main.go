package main

import (
	"errors"
	"fmt"
	"os"
	"unsafe"
)

const (
	zero = iota
	one
)

const (
	named   = "x"
	nowhere = "y"
)

type thing struct {
	set, never int
	Tagged     string `json:"tagged"`
	part
}

type part struct{ promoted, lonely int }

func (t thing) String() string { return named }
func (t thing) idle()          {}
func (t *thing) busy() int     { return t.set + t.never + t.promoted }

type kernel struct{ a, b uint32 }

type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

type generic[T any] struct{ value T }

func (g generic[T]) get() T { return g.value }

func (g generic[T]) forgotten() {}

type speaker interface {
	speak()
	shout()
}

func (t thing) speak() {}
func (t thing) shout() {}

func onlyTests() {}

func main() {
	t := thing{set: one}
	t.promoted++
	var k kernel
	_ = unsafe.Pointer(&k)
	var s speaker = t
	s.speak()
	fmt.Println(t, t.busy(), generic[int]{value: 1}.get(), errors.Is(failure{os.ErrExist}, os.ErrExist))
}
