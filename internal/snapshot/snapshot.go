// Package snapshot makes the root file systems that commands run on, in the best of three ways that this machine allows:
//
//	overlay  the layers' directories stacked by the kernel, the changes in the store's file system
//	tmpfs    the same with the changes in memory: the store's file system can't be written to through an overlay
//	copy     a copy of all files of the layers; the changes are found by comparing it with them
//
// The way is chosen once for a command, by trying.
package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/overlay"
)

// Kind is a way to make root file systems.
type Kind string

// The kinds.
const (
	Auto    Kind = "" // the first of the others that works
	Overlay Kind = "overlay"
	Tmpfs   Kind = "tmpfs"
	Copy    Kind = "copy"
)

// Maker makes root file systems of one kind. Its methods may be called from several goroutines.
type Maker struct {
	Kind Kind
	// Why says why it is not a better one; nil when it is the best, or was asked for.
	Why error
	// area is where upper directories lie, "" for the caller's own temporary directories.
	area  string
	dir   string
	known bool
}

// Options say how to choose.
type Options struct {
	// Want is the kind to take; Auto tries them.
	Want Kind
	// Dir is a directory in the store's file system, which is left as it was.
	Dir string
	// Known says that an overlay was tried here before, and worked (Maker.Kind was Overlay): then it is only mounted.
	Known bool
	// NoMounts says that nothing can be mounted.
	NoMounts bool
}

// ImpossibleError is for a kind that was asked for and does not work here.
type ImpossibleError struct {
	Kind Kind
	Err  error
}

func (e *ImpossibleError) Error() string {
	return fmt.Sprintf("snapshots of kind %s do not work here: %v", e.Kind, e.Err)
}

// Unwrap gives the reason.
func (e *ImpossibleError) Unwrap() error { return e.Err }

// Choose finds the best kind. The caller is root of a user namespace, and closes the Maker.
func Choose(ctx context.Context, o Options) (*Maker, error) {
	m := &Maker{Kind: o.Want, dir: o.Dir, known: o.Known}
	var whys []error
	for _, try := range []struct {
		kind Kind
		do   func(context.Context, *Maker) error
	}{{Overlay, tryOverlay}, {Tmpfs, tryTmpfs}} {
		if o.Want != Auto && o.Want != try.kind {
			continue
		}
		err := errors.New("nothing can be mounted here")
		if !o.NoMounts {
			err = try.do(ctx, m)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err == nil {
			m.Kind, m.Why = try.kind, errors.Join(whys...)
			return m, nil
		}
		if o.Want != Auto {
			return nil, &ImpossibleError{o.Want, cause(err)}
		}
		whys = append(whys, cause(err))
	}
	m.Kind = Copy
	if o.Want == Auto {
		m.Why = whys[0] // the others follow from it, or say less
	}
	return m, nil
}

// cause is what of a probe's error matters to somebody who waits.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p
	}
	return err
}

func tryOverlay(ctx context.Context, m *Maker) error {
	if m.known {
		return overlay.ProbeMount(ctx, m.dir)
	}
	return overlay.Probe(ctx, m.dir).Why
}

// tryTmpfs mounts a tmpfs and looks whether an overlay with its changes there can stand on directories of the store.
func tryTmpfs(ctx context.Context, m *Maker) (err error) {
	area, err := os.MkdirTemp(m.dir, "upper-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			m.area = area
			m.Close()
		}
	}()
	if err := (mount.Mount{Type: mount.Tmpfs, Mode: 0o700}).Attach(area); err != nil {
		return err
	}
	if s := overlay.ProbeOn(ctx, m.dir, area); s.Why != nil {
		return s.Why
	}
	m.area = area
	return nil
}

// UpperDir returns the directory in which a command's changes are to lie: under tmp, a directory of the store, or in memory.
func (m *Maker) UpperDir(tmp string) (string, error) {
	if m.area == "" {
		return tmp, nil
	}
	return os.MkdirTemp(m.area, filepath.Base(tmp)+"-")
}

// Lasting reports whether what lies in UpperDir can become a layer's directory in the store.
func (m *Maker) Lasting() bool { return m.Kind == Overlay }

// Close gives back what the Maker holds. The changes of a tmpfs are gone then.
func (m *Maker) Close() {
	if m.area == "" {
		return
	}
	_ = mount.Detach(m.area) // it ends with the mount namespace in any case
	_ = os.Remove(m.area)
	m.area = ""
}

// Notice is one line on what the kind costs; "" for the best.
func (m *Maker) Notice() string {
	if m.Why == nil {
		return ""
	}
	switch m.Kind {
	case Tmpfs:
		return fmt.Sprintf("snapshotter: tmpfs (%v): what commands write is in memory until the end", m.Why)
	case Copy:
		return fmt.Sprintf("snapshotter: copy (%v): commands work on a copy of all files", m.Why)
	}
	return ""
}

// Kinds are those that can be asked for by name.
func Kinds() []string {
	return []string{"auto", string(Overlay), string(Tmpfs), string(Copy)}
}

// ParseKind reads a name of Kinds, or "" for auto.
func ParseKind(s string) (Kind, error) {
	switch k := Kind(s); k {
	case Auto, Overlay, Tmpfs, Copy:
		return k, nil
	case "auto":
		return Auto, nil
	}
	return "", fmt.Errorf("snapshotter %q is none of %v", s, Kinds())
}
