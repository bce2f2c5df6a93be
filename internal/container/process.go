package container

import (
	"bytes"
	"errors"
	"path"
	"slices"
	"strings"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/sys/user"

	"github.com/cairnbuild/cairn/oci/tree"
	"github.com/cairnbuild/cairn/sandbox"
)

// defaultPath is what docker gives an image without one.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// newProcess combines the image's config with the options, as docker does.
func newProcess(config dockerspec.DockerOCIImageConfig, t *tree.Tree, o Options) (sandbox.Process, error) {
	p := sandbox.Process{Args: command(config, o), Dir: config.WorkingDir, TTY: o.Streams.TTY}
	if len(p.Args) == 0 {
		return p, errors.New("no command: the image has none, and none was given")
	}
	if o.Process.Dir != "" {
		p.Dir = o.Process.Dir
	}
	p.Dir = path.Clean("/" + p.Dir)
	spec := config.User
	if o.Process.User != "" {
		spec = o.Process.User
	}
	u, err := user.GetExecUser(spec, &user.ExecUser{Home: "/"}, bytes.NewReader(t.Passwd()), bytes.NewReader(t.Group()))
	if err != nil {
		return p, err // it names the user
	}
	p.UID, p.GID = uint32(u.Uid), uint32(u.Gid)
	for _, g := range u.Sgids {
		p.Groups = append(p.Groups, uint32(g))
	}
	p.Env = environment(config.Env, u.Home, o)
	return p, nil
}

// command is ENTRYPOINT and CMD. A given entrypoint takes the image's CMD away with the image's ENTRYPOINT.
func command(config dockerspec.DockerOCIImageConfig, o Options) []string {
	entrypoint, args := config.Entrypoint, config.Cmd
	if o.Process.Entrypoint != nil {
		entrypoint, args = nil, nil
		if *o.Process.Entrypoint != "" {
			entrypoint = []string{*o.Process.Entrypoint}
		}
	}
	if len(o.Args) > 0 {
		args = o.Args
	}
	return slices.Concat(entrypoint, args)
}

// environment is the defaults, then the image's, then what was given. HOME is the user's unless somebody says otherwise.
func environment(image []string, home string, o Options) []string {
	env := []string{defaultPath}
	if o.Streams.TTY != nil {
		env = append(env, "TERM=xterm")
	}
	for _, kv := range slices.Concat(image, o.Process.Env) {
		env = setEnv(env, kv)
	}
	if !slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "HOME=") && kv != "HOME=" }) {
		env = setEnv(env, "HOME="+home)
	}
	return env
}

// setEnv sets a variable in place, or appends it.
func setEnv(env []string, kv string) []string {
	key, _, _ := strings.Cut(kv, "=")
	for i, have := range env {
		if name, _, _ := strings.Cut(have, "="); name == key {
			env[i] = kv
			return env
		}
	}
	return append(env, kv)
}
