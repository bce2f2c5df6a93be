package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/internal/snapshot"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
	"github.com/cairnbuild/cairn/sandbox"
	"github.com/moby/sys/user"
)

// stepRoot is the root file system of one RUN, an overlay or a copy, and what is mounted in it.
type stepRoot struct {
	mount  mount.Mount
	mounts []mount.Mount
	upper  string         // of the overlay
	copied *snapshot.Root // the copy, nil where there is an overlay
	// covered are the targets of mounts in a copy; placed is what stands in it for want of mounts.
	covered []string
	placed  []placed
	env     []string
	table   *owners.Table // of the upper directory, or of the copy
	// ownTables are those of other directories that the step sees.
	ownTables map[string]*owners.Table
}

// prepareRoot makes the root file system of a RUN in tmp, with the mount points that the image lacks.
func (w *workspace) prepareRoot(ctx context.Context, op *runOp, tmp string) (*stepRoot, error) {
	t, err := w.below.tree(ctx)
	if err != nil {
		return nil, err
	}
	root := &stepRoot{table: owners.NewTable(), ownTables: map[string]*owners.Table{}}
	points := snapshot.NewPoints(t)
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if _, err := points.Need(dir, true); err != nil {
			return nil, err
		}
	}
	if err := w.networkFiles(op, root, points, tmp); err != nil {
		return nil, err
	}
	if err := w.runMounts(ctx, op, root, points, tmp); err != nil {
		return nil, err
	}
	if w.copies() {
		return root, w.copyRoot(ctx, op, root, points, tmp)
	}
	return root, w.overlayRoot(ctx, op, root, points, tmp)
}

// overlayRoot stacks the directories of the layers below under an upper one.
func (w *workspace) overlayRoot(ctx context.Context, op *runOp, root *stepRoot, points *snapshot.Points, tmp string) error {
	lower, err := w.below.dirs(ctx)
	if err != nil {
		return err
	}
	changes, err := w.workingDir(ctx, op.Dir)
	if err != nil {
		return err
	}
	stack, err := w.snapshots().Stack(ctx, snapshot.StackOptions{Dir: tmp, Lower: lower, Points: points, Changes: changes, Owners: w.ownersMode()})
	if err != nil {
		return err
	}
	root.upper, root.mount = stack.Upper, stack.Mount()
	tables, err := w.ownTablesOf(lower)
	if err != nil {
		return err
	}
	maps.Copy(root.ownTables, tables)
	return nil
}

// workingDir is a layer of the working directory if the image lacks it: as with BuildKit that one stays in the layer
// (docs/semantics.md 75).
func (w *workspace) workingDir(ctx context.Context, dir string) (*index.Index, error) {
	t, err := w.below.tree(ctx)
	if err != nil {
		return nil, err
	}
	b := tree.NewBuilder(t)
	if rel := relative(dir); rel != "." {
		if _, _, err := t.Resolve(rel); errors.Is(err, fs.ErrNotExist) {
			if _, err := b.MkdirAll(rel, 0o755, 0, 0, w.now()); err != nil {
				return nil, fmt.Errorf("create working directory %s: %w", dir, err)
			}
		}
	}
	return b.Index()
}

// networkFiles makes resolv.conf and hosts and mounts them over the image's.
func (w *workspace) networkFiles(op *runOp, root *stepRoot, points *snapshot.Points, tmp string) error {
	resolv, err := sandbox.ResolvConf(op.Network != dockerfile.NetworkNone && op.Network != planner.NetworkPrivate)
	if err != nil {
		return err
	}
	hosts := sandbox.Hosts(op.Hostname, op.Hosts)
	for _, f := range []struct {
		name    string
		content []byte
	}{{"resolv.conf", resolv}, {"hosts", hosts}} {
		target, err := points.Need("/etc/"+f.name, false)
		if err != nil {
			return err
		}
		source := filepath.Join(tmp, f.name)
		if err := os.WriteFile(source, f.content, 0o644); err != nil {
			return err
		}
		root.mounts = append(root.mounts, mount.Mount{Type: mount.Bind, Source: source, Target: target})
	}
	return nil
}

func relative(p string) string {
	p = path.Clean("/" + p)
	if p == "/" {
		return "."
	}
	return strings.TrimPrefix(p, "/")
}

// processFor resolves the user in the image's own passwd and group and completes the environment with HOME.
func processFor(t *tree.Tree, spec string, env []string, dir string) (sandbox.Process, error) {
	u, err := user.GetExecUser(spec, &user.ExecUser{Home: "/"}, bytes.NewReader(t.Passwd()), bytes.NewReader(t.Group()))
	if err != nil {
		return sandbox.Process{}, err // it names the user
	}
	p := sandbox.Process{Env: append([]string(nil), env...), Dir: dir, UID: uint32(u.Uid), GID: uint32(u.Gid)}
	for _, g := range u.Sgids {
		p.Groups = append(p.Groups, uint32(g))
	}
	if _, ok := dockerfile.NewVars(env).Get("HOME"); !ok {
		p.Env = append(p.Env, "HOME="+u.Home)
	}
	return p, nil
}
