package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/build"
	"github.com/cairnbuild/cairn/internal/container"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci/registry"
	"github.com/cairnbuild/cairn/sandbox"
)

// errorRules returns the table, most telling rule first. Each rule looks at the whole chain of the error.
func errorRules() []func(error) (verdict, bool) {
	return []func(error) (verdict, bool){
		usageRule,
		interruptedRule,
		foreignRule,
		exitRule,
		setupRule,
		registryRule,
		dockerfileRule,
		givenRule,
		diskRule,
		storeRule,
		containerRule,
		networkRule,
		stepRule,
		hintRule,
	}
}

func usageRule(err error) (verdict, bool) {
	var e *usageError
	if !errors.As(err, &e) {
		return verdict{}, false
	}
	help := strings.TrimSpace("cairn "+e.Command) + " --help"
	if e.Hint == "" {
		return verdict{exitUsage, "see " + help}, true
	}
	return verdict{exitUsage, e.Hint + "; see also " + help}, true
}

func interruptedRule(err error) (verdict, bool) {
	return verdict{Status: exitInterrupted}, errors.Is(err, context.Canceled)
}

// exitRule: a command of the Dockerfile failed. Its status is in the text.
func exitRule(err error) (verdict, bool) {
	var e *sandbox.ExitError
	if !errors.As(err, &e) {
		return verdict{}, false
	}
	v := verdict{Status: exitFailed}
	switch {
	case e.Signal == syscall.SIGKILL:
		v.Hint = "the command was killed: when the machine runs out of memory the kernel does that"
	case e.Signal == syscall.SIGSYS:
		v.Hint = "the command made a system call that the sandbox does not allow"
	case e.Code == 127:
		v.Hint = "127 is the shell's word for \"command not found\": install the program in an earlier step, or check its name"
	case e.Code == 126:
		v.Hint = "126 is the shell's word for \"found, but cannot be executed\": check the file's mode and its #! line"
	}
	return v, true
}

// foreignRule: a RUN of an image for another kind of machine.
func foreignRule(err error) (verdict, bool) {
	var e *build.ForeignError
	if !errors.As(err, &e) {
		return verdict{}, false
	}
	return verdict{exitMachine, "this machine has no interpreter for " + e.Platform + " in binfmt_misc: install qemu-user-static (or qemu-user-binfmt), " +
		"or run the step in a stage FROM --platform=$BUILDPLATFORM and cross-compile"}, true
}

// setupRule: the machine would not do what a container needs.
func setupRule(err error) (verdict, bool) {
	var e *sandbox.SetupError
	if !errors.As(err, &e) {
		return verdict{}, false
	}
	if hint, ok := execHint(e); ok {
		return verdict{exitFailed, hint}, true
	}
	return verdict{exitMachine, setupHint(e, readSysctl)}, true
}

// execHint is for the last stage, where what fails is the image's own command.
func execHint(e *sandbox.SetupError) (string, bool) {
	if e.Stage != sandbox.StageExec {
		return "", false
	}
	switch {
	case errors.Is(e, fs.ErrNotExist):
		return "the program, or the interpreter it names, is not in the image", true
	case errors.Is(e, syscall.ENOEXEC):
		return "this is no program for this machine: is the image made for another architecture?", true
	case errors.Is(e, fs.ErrPermission):
		return "the program is not executable: check its mode", true
	}
	return "", true
}

// setupHint says how to climb out, as far as we have met it.
func setupHint(e *sandbox.SetupError, sysctl func(string) string) string {
	denied := errors.Is(e, fs.ErrPermission)
	switch e.Stage {
	case sandbox.StageUserns:
		return usernsHint(e, sysctl)
	case sandbox.StageMaps:
		if sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1" {
			return usernsHint(e, sysctl) // there the namespace can be made, but nothing be done in it
		}
	case sandbox.StageNewuid, sandbox.StageNewgid:
		return "check that newuidmap and newgidmap are setuid root and that /etc/subuid and /etc/subgid give you a range that is yours alone"
	case sandbox.StageProc:
		if denied {
			return "this container masks parts of /proc: start it with --security-opt systempaths=unconfined"
		}
	case sandbox.StageRoot:
		if errors.Is(e, syscall.EINVAL) {
			return "this file system cannot carry an overlay: put the data directory on another one with --root or CAIRN_ROOT"
		}
	case sandbox.StageUser:
		return "only one user id is mapped: install newuidmap (package uidmap) and give yourself a range in /etc/subuid and /etc/subgid"
	}
	if denied && sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1" {
		return usernsHint(e, sysctl)
	}
	return ""
}

// usernsHint is for machines that allow no user namespaces, or none that are good for anything.
func usernsHint(e *sandbox.SetupError, sysctl func(string) string) string {
	switch {
	case errors.Is(e, syscall.ENOSPC), errors.Is(e, syscall.EUSERS), sysctl("user/max_user_namespaces") == "0":
		return "this machine allows no (more) user namespaces: as root, sysctl -w user.max_user_namespaces=15000"
	case sysctl("kernel/unprivileged_userns_clone") == "0":
		return "user namespaces are for root only here: as root, sysctl -w kernel.unprivileged_userns_clone=1"
	case sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
		return "AppArmor restricts user namespaces here: give cairn a profile that allows userns, or, as root, " +
			"sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
	case errors.Is(e, fs.ErrPermission):
		return "something forbids user namespaces, mostly a container's seccomp profile: start it with --security-opt seccomp=unconfined"
	case errors.Is(e, syscall.EINVAL), errors.Is(e, syscall.ENOSYS):
		return "this kernel has no user namespaces"
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

func registryRule(err error) (verdict, bool) {
	var auth *registry.AuthError
	var missing *registry.NotFoundError
	switch {
	case errors.As(err, &auth):
		return verdict{exitRegistry, "log in with `docker login` or `podman login`; cairn reads their credentials"}, true
	case errors.As(err, &missing):
		return verdict{exitRegistry, "check the name and the tag; a private repository looks the same without a login"}, true
	}
	return verdict{}, false
}

func dockerfileRule(err error) (verdict, bool) {
	var e *dockerfile.Error
	var target *build.TargetError
	var missing *build.NoDockerfileError
	switch {
	case errors.As(err, &e):
		return verdict{exitDockerfile, e.Hint}, true
	case errors.As(err, &target):
		hint := didYouMean(target.Target, target.Names)
		if hint == "" && len(target.Names) > 0 {
			hint = "there are " + strings.Join(target.Names, ", ")
		}
		return verdict{exitDockerfile, hint}, true
	case errors.As(err, &missing):
		return verdict{exitDockerfile, "another name or place is given with --file"}, true
	}
	return verdict{}, false
}

// givenRule: a step needs what only the command line can give.
func givenRule(err error) (verdict, bool) {
	var secret *build.MissingSecretError
	var agent *build.MissingSSHError
	switch {
	case errors.As(err, &secret):
		return verdict{exitUsage, fmt.Sprintf("pass it with --secret id=%s,src=FILE or --secret id=%s,env=NAME", secret.ID, secret.ID)}, true
	case errors.As(err, &agent):
		return verdict{exitUsage, fmt.Sprintf("pass one with --ssh %s (the agent of SSH_AUTH_SOCK), or --ssh %s=SOCKET or KEY", agent.ID, agent.ID)}, true
	}
	return verdict{}, false
}

func diskRule(err error) (verdict, bool) {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return verdict{exitMachine, "the disk is full: remove images with cairn rmi (or everything with cairn rmi --all), or use another disk with --root or CAIRN_ROOT"}, true
	case errors.Is(err, syscall.EDQUOT):
		return verdict{exitMachine, "your disk quota is used up: use another disk with --root or CAIRN_ROOT"}, true
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return verdict{exitMachine, "raise the limit of open files (ulimit -n)"}, true
	case errors.Is(err, syscall.EROFS):
		return verdict{exitMachine, "use a writable directory with --root or CAIRN_ROOT"}, true
	}
	return verdict{}, false
}

func storeRule(err error) (verdict, bool) {
	var e *store.InsecureError
	if !errors.As(err, &e) {
		return verdict{}, false
	}
	return verdict{exitMachine, "the data directory must be yours, and yours alone (mode 0700): choose another with --root or CAIRN_ROOT"}, true
}

func containerRule(err error) (verdict, bool) {
	var name *container.NameError
	switch {
	case errors.As(err, &name) && name.Taken != "":
		return verdict{exitFailed, "remove that one with cairn rm " + name.Name + ", or choose another name"}, true
	case errors.Is(err, container.ErrNotFound):
		return verdict{exitFailed, "cairn ps lists what is there"}, true
	case errors.Is(err, container.ErrRunning):
		return verdict{exitFailed, "end its command first"}, true
	}
	return verdict{}, false
}

func networkRule(err error) (verdict, bool) {
	var dns *net.DNSError
	var op *net.OpError
	var unknownCA x509.UnknownAuthorityError
	var badName x509.HostnameError
	switch {
	case errors.As(err, &dns):
		return verdict{exitRegistry, fmt.Sprintf("the name %s cannot be resolved: check the name and the network", dns.Name)}, true
	case errors.As(err, &unknownCA):
		return verdict{exitRegistry, "the server's certificate is signed by an authority that this machine does not know; SSL_CERT_FILE can name it"}, true
	case errors.As(err, &badName):
		return verdict{exitRegistry, "the server's certificate is for another name: check the address"}, true
	case errors.As(err, &op):
		return verdict{exitRegistry, "check the address and the network; for a proxy set HTTPS_PROXY"}, true
	}
	return verdict{}, false
}

// stepRule: a step failed for no reason known above: a file that COPY names is not there, a name that cannot be resolved.
func stepRule(err error) (verdict, bool) {
	var e *build.StepError
	if !errors.As(err, &e) {
		return verdict{}, false
	}
	v, _ := hintRule(err)
	v.Status = exitDockerfile
	if e.Hint != "" {
		v.Hint = e.Hint
	}
	return v, true
}

func hintRule(err error) (verdict, bool) {
	var e *hintedError
	if !errors.As(err, &e) {
		return verdict{}, false
	}
	return verdict{exitFailed, e.Hint}, true
}

// excerpt returns the Dockerfile's lines that an error is about, or "".
func excerpt(err error) string {
	var e *dockerfile.Error
	if errors.As(err, &e) {
		return e.Excerpt()
	}
	return ""
}
