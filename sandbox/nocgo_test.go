//go:build !cgo

package sandbox_test

const cgoEnabled = false
