package planner

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/oci"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// dispatchConfig applies the instructions that change nothing but the config. The scope is the one after the
// instruction.
func (d *dispatcher) dispatchConfig(in dockerfile.Instruction) error {
	c := &d.Config.Config
	var created string
	switch in := in.(type) {
	case *dockerfile.Env:
		c.Env, created = d.scope.ImageEnv.Slice(), in.History()
	case *dockerfile.Label:
		c.Labels = withAll(c.Labels, in.Pairs)
		created = in.History()
	case *dockerfile.Cmd:
		c.Cmd, d.cmdSet = in.WithShell(d.scope.Shell), true
		// Deprecated in OCI, and still what Docker writes whenever a CMD was given.
		c.ArgsEscaped = true //nolint:staticcheck // Docker's images carry it
		created = in.History(d.scope.Shell)
	case *dockerfile.Entrypoint:
		c.Entrypoint = in.WithShell(d.scope.Shell)
		if !d.cmdSet {
			c.Cmd = nil
		}
		created = in.History(d.scope.Shell)
	case *dockerfile.User:
		c.User, created = d.scope.User, in.History()
	case *dockerfile.Volume:
		c.Volumes = withKeys(c.Volumes, in.Paths)
		created = in.History()
	case *dockerfile.Expose:
		c.ExposedPorts = withKeys(c.ExposedPorts, in.Ports)
		created = in.History()
	case *dockerfile.StopSignal:
		c.StopSignal, created = in.Signal, in.History()
	case *dockerfile.Shell:
		c.Shell, created = d.scope.Shell, in.History()
	case *dockerfile.Maintainer:
		d.Config.Author, created = in.Name, in.History()
	case *dockerfile.Healthcheck:
		c.Healthcheck = &oci.Healthcheck{
			Test: in.Test, Interval: in.Interval, Timeout: in.Timeout,
			StartPeriod: in.StartPeriod, StartInterval: in.StartInterval, Retries: in.Retries,
		}
		created = in.History()
	case *dockerfile.OnBuild:
		c.OnBuild = append(c.OnBuild, in.Expression)
		return nil // has no history of its own
	default:
		return fmt.Errorf("%s is not supported", in.Keyword())
	}
	d.commit(created, nil)
	return nil
}

func withKeys(set map[string]struct{}, keys []string) map[string]struct{} {
	if set == nil {
		set = map[string]struct{}{}
	}
	for _, k := range keys {
		set[k] = struct{}{}
	}
	return set
}

func withAll(m map[string]string, pairs []dockerfile.KeyValue) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	for _, kv := range pairs {
		m[kv.Key] = kv.Value
	}
	return m
}

// CloneConfig copies a config with all that it refers to.
func CloneConfig(c oci.Config) oci.Config {
	out := c
	out.Config.Env = slices.Clone(c.Config.Env)
	out.Config.Cmd = slices.Clone(c.Config.Cmd)
	out.Config.Entrypoint = slices.Clone(c.Config.Entrypoint)
	out.Config.OnBuild = slices.Clone(c.Config.OnBuild)
	out.Config.ExposedPorts = maps.Clone(c.Config.ExposedPorts)
	out.Config.Volumes = maps.Clone(c.Config.Volumes)
	out.Config.Labels = maps.Clone(c.Config.Labels)
	out.Config.Shell = slices.Clone(c.Config.Shell)
	if h := c.Config.Healthcheck; h != nil {
		copied := *h
		copied.Test = slices.Clone(h.Test)
		out.Config.Healthcheck = &copied
	}
	out.History = slices.Clone(c.History)
	return out
}

// emptyConfig is the config of FROM scratch.
func emptyConfig(p oci.Platform) oci.Config {
	var c oci.Config
	c.Platform = p
	c.RootFS.Type = "layers"
	c.Config.WorkingDir = "/"
	return c
}

// exporterComment is that of history entries for layers that no instruction made.
const exporterComment = "buildkit.exporter.image.v0"

// completeHistory makes a base image's history fit its layers: it is optional, and not all tools write one. As BuildKit
// does, a layer without an entry gets one.
func completeHistory(h []ispec.History, layers int) []ispec.History {
	n := 0
	for i := range h {
		if h[i].EmptyLayer {
			continue
		}
		if n++; n > layers {
			h[i].EmptyLayer = true
		}
	}
	for ; n < layers; n++ {
		h = append(h, ispec.History{Comment: exporterComment})
	}
	return h
}
