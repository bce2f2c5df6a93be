package store

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/oci"
)

// Each round several processes do everything at once to one store and are killed at a random moment.
func TestKillAtAnyMoment(t *testing.T) {
	root := filepath.Join(t.TempDir(), "store")
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	for round := range rounds {
		var running []*exec.Cmd
		for i := range 3 {
			cmd := worker(t, "churn", root, strconv.Itoa(round*10+i))
			assert.NilError(t, cmd.Start())
			running = append(running, cmd)
		}
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
		for _, cmd := range running {
			assert.NilError(t, cmd.Process.Signal(syscall.SIGKILL))
		}
		for _, cmd := range running {
			assert.ErrorContains(t, cmd.Wait(), "killed", "a worker failed by itself")
		}
		checkAfterKill(t, root, round)
	}
}

// checkAfterKill holds the store to what must be true whatever happened.
func checkAfterKill(t *testing.T, root string, round int) {
	t.Helper()
	s, err := Open(t.Context(), root)
	assert.NilError(t, err)
	defer s.Close()
	assert.DeepEqual(t, tmpNames(t, root), []string{})
	images, err := s.Images(t.Context())
	assert.NilError(t, err)
	for _, img := range images {
		blobs, err := s.reach(t.Context(), img.Descriptor)
		assert.NilError(t, err)
		for _, b := range blobs {
			_, err := oci.ReadBlob(t.Context(), s, b)
			assert.NilError(t, err)
		}
	}
	report, err := s.Check(t.Context(), false)
	assert.NilError(t, err)
	for _, p := range report.Problems {
		t.Errorf("round %d: %s: %v", round, p.What, p.Err)
	}
	if _, err := exec.LookPath("umoci"); err == nil && round%10 == 0 && len(images) > 0 {
		umociTags(t, root)
	}
	testImage(t, s, "after")
	_, err = s.Collect(t.Context(), CollectOptions{KeepSteps: time.Hour})
	assert.NilError(t, err)
	entries, err := os.ReadDir(filepath.Join(root, "locks"))
	assert.NilError(t, err)
	assert.Equal(t, len(entries), 1, "more than the index lock is left")
}
