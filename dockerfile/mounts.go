package dockerfile

import (
	"errors"
	"fmt"
	"path"
)

// Resolved returns an expanded mount with its defaults filled in and its target made absolute, relative ones against workdir:
//
//   - cache: ID is the target as written, cleaned, and Sharing is shared;
//   - secret: ID comes from Source, then from the target's last element; the target, where there is no Env, is /run/secrets/ID;
//     Mode is 0400;
//   - ssh: ID is "default"; an empty target stays empty, for the engine to choose; Mode is 0600;
//   - Source is absolute and clean inside From, except for secret and ssh.
func (m Mount) Resolved(workdir string) (Mount, error) {
	switch m.Type {
	case MountSecret:
		return m.secret(workdir)
	case MountSSH:
		return m.ssh(workdir)
	case MountCache:
		if m.ID == "" {
			m.ID = path.Clean(m.Target)
		}
		if m.Sharing == "" {
			m.Sharing = SharingShared
		}
	}
	m.Target = absolute(workdir, m.Target)
	if m.Target == "/" {
		return m, errors.New("--mount: the target is /")
	}
	m.Source = path.Join("/", m.Source)
	return m, nil
}

func (m Mount) secret(workdir string) (Mount, error) {
	if m.Source != "" {
		m.ID, m.Source = m.Source, ""
	}
	if m.ID == "" {
		if m.Target == "" {
			return m, errors.New("--mount=type=secret: one of id, source, target is needed")
		}
		m.ID = path.Base(m.Target)
	}
	if m.Target == "" && m.Env == nil {
		m.Target = "/run/secrets/" + path.Base(m.ID)
	}
	return m.file(workdir, 0o400)
}

func (m Mount) ssh(workdir string) (Mount, error) {
	if m.Source != "" {
		return m, errors.New("--mount=type=ssh has no source")
	}
	if m.ID == "" {
		m.ID = "default"
	}
	return m.file(workdir, 0o600)
}

// file fills in what secrets and agents have in common.
func (m Mount) file(workdir string, mode uint32) (Mount, error) {
	if m.Target != "" {
		m.Target = absolute(workdir, m.Target)
	}
	if m.Target == "/" {
		return m, fmt.Errorf("--mount=type=%s: the target is /", m.Type)
	}
	if m.Mode == nil {
		m.Mode = &mode
	}
	return m, nil
}

// absolute is p as seen from workdir, clean.
func absolute(workdir, p string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join("/", workdir, p)
}
