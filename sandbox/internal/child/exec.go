package child

import (
	"errors"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/sandbox/internal/wire"
)

// defaultPath is where programs are looked for when the environment has no PATH: Docker's default.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// exec becomes the command. The report goes out first and the descriptor closes with execve; when that fails, a second
// report says so.
func (c *child) exec() error {
	p := c.spec.Process
	if len(p.Args) == 0 || p.Args[0] == "" {
		return errors.New("no command")
	}
	if err := sys.CloseOnExec(3); err != nil {
		return err
	}
	report(wire.Report{Ready: true})
	sys.ResetSignals()
	return execIn(p.Args, p.Env)
}

// execIn tries each directory of PATH as execvp does: a file that can't be executed does not end the search, but is what is
// reported when nothing else is found.
func execIn(args, env []string) error {
	name := args[0]
	if strings.Contains(name, "/") {
		return execve(name, args, env)
	}
	missing := error(&os.PathError{Op: "find", Path: name, Err: unix.ENOENT})
	for _, dir := range strings.Split(lookupPath(env), ":") {
		if dir == "" {
			dir = "."
		}
		err := execve(dir+"/"+name, args, env)
		switch {
		case err.Op != opExec || err.Err == unix.EACCES:
			missing = err
		case err.Err == unix.ENOENT, err.Err == unix.ENOTDIR:
		default:
			return err
		}
	}
	return missing
}

// What execve failed at.
const (
	opExec   = "execve"
	opInterp = "find the interpreter of"
)

// execve fails with ENOENT for a missing interpreter or loader, too; the Op tells these apart.
func execve(path string, args, env []string) *os.PathError {
	err := syscall.Exec(path, args, env)
	op := opExec
	var st unix.Stat_t
	if err == syscall.ENOENT && unix.Stat(path, &st) == nil {
		op = opInterp
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}

// lookupPath gives the last PATH in env: what the command itself would see.
func lookupPath(env []string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(env[i], "PATH="); ok {
			return v
		}
	}
	return defaultPath
}
