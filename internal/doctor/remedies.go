package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/sandbox"
)

// Hint is the remedy for a sandbox that could not be made, in one line; it points at cairn doctor when none is known.
func (m *Machine) Hint(e *sandbox.SetupError) string { return sentence(m.remedies(e)) }

// LimitsHint is the remedy for bounds of memory, processors or processes that could not be set, in one line.
func (m *Machine) LimitsHint() string { return sentence(m.cgroupFixes()) }

func sentence(fixes []Fix) string {
	texts := make([]string, 0, len(fixes))
	for _, f := range fixes {
		texts = append(texts, f.String())
	}
	if len(texts) == 0 {
		return "cairn doctor says what this machine allows"
	}
	return strings.Join(texts, "; or ") + " (cairn doctor says more)"
}

// String is the fix as part of a sentence.
func (f Fix) String() string {
	switch f.Who {
	case Root:
		return "as root: " + f.Do
	case Container:
		return "start this container with " + f.Do
	}
	return f.Do
}

// remedies are those for a stage of setting up.
func (m *Machine) remedies(e *sandbox.SetupError) []Fix {
	denied := errors.Is(e, fs.ErrPermission)
	switch e.Stage {
	case sandbox.StageUserns:
		return m.usernsFixes(e)
	case sandbox.StageMaps:
		if m.restrictedByAppArmor() { // there the namespace can be made, but nothing be done in it
			return m.appArmorFixes()
		}
		return m.rangeFixes()
	case sandbox.StageNewuid, sandbox.StageNewgid:
		return m.toolFixes(e)
	case sandbox.StageProc:
		if denied {
			return m.procFixes()
		}
	case sandbox.StageRoot, sandbox.StageOverlay:
		if e.Text == mount.ErrTooManyLower.Error() {
			return []Fix{LayersFix()}
		}
		if errors.Is(e, syscall.EINVAL) {
			return []Fix{storeFix()}
		}
	case sandbox.StageUser:
		return m.idFixes()
	case sandbox.StageChroot:
		return []Fix{{Container, "user root and the capability SYS_CHROOT"}}
	case sandbox.StageClone:
		if errors.Is(e, syscall.ENOSPC) {
			return []Fix{{Root, m.sysctlCommand("user.max_pid_namespaces=15000 user.max_mnt_namespaces=15000 user.max_net_namespaces=15000 "+
				"user.max_ipc_namespaces=15000 user.max_uts_namespaces=15000 user.max_cgroup_namespaces", "15000")}}
		}
	}
	if denied && m.restrictedByAppArmor() {
		return m.appArmorFixes()
	}
	return nil
}

// LayersFix is for an image of more layers than the kernel's overlay takes.
func LayersFix() Fix {
	return Fix{You, "use --snapshotter copy, for which the number of layers does not matter"}
}

func storeFix() Fix {
	return Fix{You, "put the data directory on a local file system (ext4, xfs, btrfs, tmpfs) with --root or CAIRN_ROOT"}
}

// usernsFixes are for machines that allow no user namespaces, or none that are good for anything.
func (m *Machine) usernsFixes(e *sandbox.SetupError) []Fix {
	switch {
	case errors.Is(e, syscall.ENOSPC), errors.Is(e, syscall.EUSERS), m.sysctl("user/max_user_namespaces") == "0":
		return m.orChroot(Fix{Root, m.sysctlCommand("user.max_user_namespaces", "15000")})
	case m.sysctl("kernel/unprivileged_userns_clone") == "0":
		return []Fix{{Root, m.sysctlCommand("kernel.unprivileged_userns_clone", "1")}}
	case m.restrictedByAppArmor():
		return m.appArmorFixes()
	case errors.Is(e, fs.ErrPermission):
		return m.filterFixes()
	case errors.Is(e, syscall.EINVAL), errors.Is(e, syscall.ENOSYS):
		return m.orChroot(Fix{Root, "use a kernel with user namespaces (CONFIG_USER_NS=y)"})
	}
	return nil
}

// orChroot adds what root can do without a namespace.
func (m *Machine) orChroot(f Fix) []Fix {
	if m.UID != 0 {
		return []Fix{f}
	}
	return []Fix{f, {You, "for a Dockerfile that you trust with this machine: --isolation chroot"}}
}

// sysctlCommand sets a value now and after the next start.
func (m *Machine) sysctlCommand(name, value string) string {
	assignments := strings.Join(strings.Fields(name+"="+value), "\\n")
	return fmt.Sprintf("printf '%s\\n' > /etc/sysctl.d/99-cairn.conf && sysctl -p /etc/sysctl.d/99-cairn.conf", assignments)
}

func (m *Machine) restrictedByAppArmor() bool {
	return m.sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1" && m.UID != 0
}

func (m *Machine) appArmorFixes() []Fix {
	return []Fix{
		{Root, fmt.Sprintf("%s doctor --apparmor-profile > /etc/apparmor.d/cairn && apparmor_parser -r /etc/apparmor.d/cairn", m.Program)},
		{Root, m.sysctlCommand("kernel.apparmor_restrict_unprivileged_userns", "0")},
	}
}

// filterFixes are for a seccomp filter, mostly a container's, that forbids namespaces.
func (m *Machine) filterFixes() []Fix {
	asRoot := Fix{Container, "user root: RUN then works in a chroot"}
	switch m.Runtime {
	case "kubernetes":
		return []Fix{{Container, "securityContext: {seccompProfile: {type: Unconfined}, procMount: Unmasked} and hostUsers: false"}, asRoot}
	case "podman":
		return []Fix{{Container, "--security-opt seccomp=unconfined --security-opt unmask=ALL"}}
	}
	options := "--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
	switch m.CI {
	case "github":
		options = "container: {options: " + options + "}, or run the job without container:"
	case "gitlab":
		options = `security_opt = ["seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined"] in [runners.docker] of config.toml`
	}
	if m.UID == 0 {
		return []Fix{{Container, options}}
	}
	return []Fix{{Container, options}, asRoot}
}

func (m *Machine) procFixes() []Fix {
	switch m.Runtime {
	case "kubernetes":
		return []Fix{{Container, "securityContext: {procMount: Unmasked} and hostUsers: false"}}
	case "podman":
		return []Fix{{Container, "--security-opt unmask=ALL"}}
	}
	return []Fix{{Container, "--security-opt systempaths=unconfined"}}
}

// toolFixes are for newuidmap and newgidmap.
func (m *Machine) toolFixes(e *sandbox.SetupError) []Fix {
	if statusField("NoNewPrivs") == "1" {
		how := "no --security-opt no-new-privileges"
		if m.Runtime == "kubernetes" {
			how = "securityContext: {allowPrivilegeEscalation: true}"
		}
		return []Fix{{Container, how}}
	}
	if strings.Contains(e.Text, "not installed") {
		return []Fix{{Root, m.install("uidmap")}}
	}
	// With the setuid bit the tool needs CAP_SYS_ADMIN in the container's bounding set; with a file capability it does not.
	fixes := []Fix{{Root, "chmod u-s /usr/bin/newuidmap /usr/bin/newgidmap && setcap cap_setuid=ep /usr/bin/newuidmap && setcap cap_setgid=ep /usr/bin/newgidmap"}}
	if m.ranges("/etc/subuid") == "" || m.ranges("/etc/subgid") == "" {
		fixes = append(fixes, m.rangeFixes()...)
	}
	return fixes
}

// idFixes are for a user of the image whose id is not mapped.
func (m *Machine) idFixes() []Fix {
	fixes := m.rangeFixes()
	if m.lookPath("newuidmap") == "" {
		return append([]Fix{{Root, m.install("uidmap")}}, fixes...)
	}
	if m.ranges("/etc/subuid") == "" || m.ranges("/etc/subgid") == "" {
		return fixes
	}
	return append([]Fix{{You, "use --ids one, where every id can be had"}}, fixes...)
}

// rangeFixes give the user subordinate ids.
func (m *Machine) rangeFixes() []Fix {
	if m.UID == 0 {
		return nil
	}
	first := m.freeRange()
	last := first + rangeSize - 1
	user, before := m.User, ""
	if !m.HasName { // neither usermod nor newuidmap knows a user who is only a number
		user = "builder"
		before = fmt.Sprintf("useradd --no-create-home --uid %d %s && ", m.UID, user)
	}
	return []Fix{{Root, fmt.Sprintf("%susermod --add-subuids %d-%d --add-subgids %d-%d %s", before, first, last, first, last, user)}}
}

// cgroupFixes give the user a control group to divide.
func (m *Machine) cgroupFixes() []Fix {
	switch {
	case m.Runtime == "kubernetes":
		return []Fix{{Container, "resources: {limits: {memory: SIZE, cpu: NUMBER}}, which hold for all that runs in it"}}
	case m.Runtime != "":
		return []Fix{{Container, "--memory, --cpus and --pids-limit of its own, which hold for all that runs in it"}}
	case m.Systemd && m.UID == 0:
		return []Fix{{You, "start cairn in a cgroup of its own: systemd-run --scope --property=Delegate=yes cairn ..."}}
	case m.Systemd:
		return []Fix{{You, "start cairn in a cgroup of its own: systemd-run --user --scope --property=Delegate=yes cairn ..."}}
	}
	return []Fix{{Root, fmt.Sprintf("mkdir /sys/fs/cgroup/cairn && chown -R %d /sys/fs/cgroup/cairn, and then move your shell there: "+
		"echo PID > /sys/fs/cgroup/cairn/cgroup.procs", m.UID)}}
}
