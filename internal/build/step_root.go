package build

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
	"time"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/internal/snapshot"
	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/layer"
	"github.com/cairnbuild/cairn/oci/tree"
	"github.com/cairnbuild/cairn/overlay"
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

// prepareRoot makes the root file system of a RUN in tmp. Every mount point that the image lacks is put into a layer of its own right under
// the upper directory, with the parents' attributes copied from the image: so the kernel finds its mount points, and nothing that
// the command did not do appears in its layer.
func (w *workspace) prepareRoot(ctx context.Context, op *runOp, tmp string) (*stepRoot, error) {
	t, err := w.below.tree(ctx)
	if err != nil {
		return nil, err
	}
	root := &stepRoot{table: owners.NewTable(), ownTables: map[string]*owners.Table{}}
	points := newStubs(t)
	for _, dir := range []string{"proc", "sys", "dev"} {
		if err := points.need(dir, true); err != nil {
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
func (w *workspace) overlayRoot(ctx context.Context, op *runOp, root *stepRoot, points *stubs, tmp string) error {
	stub := filepath.Join(tmp, "stub")
	if err := points.write(ctx, stub, w.ownersMode()); err != nil {
		return err
	}
	lower, err := w.below.dirs(ctx)
	if err != nil {
		return err
	}
	area, err := w.snapshots().UpperDir(tmp)
	if err != nil {
		return err
	}
	root.upper = filepath.Join(area, "upper")
	stack := overlay.Stack{Lower: append([]string{stub}, lower...), Upper: root.upper, Work: filepath.Join(area, "work")}
	root.mount = stack.Mount()
	tables, err := w.ownTablesOf(lower)
	if err != nil {
		return err
	}
	maps.Copy(root.ownTables, tables)
	if err := w.prepareUpper(ctx, points.t, op.dir, root); err != nil {
		return err
	}
	return os.Mkdir(stack.Work, 0o700)
}

// prepareUpper makes the upper directory with the attributes of the image's root, which it stands for, and in it the working
// directory if the image lacks it.
func (w *workspace) prepareUpper(ctx context.Context, t *tree.Tree, dir string, root *stepRoot) error {
	ix, err := w.workingDir(t, dir)
	if err != nil {
		return err
	}
	if err := extractEmpty(ctx, ix, root.upper, w.ownersMode()); err != nil {
		return err
	}
	return setRootAttributes(root.upper, t, w.ownersMode())
}

// workingDir is a layer of the working directory if the image lacks it: as with BuildKit that one stays in the layer
// (FEATURES 75).
func (w *workspace) workingDir(t *tree.Tree, dir string) (*index.Index, error) {
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

// setRootAttributes gives the upper directory what the image says of its root.
func setRootAttributes(dir string, t *tree.Tree, mode owners.Mode) error {
	n, ok := t.Lookup(".")
	if !ok {
		return nil
	}
	if err := mode.SetOwner(dir, n.UID, n.GID); err != nil {
		return err
	}
	if err := os.Chmod(dir, fileMode(n.Mode)); err != nil {
		return err
	}
	if n.MTime.Unix() <= 0 {
		return os.Chtimes(dir, time.Time{}, time.Unix(0, 0))
	}
	return os.Chtimes(dir, time.Time{}, n.MTime)
}

func fileMode(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&bit != 0 {
			mode |= flag
		}
	}
	return mode
}

// stubs collects mount points that the image lacks.
type stubs struct {
	t *tree.Tree
	b *tree.Builder
}

func newStubs(t *tree.Tree) *stubs { return &stubs{t, tree.NewBuilder(t)} }

// need sees to it that path, which is relative to the root, exists as a directory or as a file.
func (s *stubs) need(p string, dir bool) error {
	_, err := s.point(p, dir)
	return err
}

// point is need and returns the path that the mount point has once links are followed.
func (s *stubs) point(p string, dir bool) (string, error) {
	real, exists, err := s.b.ResolveNew(p)
	if err != nil {
		return "", fmt.Errorf("find mount point /%s: %w", p, err)
	}
	if exists {
		n, ok := s.b.Lookup(real)
		if ok && (n.Type == index.Directory) != dir {
			return "", fmt.Errorf("mount point /%s: is not a %s in the image", p, kind(dir))
		}
		return real, nil
	}
	parent := path.Dir(real)
	if dir {
		parent = real
	}
	if parent != "." {
		if _, err := s.b.MkdirAll(parent, 0o755, 0, 0, time.Unix(0, 0)); err != nil {
			return "", err
		}
	}
	if dir {
		return real, nil
	}
	return real, s.b.Put(index.Entry{Path: real, Type: index.Regular, Mode: 0o644, MTime: time.Unix(0, 0).UTC(), Offset: -1})
}

func kind(dir bool) string {
	if dir {
		return "directory"
	}
	return "file"
}

func (s *stubs) write(ctx context.Context, dir string, mode owners.Mode) error {
	ix, err := s.b.Index()
	if err != nil {
		return err
	}
	return extractEmpty(ctx, ix, dir, mode)
}

// extractEmpty writes a layer without contents to a new directory.
func extractEmpty(ctx context.Context, ix *index.Index, dir string, mode owners.Mode) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return layer.Extract(ctx, ix, bytes.NewReader(nil), dir, layer.ReadOptions{Dir: dir, Owners: mode, Table: owners.NewTable()})
}

// networkFiles makes resolv.conf and hosts and mounts them over the image's.
func (w *workspace) networkFiles(op *runOp, root *stepRoot, points *stubs, tmp string) error {
	resolv, err := sandbox.ResolvConf(op.network != "none")
	if err != nil {
		return err
	}
	hosts := sandbox.Hosts(op.hostname, w.opts.Run.AddHosts)
	for _, f := range []struct {
		name    string
		content []byte
	}{{"resolv.conf", resolv}, {"hosts", hosts}} {
		real, err := points.point("etc/"+f.name, false)
		if err != nil {
			return err
		}
		source := filepath.Join(tmp, f.name)
		if err := os.WriteFile(source, f.content, 0o644); err != nil {
			return err
		}
		root.mounts = append(root.mounts, mount.Mount{Type: mount.Bind, Source: source, Target: "/" + real})
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
		return sandbox.Process{}, fmt.Errorf("unable to find user %s: %w", spec, err)
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
