package overlay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/sys"
)

// Kind is what a directory can serve as.
type Kind string

// The kinds of Support.
const (
	Native Kind = "native" // a Stack's Upper and Work can lie here
	None   Kind = "none"
)

// Support is the outcome of a Probe.
type Support struct {
	Kind Kind
	// Why says what failed, nil when nothing did.
	Why error
}

// Probe finds out whether stacks work in dir, by making one there and using it: the mount alone tells little, since the
// kernel accepts file systems on which whiteouts or opaque directories then fail. The caller is root of a user namespace
// with a mount namespace; to any other it answers None. dir is left as it was.
func Probe(ctx context.Context, dir string) Support { return ProbeOn(ctx, dir, dir) }

// ProbeOn is Probe for a Stack whose Lower directories lie in lower and the others in upper.
func ProbeOn(ctx context.Context, lower, upper string) Support {
	if err := ctx.Err(); err != nil {
		return Support{None, fmt.Errorf("probe overlay: %w", context.Cause(ctx))}
	}
	below, err := os.MkdirTemp(lower, ".probe-")
	if err != nil {
		return Support{None, fmt.Errorf("probe overlay: %w", err)}
	}
	defer removeProbe(below)
	tmp, err := os.MkdirTemp(upper, ".probe-")
	if err != nil {
		return Support{None, fmt.Errorf("probe overlay: %w", err)}
	}
	// The kernel makes a work/work without any mode, which only its owner's RemoveAll minds.
	defer removeProbe(tmp)
	if err := try(below, tmp); err != nil {
		return Support{None, fmt.Errorf("probe overlay in %s: %w", upper, err)}
	}
	return Support{Kind: Native}
}

// ProbeMount is a Probe of the mount alone, for a directory of which Probe has said that it is Native: a tenth of the time. The
// error is what the mount gave.
func ProbeMount(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("probe overlay: %w", context.Cause(ctx))
	}
	tmp, err := os.MkdirTemp(dir, ".probe-")
	if err != nil {
		return fmt.Errorf("probe overlay: %w", err)
	}
	defer removeProbe(tmp)
	lower, upper, work := filepath.Join(tmp, "lower"), filepath.Join(tmp, "upper"), filepath.Join(tmp, "work")
	for _, name := range []string{lower, upper, work} {
		if err := os.Mkdir(name, 0o755); err != nil {
			return fmt.Errorf("probe overlay: %w", err)
		}
	}
	fd, err := Stack{Lower: []string{lower}, Upper: upper, Work: work}.Mount().Open()
	if err != nil {
		return fmt.Errorf("probe overlay in %s: %w", dir, err)
	}
	fd.Close()
	return nil
}

func removeProbe(tmp string) {
	_ = os.Chmod(filepath.Join(tmp, "work/work"), 0o700)
	_ = os.RemoveAll(tmp) // what stays is in the caller's directory of temporary files
}

// try stacks two layers and does what steps do: copy up, whiteout, opaque directory.
func try(below, tmp string) error {
	for _, name := range []string{"lower1/dir", "lower2"} {
		if err := os.MkdirAll(filepath.Join(below, name), 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(tmp, name), 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"lower1/dir/below", "lower1/gone", "lower1/white", "lower2/file"} {
		if err := os.WriteFile(filepath.Join(below, name), []byte("x"), 0o644); err != nil {
			return err
		}
	}
	if err := whiteout(filepath.Join(below, "lower2"), "white"); err != nil {
		return err
	}
	stack := Stack{
		Lower: []string{filepath.Join(below, "lower2"), filepath.Join(below, "lower1")},
		Upper: filepath.Join(tmp, "upper"), Work: filepath.Join(tmp, "work"),
	}
	fd, err := stack.Mount().Open()
	if err != nil {
		return err
	}
	defer fd.Close()
	if err := use(fd); err != nil {
		return err
	}
	return check(stack.Upper)
}

// whiteout makes one as package layer does when it unpacks.
func whiteout(dir, name string) error {
	at := filepath.Join(dir, name)
	err := unix.Mknod(at, unix.S_IFCHR, 0)
	if err != unix.EPERM {
		return pathError("make whiteout", at, err)
	}
	if err := os.WriteFile(at, nil, 0o600); err != nil {
		return err
	}
	if err := unix.Setxattr(at, "user.overlay.whiteout", []byte("y"), 0); err != nil {
		return pathError("mark whiteout", at, err)
	}
	return pathError("mark whiteouts", dir, unix.Setxattr(dir, "user.overlay.opaque", []byte("x"), 0))
}

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}

// use works through the mount's descriptor: it is attached nowhere.
func use(root sys.FD) error {
	if err := unix.Fchmodat(int(root), "file", 0o600, 0); err != nil {
		return &os.PathError{Op: "copy up", Path: "file", Err: err}
	}
	white, err := sys.OpenAt(root, "white", unix.O_PATH, 0)
	white.Close()
	if !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "hide", Path: "white", Err: errors.New("what a whiteout stands on is still seen")}
	}
	for _, name := range []string{"gone", "dir/below"} {
		if err := unix.Unlinkat(int(root), name, 0); err != nil {
			return &os.PathError{Op: "remove", Path: name, Err: err}
		}
	}
	if err := unix.Unlinkat(int(root), "dir", unix.AT_REMOVEDIR); err != nil {
		return &os.PathError{Op: "remove", Path: "dir", Err: err}
	}
	if err := unix.Mkdirat(int(root), "dir", 0o755); err != nil {
		return &os.PathError{Op: "make opaque", Path: "dir", Err: err}
	}
	below, err := sys.OpenAt(root, "dir/below", unix.O_PATH, 0)
	below.Close()
	if !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "make opaque", Path: "dir", Err: errors.New("what was below is still seen")}
	}
	return nil
}

// check looks at what the upper directory received.
func check(upper string) error {
	var st unix.Stat_t
	gone := filepath.Join(upper, "gone")
	if err := unix.Lstat(gone, &st); err != nil {
		return &os.PathError{Op: "read whiteout", Path: gone, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		return &os.PathError{Op: "read whiteout", Path: gone, Err: errors.New("not a device 0:0")}
	}
	var value [1]byte
	dir := filepath.Join(upper, "dir")
	n, err := unix.Lgetxattr(dir, "user.overlay.opaque", value[:])
	if err == nil && (n != 1 || value[0] != 'y') {
		err = fmt.Errorf("user.overlay.opaque is %q", value[:n])
	}
	if err != nil {
		return &os.PathError{Op: "read opaque mark", Path: dir, Err: err}
	}
	return nil
}
