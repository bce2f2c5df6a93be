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
func Probe(ctx context.Context, dir string) Support {
	if err := ctx.Err(); err != nil {
		return Support{None, fmt.Errorf("probe overlay: %w", context.Cause(ctx))}
	}
	tmp, err := os.MkdirTemp(dir, ".probe-")
	if err != nil {
		return Support{None, fmt.Errorf("probe overlay: %w", err)}
	}
	// The kernel makes a work/work without any mode, which only its owner's RemoveAll minds.
	defer removeProbe(tmp)
	if err := try(tmp); err != nil {
		return Support{None, fmt.Errorf("probe overlay in %s: %w", dir, err)}
	}
	return Support{Kind: Native}
}

func removeProbe(tmp string) {
	_ = os.Chmod(filepath.Join(tmp, "work/work"), 0o700)
	_ = os.RemoveAll(tmp) // what stays is in the caller's directory of temporary files
}

// try stacks two layers and does what steps do: copy up, whiteout, opaque directory.
func try(tmp string) error {
	for _, name := range []string{"lower1/dir", "lower2", "upper", "work"} {
		if err := os.MkdirAll(filepath.Join(tmp, name), 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"lower1/dir/below", "lower1/gone", "lower2/file"} {
		if err := os.WriteFile(filepath.Join(tmp, name), []byte("x"), 0o644); err != nil {
			return err
		}
	}
	stack := Stack{
		Lower: []string{filepath.Join(tmp, "lower2"), filepath.Join(tmp, "lower1")},
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

// use works through the mount's descriptor: it is attached nowhere.
func use(root sys.FD) error {
	if err := unix.Fchmodat(int(root), "file", 0o600, 0); err != nil {
		return &os.PathError{Op: "copy up", Path: "file", Err: err}
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
