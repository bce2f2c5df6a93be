package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/oci"
)

// Whatever fails on a full disk, the store stays one: what was there is there, room can be made, and then all goes well again.
func TestFullDisk(t *testing.T) {
	// A small tmpfs in a mount namespace of our own; as a user other than root, in a user namespace too.
	args := []string{"--mount"}
	if os.Geteuid() != 0 {
		args = []string{"--user", "--map-root-user", "--mount"}
	}
	dir := t.TempDir()
	self, err := os.Executable()
	assert.NilError(t, err)
	script := fmt.Sprintf("mount -t tmpfs -o size=600k,mode=700 none %s && exec -a %s %s full %s/store", dir, workerName, self, dir)
	cmd := exec.CommandContext(t.Context(), "unshare", append(args, "bash", "-c", script)...)
	out, err := cmd.CombinedOutput()
	if err != nil && strings.Contains(string(out), "unshare:") {
		t.Skipf("no mount namespace here: %s", out)
	}
	assert.NilError(t, err, string(out))
}

// fillDisk is the worker of TestFullDisk.
func fillDisk(ctx context.Context, s *Store) error {
	first, err := keepImage(ctx, s, "first", "me/first")
	if err != nil {
		return err
	}
	failed := 0
	for i := 0; failed < 5; i++ {
		if i > 1000 {
			return errors.New("the disk does not fill up")
		}
		_, err := keepImage(ctx, s, strings.Repeat(fmt.Sprint(i), 10000), fmt.Sprintf("me/x:%d", i))
		if err == nil {
			continue
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("on a full disk: %w", err)
		}
		failed++
	}
	if err := fillToTheLastByte(s); err != nil {
		return err
	}
	if err := layersOnFullDisk(ctx, s); err != nil {
		return err
	}
	// Nothing can be written at all now. What was stored can be read, and room can be made.
	if _, err := s.Image(ctx, first, oci.HostPlatform()); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = Open(ctx, s.root); err != nil {
		return fmt.Errorf("open on a full disk: %w", err)
	}
	defer s.Close()
	if err := wholeStore(ctx, s); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(s.root, "..", "filler")); err != nil {
		return err
	}
	return makeRoom(ctx, s)
}

// layersOnFullDisk says what fails otherwise than for want of room.
func layersOnFullDisk(ctx context.Context, s *Store) error {
	tar := make([]byte, 1<<20) // an empty layer with much padding
	desc := Descriptor{Digest: digest.FromBytes(tar), Size: int64(len(tar))}
	_, err := s.IngestBlob(ctx, desc, bytes.NewReader(tar), IngestOptions{Extract: true})
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("ingest on a full disk: %w", err)
	}
	err = churnLayer(ctx, s, rand.New(rand.NewPCG(1, 1)))
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("add a layer on a full disk: %w", err)
	}
	return nil
}

// keepImage stores an image and tags it.
func keepImage(ctx context.Context, s *Store, text, name string) (Descriptor, error) {
	img, err := putImage(ctx, s, text)
	if err != nil {
		return Descriptor{}, err
	}
	r, err := parseRef(name)
	if err != nil {
		return Descriptor{}, err
	}
	return img.Manifest, s.Tag(ctx, r, img.Manifest)
}

// fillToTheLastByte leaves no room beside the store's files.
func fillToTheLastByte(s *Store) error {
	f, err := os.Create(filepath.Join(s.root, "..", "filler"))
	if err != nil {
		return err
	}
	defer f.Close()
	for _, size := range []int{4096, 1} {
		for {
			if _, err := f.Write(make([]byte, size)); err != nil {
				break
			}
		}
	}
	return nil
}

// makeRoom collects everything but me/first and then stores as much as went in before.
func makeRoom(ctx context.Context, s *Store) error {
	images, err := s.Images(ctx)
	if err != nil {
		return err
	}
	for _, img := range images {
		for _, r := range img.References {
			if r.Familiar() != "me/first:latest" {
				if err := s.Untag(ctx, r); err != nil {
					return err
				}
			}
		}
	}
	report, err := s.Collect(ctx, CollectOptions{Untagged: true})
	if err != nil || report.Blobs == 0 {
		return fmt.Errorf("collect: %d blobs removed: %w", report.Blobs, err)
	}
	if _, err := keepImage(ctx, s, strings.Repeat("new", 50000), "me/new"); err != nil {
		return err
	}
	return wholeStore(ctx, s)
}

// wholeStore says what is damaged.
func wholeStore(ctx context.Context, s *Store) error {
	report, err := s.Check(ctx, false)
	for _, p := range report.Problems {
		err = errors.Join(err, fmt.Errorf("%s: %w", p.What, p.Err))
	}
	return err
}
