package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/cairnbuild/cairn/internal/bundle"
	"github.com/cairnbuild/cairn/internal/snapshot"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/sandbox"
)

// rungs are the levels of the ladder that somebody asked for; the zero value leaves the choice to trying.
type rungs struct {
	ids       sandbox.IDMode
	isolation sandbox.Isolation
	snapshots snapshot.Kind
}

// rungFlags are those of the commands that run something.
func rungFlags() []cli.Flag {
	flag := func(name, usage, variable string) cli.Flag {
		f := oneFlag(name, "RUNG", usage+" (or set "+variable+")")
		f.Value, f.EnvVars = "auto", []string{variable}
		return f
	}
	return []cli.Flag{
		flag("ids", "Map ids: auto, subuid or one", "CAIRN_IDS"),
		flag("isolation", "Isolate commands: auto, namespaces or chroot", "CAIRN_ISOLATION"),
		flag("snapshotter", "Make root file systems: auto, overlay, tmpfs or copy", "CAIRN_SNAPSHOTTER"),
	}
}

// readRungs reads rungFlags.
func (sh *shell) readRungs(cc *cli.Context) error {
	choose := func(name string, set func(string), names ...string) error {
		value := cc.String(name)
		for _, n := range names {
			if value == n {
				set(n)
				return nil
			}
		}
		if value == "auto" || value == "" {
			return nil
		}
		return &usageError{Command: cc.Command.Name, Msg: fmt.Sprintf("--%s is auto, %s or %s, not %q", name, strings.Join(names[:len(names)-1], ", "), names[len(names)-1], value)}
	}
	for _, err := range []error{
		choose("ids", func(s string) { sh.rungs.ids = sandbox.IDMode(s) }, string(sandbox.IDsSubuid), string(sandbox.IDsOne)),
		choose("isolation", func(s string) { sh.rungs.isolation = sandbox.Isolation(s) },
			string(sandbox.IsolationNamespaces), string(sandbox.IsolationChroot)),
		choose("snapshotter", func(s string) { sh.rungs.snapshots = snapshot.Kind(s) },
			string(snapshot.Overlay), string(snapshot.Tmpfs), string(snapshot.Copy)),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// findMachine finds out what this process can do here, and says so where it costs something. done must be called before
// the store is closed.
func (sh *shell) findMachine(ctx context.Context, st *store.Store) (m bundle.Machine, done func(), err error) {
	m = bundle.Machine{Isolation: sandbox.CurrentIsolation(), IDs: sandbox.CurrentIDs()}
	if !m.InNamespace() {
		return m, func() {}, nil
	}
	tmp, err := st.TempDir("snapshots")
	if err != nil {
		return m, nil, err
	}
	known := st.Remembers("overlay")
	m.Snapshots, err = snapshot.Choose(ctx, snapshot.Options{
		Want: sh.rungs.snapshots, Dir: tmp.Path(), NoMounts: m.Isolation == sandbox.IsolationChroot, Known: known,
	})
	if err != nil {
		tmp.Close()
		return m, nil, err
	}
	if m.Snapshots.Kind == snapshot.Overlay && !known {
		st.Remember("overlay")
	}
	if text := m.Snapshots.Notice(); text != "" {
		sh.notice(text)
	}
	return m, func() {
		m.Snapshots.Close()
		tmp.Close()
	}, nil
}
