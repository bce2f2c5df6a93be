//go:build cgo

package sandbox_test

// cgoEnabled: the race detector needs C, and a program with C in it can't change the capabilities of all its threads.
const cgoEnabled = true
