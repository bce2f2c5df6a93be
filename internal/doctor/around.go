package doctor

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/go-units"

	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/oci/registry"
)

// little is the free space below which a build of any size is likely to fail.
const little = 2 << 30

// storeFinding looks at the file system in which the data directory is, or would be.
func storeFinding(root string) Finding {
	f := Finding{Name: "data directory", Status: OK}
	at := root
	for {
		if _, err := os.Stat(at); err == nil || at == "/" {
			break
		}
		at = filepath.Dir(at)
	}
	fs, err := sys.StatFS(at)
	if err != nil {
		return Finding{Name: f.Name, Status: Missing, Detail: err.Error(), Fixes: []Fix{storeFix()}}
	}
	f.Detail = fmt.Sprintf("%s, %s, %s free", root, fs.Type, units.BytesSize(float64(fs.Free)))
	switch {
	case fs.Remote():
		f.Status, f.Cost, f.Fixes = Lesser, "slow, and without overlay or extended attributes on many servers", []Fix{storeFix()}
	case fs.Free < little:
		f.Status, f.Cost = Lesser, "builds may fill the disk"
		f.Fixes = []Fix{{You, "remove images with cairn rmi, or put the data directory elsewhere with --root or CAIRN_ROOT"}}
	case fs.Files > 0 && fs.FreeFiles < 50000:
		f.Status, f.Cost, f.Fixes = Lesser, fmt.Sprintf("only %d more files can be made", fs.FreeFiles), []Fix{storeFix()}
	}
	return f
}

// cgroupFinding makes a control group below this process's own.
func cgroupFinding(m *Machine) Finding {
	f := Finding{
		Name: "delegated cgroup", Status: Lesser, Cost: "--memory, --cpus and --pids-limit do not work",
		Fixes: m.cgroupFixes(),
	}
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	i := slices.IndexFunc(strings.Split(string(b), "\n"), func(l string) bool { return strings.HasPrefix(l, "0::") })
	if i < 0 {
		f.Detail = "this machine has no control groups of version 2"
		return f
	}
	own := strings.TrimPrefix(strings.Split(string(b), "\n")[i], "0::")
	for _, top := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		dir := filepath.Join(top, own)
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err != nil {
			f.Detail = err.Error()
			continue
		}
		probe, err := os.MkdirTemp(dir, "cairn-doctor-")
		if err == nil {
			os.Remove(probe)
			return Finding{Name: f.Name, Status: OK, Detail: dir}
		}
		f.Detail = err.Error()
		break
	}
	return f
}

// privateFixes are for the programs that give a network namespace a way out.
func (m *Machine) privateFixes() []Fix {
	for _, p := range []string{"pasta", "slirp4netns"} {
		if path := m.lookPath(p); path != "" {
			return []Fix{{Root, path + " has to be able to open /dev/net/tun: chmod 666 /dev/net/tun"}}
		}
	}
	return []Fix{{Root, m.install("passt")}}
}

func gitFinding(m *Machine) Finding {
	path, err := exec.LookPath("git")
	if err != nil {
		return Finding{Name: "git", Status: Lesser, Detail: "not installed", Cost: "contexts and ADD from git repositories don't work",
			Fixes: []Fix{{Root, m.install("git")}}}
	}
	return Finding{Name: "git", Status: OK, Detail: path}
}

// credentialFindings look for the helpers that docker's and podman's configurations name.
func credentialFindings() []Finding {
	helpers, err := registry.CredentialHelpers()
	if err != nil {
		return []Finding{{Name: "registry credentials", Status: Missing, Detail: err.Error(), Cost: "nobody is logged in to any registry"}}
	}
	var out []Finding
	for _, h := range helpers {
		f := Finding{Name: "credential helper " + h.Name, Status: OK, Detail: "for " + h.Whose()}
		if h.Missing() {
			f.Status, f.Detail = Missing, fmt.Sprintf("%s names it for %s, and %s is not in PATH", h.File, h.Whose(), h.Program)
			f.Cost = "no login there"
			f.Fixes = []Fix{{You, fmt.Sprintf("install %s, or take %q out of %s and log in again", h.Program, h.Name, h.File)}}
		}
		out = append(out, f)
	}
	return out
}
