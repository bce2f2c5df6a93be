package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/bundle"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/store"
)

// MissingSecretError is a required secret that no --secret gives.
type MissingSecretError struct{ ID string }

func (e *MissingSecretError) Error() string { return fmt.Sprintf("secret %s: not found", e.ID) }

// MissingSSHError is a required ssh agent that no --ssh gives.
type MissingSSHError struct{ ID string }

func (e *MissingSSHError) Error() string {
	return fmt.Sprintf("ssh agent %s: not found", e.ID)
}

// mounts are what a RUN's --mount ask for, in the order in which they were written, and the variables that come with
// them.
func (w *workspace) mounts(op *runOp) (list []bundle.Mount, env []string, err error) {
	if op.Script.File != nil {
		list = append(list, bundle.Mount{Target: path.Dir(op.Script.File.Path), ReadOnly: true, Source: bundle.Made(op.writeScript), Name: "RUN"})
	}
	for _, m := range op.Mounts {
		name := fmt.Sprintf("RUN --mount=type=%s", m.Type)
		source, variable, err := w.mountSource(m)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		if variable != "" {
			env = append(env, variable)
		}
		if source == nil || m.Target == "" {
			continue
		}
		readOnly := m.ReadOnly || m.Type == dockerfile.MountSecret
		list = append(list, bundle.Mount{Target: m.Target, ReadOnly: readOnly, Source: source, Name: name})
	}
	return list, env, nil
}

// mountSource is what a mount shows, and the environment variable that comes with it; nil for a secret or an agent that is not there
// and not required.
func (w *workspace) mountSource(m planner.Mount) (source bundle.Source, variable string, err error) {
	switch m.Type {
	case dockerfile.MountBind:
		return w.bindSource(m), "", nil
	case dockerfile.MountCache:
		return w.cacheSource(m), "", nil
	case dockerfile.MountTmpfs:
		return bundle.Tmpfs{Size: m.Size}, "", nil
	case dockerfile.MountSecret:
		return w.secretSource(m)
	case dockerfile.MountSSH:
		return w.sshSource(m)
	}
	return nil, "", fmt.Errorf("unsupported mount type %q", m.Type)
}

// bindSource is a part of the context, without what .dockerignore hides, or of another stage.
func (w *workspace) bindSource(m planner.Mount) bundle.Source {
	rel := inside(m.Source)
	if k := m.Origin.Kind; k == planner.OriginStage || k == planner.OriginNothing {
		return bundle.Part{Layers: w.filesOf(m.Origin), Path: rel}
	}
	return w.contextSource(m)
}

// contextSource copies the part of a context that a mount shows.
func (w *workspace) contextSource(m planner.Mount) bundle.Made {
	return func(ctx context.Context, dir string) (string, error) {
		from, err := w.copySource(ctx, m.Origin)
		if err != nil {
			return "", err
		}
		return w.contextMount(ctx, from, inside(m.Source), dir)
	}
}

// inside is a source relative to the root of what it is taken from, "" for all of that.
func inside(source string) string { return strings.TrimPrefix(path.Join("/", source), "/") }

// cacheSource is a cache of the store, which starts with what from= says.
func (w *workspace) cacheSource(m planner.Mount) bundle.Source {
	sum := sha256.Sum256([]byte(m.ID + "\x00" + m.From + "\x00" + m.Source + "\x00" + m.Namespace))
	c := bundle.Cache{ID: hex.EncodeToString(sum[:16]), Private: m.Sharing == dockerfile.SharingPrivate, Attr: attr(m, 0o755)}
	c.Lend = func(ctx context.Context, create func() (string, error)) (string, func(), error) {
		l, err := w.store.CacheMount(ctx, c.ID, string(m.Sharing), create)
		if err != nil {
			return "", nil, err
		}
		return l.Path, l.Release, nil
	}
	if m.Origin.Kind == planner.OriginNothing {
		return c
	}
	c.Fill = func(ctx context.Context, dir string) (string, error) {
		cache, err := w.contextSource(m)(ctx, dir)
		if err != nil {
			return "", fmt.Errorf("fill the cache from %s: %w", m.From, err)
		}
		st, err := os.Lstat(cache)
		if err == nil && !st.IsDir() {
			err = fmt.Errorf("fill the cache from %s: %s is no directory", m.From, m.Source)
		}
		return cache, err
	}
	return c
}

// secretSource is a secret as a file, as a variable, or as both.
func (w *workspace) secretSource(m planner.Mount) (source bundle.Source, variable string, err error) {
	data, ok, err := w.opts.secret(m.ID)
	if err != nil {
		return nil, "", err
	}
	if !ok {
		if m.Required {
			return nil, "", &MissingSecretError{ID: m.ID}
		}
		return nil, "", nil
	}
	if m.Env != nil {
		variable = *m.Env + "=" + string(data)
	}
	return bundle.File{Content: data, Attr: attr(m, 0o400), Memory: true}, variable, nil
}

// sshSource is an agent that --ssh gives.
func (w *workspace) sshSource(m planner.Mount) (source bundle.Source, variable string, err error) {
	socket, err := w.project.agents.socket(m.ID)
	if err != nil {
		return nil, "", err
	}
	if socket == "" {
		if m.Required {
			return nil, "", &MissingSSHError{ID: m.ID}
		}
		return nil, "", nil
	}
	return bundle.Agent{Socket: socket, Attr: attr(m, 0o600)}, "SSH_AUTH_SOCK=" + m.Target, nil
}

// attr is the owner that a mount asks for, else root, and its mode.
func attr(m planner.Mount, mode uint32) bundle.Attr {
	a := bundle.Attr{Mode: mode}
	if m.UID != nil {
		a.UID = int(*m.UID)
	}
	if m.GID != nil {
		a.GID = int(*m.GID)
	}
	if m.Mode != nil {
		a.Mode = *m.Mode
	}
	return a
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

// mountInputs are the files that a mount shows.
func (w *workspace) mountInputs(ctx context.Context, m planner.Mount) ([]store.Input, error) {
	from, err := w.copySource(ctx, m.Origin)
	if err != nil {
		return nil, err
	}
	return manifestOf(ctx, from, path.Join("/", m.Source))
}
