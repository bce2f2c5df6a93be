package planner

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cairnbuild/cairn/dockerfile"
)

// dispatchRun plans a RUN.
func (d *dispatcher) dispatchRun(in *dockerfile.Run) error {
	if err := d.pl.checkRun(in); err != nil {
		return err
	}
	script, err := in.Script(d.scope.Shell)
	if err != nil {
		return err
	}
	opts := d.pl.opts
	op := &Run{
		Script: script, Env: d.scope.Env, Proxies: proxyEnv(opts.Args), User: d.scope.User, Dir: d.scope.Workdir,
		Network: in.Network, Hostname: opts.Args["BUILDKIT_SANDBOX_HOSTNAME"], Hosts: opts.Run.Hosts,
		Limits: opts.Limits, Insecure: in.Security == dockerfile.SecurityInsecure, Platform: d.Platform,
	}
	if op.Hostname == "" {
		op.Hostname = defaultHostname
	}
	if op.Network == "" || op.Network == dockerfile.NetworkDefault {
		op.Network = opts.Run.Network
	}
	if op.Mounts, err = d.mounts(in); err != nil {
		return err
	}
	step := d.addStep(d.scope.DisplayName(in), in.Range(), op)
	d.commit(in.History(script, d.scope.Args, d.scope.Env), step)
	return nil
}

// checkRun refuses what nobody allowed.
func (pl *planner) checkRun(in *dockerfile.Run) error {
	refuse := func(e Entitlement) error {
		return fmt.Errorf("granting entitlement %s is not allowed: pass --allow %s", e, e)
	}
	o := pl.opts.Run
	outside := in.Network == dockerfile.NetworkHost && o.Network != dockerfile.NetworkHost
	switch {
	case len(in.Devices) > 0:
		return errors.New("RUN --device is not supported: there is no daemon that could hand out devices")
	case outside && !slices.Contains(o.Allow, AllowNetworkHost):
		return refuse(AllowNetworkHost)
	case in.Security == dockerfile.SecurityInsecure && !slices.Contains(o.Allow, AllowInsecure):
		return refuse(AllowInsecure)
	}
	return nil
}

// mounts fills in what the mounts of a RUN leave open.
func (d *dispatcher) mounts(in *dockerfile.Run) ([]Mount, error) {
	var all []Mount
	agents := 0
	for _, m := range in.Mounts {
		resolved, err := m.Resolved(d.scope.Workdir)
		if err != nil {
			return nil, err
		}
		if resolved.Type == dockerfile.MountSSH && resolved.Target == "" {
			resolved.Target = fmt.Sprintf("/run/buildkit/ssh_agent.%d", agents)
			agents++
		}
		mount := Mount{Mount: resolved}
		switch {
		case resolved.From != "" && resolved.From != scratch:
			if mount.Origin, err = d.origin(resolved.From, in.Range()); err != nil {
				return nil, err
			}
		case resolved.From == "" && resolved.Type == dockerfile.MountBind:
			mount.Origin.Kind = OriginContext
		}
		if resolved.Type == dockerfile.MountCache {
			mount.Namespace = d.pl.opts.Args["BUILDKIT_CACHE_MOUNT_NS"]
		}
		all = append(all, mount)
	}
	return all, nil
}
