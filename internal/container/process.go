package container

import (
	"errors"
	"path"
	"slices"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"

	"github.com/cairnbuild/cairn/internal/bundle"
	"github.com/cairnbuild/cairn/oci/tree"
	"github.com/cairnbuild/cairn/sandbox"
)

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
	if p.TTY != nil {
		p.Env = []string{"TERM=xterm"}
	}
	p.Env = slices.Concat(p.Env, config.Env, o.Process.Env)
	user := config.User
	if o.Process.User != "" {
		user = o.Process.User
	}
	return bundle.AsUser(p, t, user)
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
