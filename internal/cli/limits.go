package cli

import (
	"strconv"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/cairnbuild/cairn/sandbox"
)

// limitFlags are the flags that limit what a command uses; whose is "" or " of each RUN".
func limitFlags(whose string) []cli.Flag {
	return []cli.Flag{
		oneFlag("shm-size", "SIZE", "Size of /dev/shm"+whose),
		manyFlag("ulimit", "NAME=SOFT[:HARD]", "Limit the resources"+whose),
		oneFlag("memory", "SIZE", "Limit the memory"+whose+"; needs a delegated cgroup", "m"),
		oneFlag("cpus", "NUMBER", "Limit the processors' time"+whose+", such as 1.5; needs a delegated cgroup"),
		oneFlag("pids-limit", "NUMBER", "Limit the processes"+whose+"; needs a delegated cgroup"),
	}
}

// limits reads limitFlags.
func limits(cc *cli.Context, fail func(format string, args ...any)) sandbox.Limits {
	l := sandbox.Limits{Resources: resources(cc, fail)}
	if s := cc.String("shm-size"); s != "" {
		n, err := units.RAMInBytes(s)
		if err != nil || n <= 0 {
			fail("--shm-size is a size such as 64m, not %q", s)
		}
		l.ShmSize = n
	}
	for _, s := range cc.StringSlice("ulimit") {
		u, err := units.ParseUlimit(s)
		if err != nil {
			fail("read --ulimit: %v", err)
			continue
		}
		l.Rlimits = append(l.Rlimits, sandbox.Rlimit{Name: u.Name, Soft: rlimit(u.Soft), Hard: rlimit(u.Hard)})
	}
	return l
}

// rlimit turns -1, unlimited, into the kernel's word for it.
func rlimit(n int64) uint64 {
	if n == -1 {
		return sandbox.RlimitInfinity
	}
	return uint64(n)
}

// resources reads --memory, --cpus and --pids-limit, as docker run has them.
func resources(cc *cli.Context, fail func(format string, args ...any)) sandbox.Resources {
	var r sandbox.Resources
	if s := cc.String("memory"); s != "" {
		n, err := units.RAMInBytes(s)
		if err != nil || n < 6<<20 { // docker's least
			fail("--memory is a size such as 512m, 6m at least, not %q", s)
		}
		r.Memory = n
	}
	if s := cc.String("cpus"); s != "" {
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || !(n >= 0.01 && n < 1e6) {
			fail("--cpus is a number such as 1.5, not %q", s)
		}
		r.CPUs = n
	}
	if s := cc.String("pids-limit"); s != "" && s != "-1" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			fail("--pids-limit is a number, or -1 for none, not %q", s)
		}
		r.PIDs = n
	}
	return r
}

// network reads --network.
func (r *runFlagReader) network() sandbox.Network {
	switch m := r.String("network"); m {
	case "host", "default", "":
		return sandbox.NetworkHost
	case "none":
		return sandbox.NetworkNone
	case "private":
		return sandbox.NetworkPrivate
	default:
		r.fail("--network is host, private or none, not %q", m)
		return ""
	}
}
