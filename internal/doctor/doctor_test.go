package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/sandbox"
)

func TestHints(t *testing.T) {
	restricted := map[string]string{"kernel/apparmor_restrict_unprivileged_userns": "1"}
	for _, c := range []struct {
		name    string
		machine Machine
		failed  sandbox.SetupError
		sysctl  map[string]string
		want    string
	}{
		{"limit is zero", Machine{UID: 5}, sandbox.SetupError{Stage: sandbox.StageUserns, Errno: syscall.EPERM}, map[string]string{"user/max_user_namespaces": "0"}, "user.max_user_namespaces=15000"},
		{"limit is reached", Machine{UID: 5}, sandbox.SetupError{Stage: sandbox.StageUserns, Errno: syscall.ENOSPC}, nil, "user.max_user_namespaces=15000"},
		{"root of a machine", Machine{}, sandbox.SetupError{Stage: sandbox.StageUserns, Errno: syscall.ENOSPC}, nil, "--isolation chroot"},
		{"old Debian", Machine{UID: 5}, sandbox.SetupError{Stage: sandbox.StageUserns, Errno: syscall.EPERM}, map[string]string{"kernel/unprivileged_userns_clone": "0"}, "unprivileged_userns_clone=1"},
		{"Ubuntu 24.04", Machine{UID: 5, Program: "/opt/cairn"}, sandbox.SetupError{Stage: sandbox.StageMaps, Errno: syscall.EPERM}, restricted, "/opt/cairn doctor --apparmor-profile > /etc/apparmor.d/cairn"},
		{"Ubuntu 24.04, later", Machine{UID: 5}, sandbox.SetupError{Stage: "make mounts private", Errno: syscall.EACCES}, restricted, "apparmor_parser -r"},
		{"docker", Machine{UID: 5, Runtime: "docker"}, sandbox.SetupError{Stage: sandbox.StageUserns, Errno: syscall.EPERM}, nil, "seccomp=unconfined"},
		{"docker, not root", Machine{UID: 5, Runtime: "docker"}, sandbox.SetupError{Stage: sandbox.StageUserns, Errno: syscall.EPERM}, nil, "user root"},
		{"kubernetes", Machine{UID: 5, Runtime: "kubernetes"}, sandbox.SetupError{Stage: sandbox.StageUserns, Errno: syscall.EPERM}, nil, "procMount: Unmasked"},
		{"gitlab", Machine{UID: 5, CI: "gitlab"}, sandbox.SetupError{Stage: sandbox.StageUserns, Errno: syscall.EPERM}, nil, "[runners.docker]"},
		{"container's /proc", Machine{UID: 5}, sandbox.SetupError{Stage: sandbox.StageProc, Errno: syscall.EPERM}, nil, "systempaths=unconfined"},
		{"no tool in Debian", Machine{UID: 5, Distribution: "debian"}, sandbox.SetupError{Stage: sandbox.StageNewuid, Text: "newuidmap is not installed"}, nil, "apt-get install uidmap"},
		{"no tool in Alpine", Machine{UID: 5, Distribution: "alpine"}, sandbox.SetupError{Stage: sandbox.StageNewuid, Text: "newuidmap is not installed"}, nil, "apk add shadow-uidmap"},
		{"no tool in Rocky", Machine{UID: 5, Distribution: "rocky", Like: []string{"rhel", "centos", "fedora"}}, sandbox.SetupError{Stage: sandbox.StageNewgid, Text: "newgidmap is not installed"}, nil, "dnf install shadow-utils"},
		{"tool refuses", Machine{UID: 5}, sandbox.SetupError{Stage: sandbox.StageNewuid, Text: "exit status 1: newuidmap: write to uid_map failed"}, nil, "setcap cap_setuid=ep"},
		{"no range", Machine{UID: 5, User: "eve"}, sandbox.SetupError{Stage: sandbox.StageMaps, Text: "no range for eve in /etc/subuid"}, nil, "usermod --add-subuids"},
		{"no range, no name", Machine{UID: 5, User: "5"}, sandbox.SetupError{Stage: sandbox.StageMaps, Text: "no range for 5 in /etc/subuid"}, nil, "useradd --no-create-home --uid 5 builder && usermod --add-subuids"},
		{"many layers", Machine{UID: 5}, sandbox.SetupError{Stage: sandbox.StageOverlay, Text: mount.ErrTooManyLower.Error()}, nil, "--snapshotter copy"},
		{"one id", Machine{UID: 5, User: "eve"}, sandbox.SetupError{Stage: sandbox.StageUser, Errno: syscall.EINVAL}, nil, "usermod --add-subuids"},
		{"nothing known", Machine{UID: 5}, sandbox.SetupError{Stage: "limit capabilities", Errno: syscall.EIO}, nil, "cairn doctor"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.machine.sysctl = func(name string) string { return c.sysctl[name] }
			c.machine.lookPath = func(name string) string { return "/usr/bin/" + name }
			c.machine.subRanges = readRanges
			c.machine.HasName = c.machine.User != "5"
			got := c.machine.Hint(&c.failed)
			assert.Assert(t, strings.Contains(got, c.want), "%q", got)
		})
	}
}

// What gives a command more ids, or a control group, depends on what is there already.
func TestFixesFitTheMachine(t *testing.T) {
	installed := func(name string) string { return "/usr/bin/" + name }
	none := func(string) string { return "" }
	mine := func(string) []subRange { return []subRange{{"eve", 100000, 65536}} }
	nobodys := func(string) []subRange { return nil }
	for _, c := range []struct {
		name    string
		fixes   func(*Machine) []Fix
		machine Machine
		want    string
		not     string
	}{
		{"ids, no tool", (*Machine).idFixes, Machine{UID: 5, User: "eve", HasName: true, lookPath: none, subRanges: nobodys, Distribution: "debian"}, "apt-get install uidmap", ""},
		{"ids, no range", (*Machine).idFixes, Machine{UID: 5, User: "eve", HasName: true, lookPath: installed, subRanges: nobodys}, "usermod --add-subuids", "install"},
		{"ids, a range", (*Machine).idFixes, Machine{UID: 5, User: "eve", HasName: true, lookPath: installed, subRanges: mine}, "--ids one", "install"},
		{"cgroup, systemd", (*Machine).cgroupFixes, Machine{UID: 5, Systemd: true}, "systemd-run --user --scope", ""},
		{"cgroup, root", (*Machine).cgroupFixes, Machine{Systemd: true}, "systemd-run --scope", "--user"},
		{"cgroup, no systemd", (*Machine).cgroupFixes, Machine{UID: 5}, "mkdir /sys/fs/cgroup/cairn", "systemd"},
		{"cgroup, docker", (*Machine).cgroupFixes, Machine{UID: 5, Runtime: "docker", Systemd: true}, "start this container with --memory", "systemd"},
		{"cgroup, kubernetes", (*Machine).cgroupFixes, Machine{UID: 5, Runtime: "kubernetes"}, "limits: {memory", "systemd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := sentence(c.fixes(&c.machine))
			assert.Assert(t, strings.Contains(got, c.want), "%q", got)
			assert.Assert(t, c.not == "" || !strings.Contains(got, c.not), "%q", got)
		})
	}
}

func TestReadRelease(t *testing.T) {
	var m Machine
	m.readRelease([]byte("NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nPRETTY_NAME='Rocky Linux 9'\n"))
	assert.Equal(t, m.Distribution, "rocky")
	assert.Equal(t, m.Name, "Rocky Linux 9")
	assert.Assert(t, m.is("fedora") && m.is("rocky") && !m.is("debian"))
}

func TestRanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "subuid")
	assert.NilError(t, os.WriteFile(file, []byte("a:100000:65536\n# note\nb:165536:10\nbroken\nc:1:0\n"), 0o644))
	all := readRanges(file)
	assert.Equal(t, len(all), 2)
	assert.Equal(t, all[1], subRange{"b", 165536, 10})
	assert.Assert(t, !all[0].overlaps(all[1]))
	assert.Assert(t, all[0].overlaps(subRange{"x", 165535, 5}))
}

func TestCredentialHelpers(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("PATH", dir)
	assert.Equal(t, len(credentialFindings()), 0)
	config := `{"credsStore": "here", "credHelpers": {"registry.example": "gone"}}`
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600))
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "docker-credential-here"), []byte("#!/bin/sh\n"), 0o755))
	found := credentialFindings()
	assert.Equal(t, len(found), 2)
	assert.Equal(t, found[0].Status, Missing)
	assert.Assert(t, strings.Contains(found[0].Detail, "registry.example"))
	assert.Equal(t, found[1].Status, OK)

	assert.NilError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte("{"), 0o600))
	assert.Equal(t, credentialFindings()[0].Status, Missing)
}

func TestStoreFinding(t *testing.T) {
	dir := t.TempDir()
	f := storeFinding(filepath.Join(dir, "not/there/yet"))
	assert.Assert(t, f.Detail != "" && f.Status != Missing, "%+v", f)
}

// The file that is shipped is what the command prints for the usual places.
func TestAppArmorProfile(t *testing.T) {
	shipped, err := os.ReadFile("../../contrib/apparmor/cairn")
	assert.NilError(t, err)
	assert.Equal(t, string(shipped), AppArmorProfile("/{usr/bin,usr/local/bin,home/*/bin,home/*/.local/bin}/cairn"))
}
