package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/snapshot"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/overlay"
	"github.com/cairnbuild/cairn/sandbox"
)

// runMounts adds the RUN's --mount to its root, in the order in which they were written.
func (w *workspace) runMounts(ctx context.Context, op *runOp, root *stepRoot, points *snapshot.Points, tmp string) error {
	if op.Script.File != nil {
		// dev is a file system of its own, so the mount point is made there by the sandbox.
		dir := filepath.Join(tmp, "pipes")
		if err := op.writeScript(dir); err != nil {
			return err
		}
		root.mounts = append(root.mounts, mount.Mount{Type: mount.Bind, Source: dir, Target: "/dev/pipes", ReadOnly: true})
	}
	if err := w.leaseCaches(ctx, op, tmp); err != nil {
		return err
	}
	for i, m := range op.Mounts {
		dir := mountDir(tmp, i)
		mnt, err := w.oneMount(ctx, m, root, dir)
		if err != nil {
			return fmt.Errorf("RUN --mount=type=%s: %w", m.Type, err)
		}
		if mnt == nil {
			continue
		}
		isDir := true
		if mnt.Type == mount.Bind {
			st, err := os.Lstat(mnt.Source)
			if err != nil {
				return err
			}
			isDir = st.IsDir()
		}
		if mnt.Target, err = points.Need(m.Target, isDir); err != nil {
			return err
		}
		root.mounts = append(root.mounts, *mnt)
	}
	return nil
}

// mountDir is where the i-th mount of a step has what it needs.
func mountDir(tmp string, i int) string { return filepath.Join(tmp, fmt.Sprintf("mount-%d", i)) }

// attach mounts m on a directory below the step's own until the step is over: a mount that stayed would keep the directory there.
func (w *workspace) attach(m mount.Mount, at string) error {
	if err := m.Attach(at); err != nil {
		return err
	}
	w.onStepEnd(func() { _ = mount.Detach(at) })
	return nil
}

// oneMount makes the source of a mount; nil for a secret or an agent that is not there and not required.
func (w *workspace) oneMount(ctx context.Context, m planner.Mount, root *stepRoot, dir string) (*mount.Mount, error) {
	switch m.Type {
	case dockerfile.MountBind:
		return w.bindMount(ctx, m, dir)
	case dockerfile.MountCache:
		return &mount.Mount{Type: mount.Bind, Source: w.leases[dir].Path, ReadOnly: m.ReadOnly}, nil
	case dockerfile.MountTmpfs:
		return &mount.Mount{Type: mount.Tmpfs, Size: m.Size, Mode: 0o1777, NoSuid: true, NoDev: true}, nil
	case dockerfile.MountSecret:
		return w.secretMount(m, root, dir)
	case dockerfile.MountSSH:
		return w.sshMount(m, root, dir)
	}
	return nil, fmt.Errorf("unsupported mount type %q", m.Type)
}

// bindMount shows a part of the context or of another stage. It is read-only, or what is written is thrown away.
func (w *workspace) bindMount(ctx context.Context, m planner.Mount, dir string) (*mount.Mount, error) {
	source, err := w.mountSource(ctx, m, dir)
	if err != nil {
		return nil, err
	}
	if m.ReadOnly {
		return &mount.Mount{Type: mount.Bind, Source: source, ReadOnly: true}, nil
	}
	if w.copies() { // and this one is ours alone
		return &mount.Mount{Type: mount.Bind, Source: source}, nil
	}
	st, err := os.Lstat(source)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return nil, errors.New("a single file can only be mounted read-only: mount the directory that it is in, or leave out rw")
	}
	// The writable side is an overlay of its own, attached where the sandbox binds it from.
	for _, d := range []string{"upper", "work", "merged"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	stack := overlay.Stack{Lower: []string{source}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
	merged := filepath.Join(dir, "merged")
	if err := w.attach(stack.Mount(), merged); err != nil {
		return nil, err
	}
	return &mount.Mount{Type: mount.Bind, Source: merged}, nil
}

// inside is a source relative to the root of what it is taken from, "" for all of that.
func inside(source string) string { return strings.TrimPrefix(path.Join("/", source), "/") }

// secretMount puts a secret into a tmpfs of this process's own mount namespace, so that it never reaches a disk.
func (w *workspace) secretMount(m planner.Mount, root *stepRoot, dir string) (*mount.Mount, error) {
	data, ok, err := w.opts.secret(m.ID)
	if err != nil {
		return nil, err
	}
	if !ok {
		if m.Required {
			return nil, &MissingSecretError{ID: m.ID}
		}
		return nil, nil
	}
	if m.Env != nil {
		root.env = append(root.env, *m.Env+"="+string(data))
	}
	if m.Target == "" {
		return nil, nil
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if sandbox.CurrentIsolation() != sandbox.IsolationChroot {
		if err := w.attach(mount.Mount{Type: mount.Tmpfs, Mode: 0o700}, dir); err != nil {
			return nil, err
		}
	}
	mode := uint32(0o400)
	if m.Mode != nil {
		mode = *m.Mode
	}
	name := filepath.Join(dir, "secret")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		return nil, err
	}
	if err := w.chownOptional(root, name, m); err != nil {
		return nil, err
	}
	return &mount.Mount{Type: mount.Bind, Source: name, ReadOnly: true}, os.Chmod(name, snapshot.FileMode(mode))
}

// chownOptional gives the file behind a mount the owner that the mount asks for.
func (w *workspace) chownOptional(root *stepRoot, name string, m planner.Mount) error {
	if m.UID == nil && m.GID == nil {
		return nil
	}
	uid, gid := 0, 0
	if m.UID != nil {
		uid = int(*m.UID)
	}
	if m.GID != nil {
		gid = int(*m.GID)
	}
	if w.ownersMode() == owners.Chown {
		return os.Lchown(name, uid, gid)
	}
	t := owners.NewTable()
	t.Set(filepath.Base(name), owners.Owner{UID: uid, GID: gid})
	root.ownTables[filepath.Dir(name)] = t
	return nil
}

// secret reads the value that --secret gives for an id.
func (o *Options) secret(id string) ([]byte, bool, error) {
	for _, s := range o.Run.Secrets {
		if s.ID != id {
			continue
		}
		if s.Env != "" {
			v, ok := os.LookupEnv(s.Env)
			return []byte(v), ok, nil
		}
		data, err := os.ReadFile(s.File)
		if err != nil {
			return nil, false, fmt.Errorf("read secret %s: %w", id, err)
		}
		return data, true, nil
	}
	return nil, false, nil
}

// MissingSecretError is a required secret that no --secret gives.
type MissingSecretError struct{ ID string }

func (e *MissingSecretError) Error() string { return fmt.Sprintf("secret %s: not found", e.ID) }

// mountInputs are the files that a mount shows.
func (w *workspace) mountInputs(ctx context.Context, m planner.Mount) ([]store.Input, error) {
	from, err := w.copySource(ctx, m.Origin)
	if err != nil {
		return nil, err
	}
	return manifestOf(ctx, from, path.Join("/", m.Source))
}

// mountSource is a path outside that holds what a mount shows: a place in the directories of a stage, or a copy of the part of the
// context, without what .dockerignore hides.
func (w *workspace) mountSource(ctx context.Context, m planner.Mount, dir string) (string, error) {
	rel := inside(m.Source)
	if k := m.Origin.Kind; k == planner.OriginStage || k == planner.OriginNothing {
		return w.stageMount(ctx, w.filesOf(m.Origin), rel, dir)
	}
	from, err := w.copySource(ctx, m.Origin)
	if err != nil {
		return "", err
	}
	return w.contextMount(ctx, from, rel, dir)
}
