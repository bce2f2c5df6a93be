package dockerfile

import (
	"fmt"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// typed makes an instruction of this package of one of BuildKit's.
func typed(parsed any, w written) (Instruction, error) {
	switch c := parsed.(type) {
	case *instructions.RunCommand:
		return typedRun(c, w), nil
	case *instructions.CopyCommand:
		return typedCopy(c, w), validateFrom(c.From)
	case *instructions.AddCommand:
		return typedAdd(c, w), nil
	case *instructions.EnvCommand:
		return &Env{w, pairs(c.Env)}, nil
	case *instructions.LabelCommand:
		return &Label{w, pairs(c.Labels)}, nil
	case *instructions.ArgCommand:
		return typedArg(c, w), nil
	case *instructions.WorkdirCommand:
		return &Workdir{w, c.Path}, nil
	case *instructions.UserCommand:
		return &User{w, c.User}, nil
	case *instructions.CmdCommand:
		return &Cmd{w, typedCommand(c.ShellDependantCmdLine)}, nil
	case *instructions.EntrypointCommand:
		return &Entrypoint{w, typedCommand(c.ShellDependantCmdLine)}, nil
	case *instructions.ExposeCommand:
		return &Expose{w, c.Ports}, nil
	case *instructions.VolumeCommand:
		return &Volume{w, c.Volumes}, nil
	case *instructions.StopSignalCommand:
		return &StopSignal{w, c.Signal}, nil
	case *instructions.HealthCheckCommand:
		return typedHealthcheck(c, w), nil
	case *instructions.OnbuildCommand:
		return &OnBuild{w, c.Expression}, nil
	case *instructions.MaintainerCommand:
		return &Maintainer{w, c.Maintainer}, nil
	case *instructions.ShellCommand:
		return &Shell{w, c.Shell}, nil
	}
	return nil, fmt.Errorf("%s is not supported", w.Keyword())
}

func typedRun(c *instructions.RunCommand, w written) *Run {
	r := &Run{
		written:  w,
		Command:  typedCommand(c.ShellDependantCmdLine),
		Network:  Network(instructions.GetNetwork(c)),
		Security: Security(instructions.GetSecurity(c)),
		Flags:    slices.Sorted(slices.Values(c.FlagsUsed)),
	}
	for _, m := range instructions.GetMounts(c) {
		r.Mounts = append(r.Mounts, Mount{
			Type: MountType(m.Type), Source: m.Source, Target: m.Target, From: m.From,
			ID: m.CacheID, Sharing: Sharing(m.CacheSharing), ReadOnly: m.ReadOnly, Required: m.Required, Size: m.SizeLimit,
			Env: m.Env, MountAttributes: MountAttributes{Mode: narrow(m.Mode), UID: narrow(m.UID), GID: narrow(m.GID)},
		})
	}
	for _, d := range instructions.GetDevices(c) {
		r.Devices = append(r.Devices, Device{Name: d.Name, Required: d.Required})
	}
	return r
}

// narrow converts what the mount parser has already held to 32 bits.
func narrow(v *uint64) *uint32 {
	if v == nil {
		return nil
	}
	n := uint32(*v)
	return &n
}

func typedCommand(c instructions.ShellDependantCmdLine) Command {
	cmd := Command{Args: c.CmdLine, Shell: c.PrependShell}
	for _, f := range c.Files {
		cmd.Heredocs = append(cmd.Heredocs, Heredoc{Name: f.Name, Content: f.Data, Chomp: f.Chomp})
	}
	return cmd
}

func pairs(kvs instructions.KeyValuePairs) []KeyValue {
	var all []KeyValue
	for _, kv := range kvs {
		all = append(all, KeyValue{kv.Key, kv.Value})
	}
	return all
}

func typedArg(c *instructions.ArgCommand, w written) *Arg {
	a := &Arg{written: w}
	for _, kv := range c.Args {
		a.Defs = append(a.Defs, ArgDef{Name: kv.Key, Default: kv.Value, Comment: kv.DocComment})
	}
	return a
}

func typedHealthcheck(c *instructions.HealthCheckCommand, w written) *Healthcheck {
	h := c.Health
	return &Healthcheck{
		written: w, Test: h.Test, Interval: h.Interval, Timeout: h.Timeout,
		StartPeriod: h.StartPeriod, StartInterval: h.StartInterval, Retries: h.Retries,
	}
}
