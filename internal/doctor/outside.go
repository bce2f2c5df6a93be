package doctor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/sandbox"
)

// usernsFinding makes a namespace with the user's own id: nothing else is asked of the machine for it.
func usernsFinding(ctx context.Context, o Options, m *Machine) Finding {
	f := Finding{Name: "user namespaces", Status: OK, Detail: "max_user_namespaces is " + m.sysctl("user/max_user_namespaces")}
	v := enter(ctx, o, sandbox.IDsOne, sandbox.IsolationNamespaces)
	if v.err == nil {
		return f
	}
	f.Status, f.Detail, f.Fixes = Missing, v.err.Error(), m.remedies(setupOf(v.err))
	f.Cost = "builds with RUN, and cairn run, do not work; builds without RUN do"
	if m.UID == 0 {
		f.Status, f.Cost = Lesser, "RUN works in a chroot, which keeps commands from nothing"
	}
	if mode := statusField("Seccomp"); mode == "2" {
		f.Detail += "; a seccomp filter is in force here"
	}
	return f
}

// mapFinding makes a namespace with every id that the user can have.
func mapFinding(ctx context.Context, o Options, m *Machine) Finding {
	f := Finding{Name: "id map", Status: OK}
	v := enter(ctx, o, sandbox.IDsSubuid, sandbox.IsolationNamespaces)
	if v.err == nil {
		f.Detail = v.answer.IDs
		if other := m.shared(); other != "" {
			f.Status, f.Detail = Lesser, "your subordinate ids are also those of "+other
			f.Cost = "that user can write to files of your images, and you to theirs"
			f.Fixes = m.rangeFixes()
		}
		return f
	}
	f.Status, f.Detail = Lesser, v.err.Error()
	f.Cost = "one id, owners are emulated: the images are the same, commands some 20% slower"
	f.Fixes = m.remedies(setupOf(v.err))
	for _, tool := range []string{"newuidmap", "newgidmap"} {
		f.Detail += "; " + describeTool(tool)
	}
	if m.UID != 0 {
		f.Detail += fmt.Sprintf("; subuid: %s; subgid: %s", orNone(m.ranges("/etc/subuid")), orNone(m.ranges("/etc/subgid")))
	}
	return f
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// describeTool says where its privilege comes from.
func describeTool(tool string) string {
	path, err := exec.LookPath(tool)
	if err != nil {
		return tool + " is not installed"
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err.Error()
	case info.Mode()&os.ModeSetuid != 0:
		return path + " is setuid"
	case sys.HasFileCapabilities(path):
		return path + " has file capabilities"
	}
	return path + " has neither the setuid bit nor file capabilities"
}

// emulationFinding runs a command in a namespace with one id. works says that there is another way to run commands.
func emulationFinding(ctx context.Context, o Options, works bool) Finding {
	f := Finding{Name: "emulated owners", Status: OK, Detail: "seccomp user notification"}
	v := enter(ctx, o, sandbox.IDsOne, sandbox.IsolationNamespaces)
	switch {
	case v.err != nil:
		f.Status, f.Detail = Missing, "not tried: "+v.err.Error()
	case v.answer.Ran != "":
		f.Status, f.Detail = Missing, v.answer.Ran
	}
	switch {
	case f.Status == OK:
	case works:
		f.Status, f.Cost = Lesser, "--ids one does not work, and nothing else needs it here"
	default:
		f.Cost = "without subordinate ids there are no RUN steps"
	}
	return f
}

// findings are those of the best namespace there is.
func (v visit) findings(m *Machine) []Finding {
	if v.err != nil {
		return nil
	}
	a := v.answer
	all := []Finding{
		finding("proc", a.Proc, "commands see the processes outside", m.procFixes()...),
		finding("overlay in the data directory", a.Overlay, "what commands write is in memory until the end of a build", storeFix()),
		finding("overlay with memory", a.Tmpfs, ""),
		finding("shared blocks (reflink)", a.Reflink, "",
			Fix{You, "put the data directory on btrfs, or xfs with reflink=1, with --root or CAIRN_ROOT"}),
		finding("Landlock", a.Landlock, "commands in the host's network can reach abstract unix sockets", Fix{Root, "use Linux 6.12 or later with Landlock enabled (lsm=landlock,...)"}),
		finding("network namespaces", a.Network, "RUN --network=none does not work",
			Fix{Root, m.sysctlCommand("user.max_net_namespaces", "15000")}),
		finding("private network", a.Private, "--network private does not work: commands have the host's network, or none", m.privateFixes()...),
	}
	out := all[:0]
	for i, f := range all {
		switch {
		case i == 1 && f.Status != OK && a.Tmpfs != "":
			f.Cost = "commands work on copies of all files"
		case i == 2 && a.Overlay == "", i == 3 && a.Overlay == "", i == 3 && a.Tmpfs == "":
			continue // nobody needs it
		}
		if a.Isolation == string(sandbox.IsolationChroot) {
			f.Fixes = nil // those of the namespaces come first
		}
		out = append(out, f)
	}
	return out
}

func finding(name, failure, cost string, fixes ...Fix) Finding {
	if failure == "" {
		return Finding{Name: name, Status: OK}
	}
	return Finding{Name: name, Status: Lesser, Detail: failure, Cost: cost, Fixes: fixes}
}

// runFinding is the verdict.
func runFinding(m *Machine, best visit) Finding {
	f := Finding{Name: "builds with RUN", Status: OK, Detail: strings.Join(best.notices, "; ")}
	switch {
	case best.err != nil:
		f.Status, f.Detail, f.Fixes = Missing, best.err.Error(), m.remedies(setupOf(best.err))
		f.Cost = "builds without RUN work all the same"
	case best.answer.Ran != "":
		f.Status, f.Detail = Missing, best.answer.Ran
	case len(best.notices) > 0:
		f.Status = Lesser
	}
	return f
}
