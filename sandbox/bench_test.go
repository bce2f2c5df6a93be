package sandbox_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/sandbox"
)

// insideBench is inside for a benchmark: what it prints is seen.
func insideBench(b *testing.B) bool {
	b.Helper()
	if sandbox.InNamespace() {
		return true
	}
	b.StopTimer()
	exit, err := sandbox.Enter(b.Context(), sandbox.EnterOptions{
		Args:   []string{"", "-test.run=^$", "-test.bench=^" + b.Name() + "$", fmt.Sprintf("-test.benchtime=%dx", max(b.N, 100))},
		Stdout: os.Stdout, Stderr: os.Stderr,
	})
	assert.NilError(b, err)
	assert.Equal(b, exit, 0)
	return false
}

// BenchmarkStep is what a RUN costs beyond its command: run with -benchtime 1x, the number that counts comes from inside.
func BenchmarkStep(b *testing.B) {
	if !insideBench(b) {
		return
	}
	root := newRoot(b)
	for _, bb := range []struct {
		name string
		spec sandbox.Spec
	}{
		{"bind", sh(root, "exit 0")},
		{"insecure", sandbox.Spec{Root: sh(root, "").Root, Process: sh(root, "exit 0").Process, Insecure: true}},
		{"none", sandbox.Spec{Root: sh(root, "").Root, Process: sh(root, "exit 0").Process, Network: sandbox.NetworkNone}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				assert.NilError(b, sandbox.Run(b.Context(), bb.spec))
			}
		})
	}
	b.Run("overlay", func(b *testing.B) {
		dir := b.TempDir()
		n := 0
		for b.Loop() {
			n++
			m := mount.Mount{Type: mount.Overlay, Lower: []string{root}, Upper: filepath.Join(dir, fmt.Sprint("u", n)), Work: filepath.Join(dir, fmt.Sprint("w", n))}
			assert.NilError(b, os.Mkdir(m.Upper, 0o755))
			assert.NilError(b, os.Mkdir(m.Work, 0o755))
			spec := sh(root, "exit 0")
			spec.Root = m
			assert.NilError(b, sandbox.Run(b.Context(), spec))
		}
	})
}

// BenchmarkEnter is what a command pays once.
func BenchmarkEnter(b *testing.B) {
	if sandbox.InNamespace() {
		os.Exit(0)
	}
	for b.Loop() {
		exit, err := sandbox.Enter(b.Context(), sandbox.EnterOptions{Args: []string{"", "-test.bench=^BenchmarkEnter$", "-test.run=^$"}})
		assert.NilError(b, err)
		assert.Equal(b, exit, 0)
	}
}
