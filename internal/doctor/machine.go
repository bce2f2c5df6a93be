package doctor

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/cairnbuild/cairn/sandbox"
)

// Machine is what the remedies depend on.
type Machine struct {
	// Distribution is ID of /etc/os-release, Like its ID_LIKE, Name its PRETTY_NAME.
	Distribution string   `json:"distribution"`
	Like         []string `json:"like,omitempty"`
	Name         string   `json:"name,omitempty"`
	// Runtime is the container around: docker, podman, kubernetes, lxc, or "" for none that shows.
	Runtime string `json:"runtime,omitempty"`
	// CI is the service that runs this: github, gitlab, forgejo, another, or "" for none that shows.
	CI   string `json:"ci,omitempty"`
	User string `json:"user"`
	UID  int    `json:"uid"`
	// HasName is false for a user id that no user database has; User is then the number.
	HasName bool   `json:"hasName"`
	Kernel  string `json:"kernel"`
	// Program is this program's file.
	Program string `json:"program"`
	// Systemd says that it manages this machine.
	Systemd bool `json:"systemd"`

	sysctl    func(string) string
	lookPath  func(string) string
	subRanges func(file string) []subRange
}

// ThisMachine looks around.
func ThisMachine() Machine {
	uid := os.Getuid()
	if sandbox.CurrentIsolation() == sandbox.IsolationNamespaces { // there it is root, and what can be done is up to who started it
		uid = outerUID(uid)
	}
	m := Machine{
		UID: uid, User: strconv.Itoa(uid), Runtime: containerRuntime(), CI: ciService(),
		sysctl: readSysctl, lookPath: lookPath, subRanges: readRanges,
	}
	if name := userName(m.User); name != "" {
		m.User, m.HasName = name, true
	}
	_, err := os.Stat("/run/systemd/system") // sd_booted(3)
	m.Systemd = err == nil
	m.Kernel = readSysctl("kernel/osrelease")
	m.Program, _ = os.Executable()
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		if b, err := os.ReadFile(path); err == nil {
			m.readRelease(b)
			break
		}
	}
	return m
}

// outerUID is what a user id of this process's namespace is in the one around it.
func outerUID(uid int) int {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return uid
	}
	for line := range strings.Lines(string(b)) {
		var inside, outside, count int
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err == nil && inside <= uid && uid < inside+count {
			return outside + uid - inside
		}
	}
	return uid
}

// userName is the name of a user id, "" when it has none. getent knows the users who are not in /etc/passwd (LDAP).
func userName(uid string) string {
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	out, err := exec.Command("getent", "passwd", uid).Output()
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(string(out), ":")
	return name
}

// lookPath is where a program is, or "".
func lookPath(program string) string {
	path, err := exec.LookPath(program)
	if err != nil {
		return ""
	}
	return path
}

// readRelease reads os-release(5).
func (m *Machine) readRelease(b []byte) {
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		key, value, _ := strings.Cut(s.Text(), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			m.Distribution = value
		case "ID_LIKE":
			m.Like = strings.Fields(value)
		case "PRETTY_NAME":
			m.Name = value
		}
	}
}

// is reports whether the distribution is one of names, or made from one.
func (m *Machine) is(names ...string) bool {
	return slices.Contains(names, m.Distribution) || slices.ContainsFunc(m.Like, func(l string) bool { return slices.Contains(names, l) })
}

// install is the command that installs a program, by the name that its package has in Debian.
func (m *Machine) install(debian string) string {
	named := func(other string) string { // only newuidmap's package has many names
		if debian == "uidmap" {
			return other
		}
		return debian
	}
	switch {
	case m.is("debian", "ubuntu"):
		return "apt-get install " + debian
	case m.is("fedora", "rhel", "centos"):
		return "dnf install " + named("shadow-utils")
	case m.is("alpine"):
		return "apk add " + named("shadow-uidmap")
	case m.is("arch"):
		return "pacman -S " + named("shadow")
	case m.is("suse", "opensuse", "sles"):
		return "zypper install " + named("shadow")
	case m.is("nixos"):
		return "add " + named("shadow") + " to environment.systemPackages"
	}
	return "install " + named("newuidmap and newgidmap (package uidmap or shadow)")
}

func containerRuntime() string {
	exists := func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	}
	switch {
	case os.Getenv("KUBERNETES_SERVICE_HOST") != "" || exists("/var/run/secrets/kubernetes.io"):
		return "kubernetes"
	case exists("/run/.containerenv"):
		return "podman"
	case exists("/.dockerenv"):
		return "docker"
	}
	return os.Getenv("container") // lxc, systemd-nspawn
}

func ciService() string {
	for _, s := range []struct{ variable, name string }{
		{"GITHUB_ACTIONS", "github"}, {"GITLAB_CI", "gitlab"}, {"FORGEJO_ACTIONS", "forgejo"}, {"CI", "another"},
	} {
		if os.Getenv(s.variable) != "" {
			return s.name
		}
	}
	return ""
}

// readSysctl returns the value of /proc/sys/name, or "" where there is none.
func readSysctl(name string) string {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// statusField returns a field of /proc/self/status, or "".
func statusField(name string) string {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return ""
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if value, ok := strings.CutPrefix(s.Text(), name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
