package build

import (
	"fmt"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/oci"
)

// dispatchConfig applies the instructions that change nothing but the config.
func (st *stageState) dispatchConfig(in dockerfile.Instruction) error {
	c := &st.Config.Config
	var created string
	switch in := in.(type) {
	case *dockerfile.Env:
		env := dockerfile.NewVars(c.Env)
		for _, kv := range in.Pairs {
			env = env.With(kv.Key, kv.Value)
		}
		c.Env, created = env.Slice(), in.History()
	case *dockerfile.Label:
		c.Labels = withAll(c.Labels, in.Pairs)
		created = in.History()
	case *dockerfile.Cmd:
		c.Cmd, st.cmdSet = in.WithShell(c.Shell), true
		// Deprecated in OCI, and still what Docker writes whenever a CMD was given.
		c.ArgsEscaped = true //nolint:staticcheck // Docker's images carry it
		created = in.History(c.Shell)
	case *dockerfile.Entrypoint:
		c.Entrypoint = in.WithShell(c.Shell)
		if !st.cmdSet {
			c.Cmd = nil
		}
		created = in.History(c.Shell)
	case *dockerfile.User:
		c.User, created = in.User, in.History()
	case *dockerfile.Volume:
		c.Volumes = withKeys(c.Volumes, in.Paths)
		created = in.History()
	case *dockerfile.Expose:
		c.ExposedPorts = withKeys(c.ExposedPorts, in.Ports)
		created = in.History()
	case *dockerfile.StopSignal:
		c.StopSignal, created = in.Signal, in.History()
	case *dockerfile.Shell:
		c.Shell, created = in.Args, in.History()
	case *dockerfile.Maintainer:
		st.Config.Author, created = in.Name, in.History()
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
	st.commit(created, nil)
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
