package doctor

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/go-units"

	"github.com/cairnbuild/cairn/internal/sys"
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

// credentialFindings look for the helpers that docker's configuration names.
func credentialFindings() []Finding {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil
		}
		dir = filepath.Join(home, ".docker")
	}
	file := filepath.Join(dir, "config.json")
	b, err := os.ReadFile(file)
	if err != nil {
		return nil // nobody has logged in with it
	}
	var config struct {
		CredsStore  string            `json:"credsStore"`
		CredHelpers map[string]string `json:"credHelpers"`
	}
	if err := json.Unmarshal(b, &config); err != nil {
		return []Finding{{Name: "registry credentials", Status: Missing, Detail: file + ": " + err.Error(), Cost: "nobody is logged in to any registry"}}
	}
	users := map[string]string{} // helper -> who uses it
	for registry, helper := range config.CredHelpers {
		users[helper] = registry
	}
	if config.CredsStore != "" {
		users[config.CredsStore] = "all registries"
	}
	var out []Finding
	for helper, whose := range users {
		program := "docker-credential-" + helper
		f := Finding{Name: "credential helper " + helper, Status: OK, Detail: "for " + whose}
		if _, err := exec.LookPath(program); err != nil {
			f.Status, f.Detail = Missing, fmt.Sprintf("%s names it for %s, and %s is not in PATH", file, whose, program)
			f.Cost = "no login there"
			f.Fixes = []Fix{{You, fmt.Sprintf("install %s, or take %q out of %s and log in again", program, helper, file)}}
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b Finding) int { return strings.Compare(a.Name, b.Name) })
	return out
}
