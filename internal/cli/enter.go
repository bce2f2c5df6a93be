package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/cairnbuild/cairn/internal/progress"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/sandbox"
)

// enter runs this command line again as root of a user namespace and returns its status. stdin, when not nil, stands in for
// standard input and is read from its start.
func (sh *shell) enter(ctx context.Context, stdin *os.File) error {
	if stdin == nil {
		stdin = sh.stdin
	} else if _, err := stdin.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("rewind standard input: %w", err)
	}
	sh.signals.leave()
	// A signal must not end the other cairn's life from here: it gets the signal itself and ends in order.
	status, err := sandbox.Enter(context.WithoutCancel(ctx), sandbox.EnterOptions{
		Args:  sh.args,
		Stdin: stdin, Stdout: sh.stdout, Stderr: sh.stderr,
		Notice: sh.notice, Cgroup: sh.cgroup,
		IDs: sh.rungs.ids, Isolation: sh.rungs.isolation,
	})
	if err != nil {
		return err
	}
	return exit(status)
}

// notice prints a remark for the person who waits.
func (sh *shell) notice(text string) {
	if !sh.machine && !sh.quiet {
		fmt.Fprintf(sh.stderr, "note: %s\n", progress.Visible(text))
	}
}

// cleanInNamespace removes what killed builds left with owners that only root of a user namespace may touch: opening the
// store there does it. It is only tidying up: that it fails is no error of the command. It closes the store.
func (sh *shell) cleanInNamespace(ctx context.Context, st *store.Store) {
	if sandbox.InNamespace() || !st.NeedsNamespaceToClean() {
		return
	}
	root, err := sh.storeRoot()
	if err != nil || st.Close() != nil {
		return
	}
	args := []string{sh.args[0], "--root", root, "images", "-q"}
	_, _ = sandbox.Enter(ctx, sandbox.EnterOptions{Args: args})
}
