package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/moby/sys/user"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/container"
	"github.com/cairnbuild/cairn/internal/doctor"
	"github.com/cairnbuild/cairn/internal/engine"
	"github.com/cairnbuild/cairn/internal/snapshot"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci/registry"
	"github.com/cairnbuild/cairn/sandbox"
)

// errorRules returns the table, most telling rule first. Each rule looks at the whole chain of the error.
func errorRules() []func(error) (verdict, bool) {
	return []func(error) (verdict, bool){
		usageRule,
		interruptedRule,
		outputRule,
		streamsRule,
		foreignRule,
		machineRule,
		lostRule,
		exitRule,
		setupRule,
		registryRule,
		dockerfileRule,
		givenRule,
		snapshotRule,
		storeRule,
		ambiguousRule,
		containerRule,
		networkRule,
		userRule,
		privateNetworkRule,
		limitsRule,
		stepRule,
		hintRule,
	}
}

// limitsRule knows what --memory, --cpus and --pids-limit lack.
func limitsRule(err error) (verdict, bool) {
	var e *sandbox.LimitsError
	if !errors.As(err, &e) {
		return verdict{}, false
	}
	machine := doctor.ThisMachine()
	return verdict{exitMachine, machine.LimitsHint()}, true
}

// privateNetworkRule knows what --network private lacks.
func privateNetworkRule(err error) (verdict, bool) {
	var e *sandbox.NetworkError
	if !errors.As(err, &e) {
		return verdict{}, false
	}
	if e.Err == nil && len(e.Tried) == 0 {
		return verdict{exitMachine, "install one of them, or use --network host or none"}, true
	}
	return verdict{exitMachine, "use --network host or none"}, true
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
	case e.OutOfMemory:
		v.Hint = "give the step more with --memory"
	case e.Signal == syscall.SIGKILL, e.Code == 128+int(syscall.SIGKILL):
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
	var e *engine.ForeignError
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
	machine := doctor.ThisMachine()
	return verdict{exitMachine, machine.Hint(e)}, true
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

func registryRule(err error) (verdict, bool) {
	var auth *registry.AuthError
	var missing *registry.NotFoundError
	switch {
	case errors.As(err, &auth) && auth.Helper != "":
		return verdict{exitRegistry, "install the credential helper or mend it, or take it out of that file and log in again with `docker login` or `podman login`"}, true
	case errors.As(err, &auth):
		return verdict{exitRegistry, "log in with `docker login` or `podman login`; cairn reads their credentials"}, true
	case errors.As(err, &missing):
		return verdict{exitRegistry, "check the name and the tag; a private repository looks the same without a login"}, true
	case errors.Is(err, registry.ErrRateLimited):
		return verdict{exitRegistry, "wait, or log in with `docker login` or `podman login`: those who are known may ask more often"}, true
	}
	return verdict{}, false
}

func dockerfileRule(err error) (verdict, bool) {
	var e *dockerfile.Error
	var missing *engine.NoDockerfileError
	switch {
	case errors.As(err, &e):
		return verdict{exitDockerfile, e.Hint}, true
	case errors.As(err, &missing):
		return verdict{exitDockerfile, dockerfileHint(missing)}, true
	}
	return verdict{}, false
}

func dockerfileHint(e *engine.NoDockerfileError) string {
	switch {
	case e.File == "":
		return "another name or place is given with --file"
	case e.Nearest != "":
		return fmt.Sprintf("did you mean --file %s?", e.Nearest)
	}
	return "--file is a path from where you are, not from the context (in one that is a tar, a URL or a repository: from its root)"
}

// givenRule: a step needs what only the command line can give.
func givenRule(err error) (verdict, bool) {
	var secret *engine.MissingSecretError
	var agent *engine.MissingSSHError
	switch {
	case errors.As(err, &secret):
		return verdict{exitUsage, fmt.Sprintf("pass it with --secret id=%s,src=FILE or --secret id=%s,env=NAME", secret.ID, secret.ID)}, true
	case errors.As(err, &agent):
		return verdict{exitUsage, fmt.Sprintf("pass one with --ssh %s (the agent of SSH_AUTH_SOCK), or --ssh %s=SOCKET or KEY", agent.ID, agent.ID)}, true
	}
	return verdict{}, false
}

// snapshotRule: a kind of root file system was asked for that does not work here.
func snapshotRule(err error) (verdict, bool) {
	var e *snapshot.ImpossibleError
	return verdict{exitMachine, "leave --snapshotter away (and CAIRN_SNAPSHOTTER): cairn takes what works; cairn doctor says what that is"},
		errors.As(err, &e)
}

func storeRule(err error) (verdict, bool) {
	var e *store.InsecureError
	if !errors.As(err, &e) {
		return verdict{}, false
	}
	return verdict{exitMachine, "the data directory must be yours, and yours alone (mode 0700): choose another with --root or CAIRN_ROOT"}, true
}

func ambiguousRule(err error) (verdict, bool) {
	var e *store.AmbiguousError
	if !errors.As(err, &e) {
		return verdict{}, false
	}
	ids := make([]string, 0, len(e.IDs))
	for _, id := range e.IDs[:min(4, len(e.IDs))] {
		ids = append(ids, shortID(id.Encoded()))
	}
	return verdict{exitFailed, "give more of the one you mean: " + strings.Join(ids, ", ")}, true
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

// userRule: `cairn run` of a user that the image does not have. A build's step brings its own hint.
func userRule(err error) (verdict, bool) {
	var step *engine.StepError
	if errors.As(err, &step) || !errors.Is(err, user.ErrNoPasswdEntries) && !errors.Is(err, user.ErrNoGroupEntries) {
		return verdict{}, false
	}
	return verdict{exitFailed, "give a number, or a name that is in the image's /etc/passwd and /etc/group"}, true
}

// stepRule: a step failed for no reason known above: a file that COPY names is not there, a name that cannot be resolved.
func stepRule(err error) (verdict, bool) {
	var e *engine.StepError
	if !errors.As(err, &e) {
		return verdict{}, false
	}
	v, _ := hintRule(err)
	v.Status = exitDockerfile
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
