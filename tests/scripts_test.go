package tests

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func hostArch() string { return runtime.GOARCH }

// TestScript runs every script as a subtest of its own. A script's first lines may have "# needs: NEED..." (see missing).
func TestScript(t *testing.T) {
	scripts, err := filepath.Glob("scripts/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) {
			startCase(t, scriptNeeds(t, script)...)
			testscript.RunT(caseT{t}, testscript.Params{
				Files:               []string{script},
				Setup:               setUpScript,
				Condition:           condition,
				RequireExplicitExec: true,
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"load":   cmdLoad,
					"config": cmdConfig,
					"layer":  cmdLayer,
					"layers": cmdLayers,
					"cat":    cmdCat,
					"steps":  cmdSteps,
					"lsfs":   cmdLsfs,
					"http":   cmdHTTP,
					"git":    cmdGit,
					"agent":  cmdAgent,
				},
				UpdateScripts: os.Getenv("UPDATE") != "",
			})
		})
	}
}

// caseT runs a script in the test that it was started from, instead of a subtest with the same name, and takes skipping as seriously as startCase.
type caseT struct{ *testing.T }

func (c caseT) Run(_ string, f func(testscript.T)) { f(c) }
func (c caseT) Parallel()                          {}
func (c caseT) Verbose() bool                      { return testing.Verbose() }
func (c caseT) Skip(args ...any)                   { skip(c.T, fmt.Sprint(args...)) }

var needsLine = regexp.MustCompile(`(?m)^# needs:(.*)$`)

func scriptNeeds(t *testing.T, script string) []string {
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	comment, _, _ := bytes.Cut(text, []byte("\n-- "))
	var needs []string
	for _, m := range needsLine.FindAllSubmatch(comment, -1) {
		needs = append(needs, strings.Fields(string(m[1]))...)
	}
	return needs
}

func setUpScript(env *testscript.Env) error {
	root, err := os.MkdirTemp(shared.dir, "store-")
	if err != nil {
		return err
	}
	env.Defer(func() { removeAll(root); removeAll(env.WorkDir) })
	if err := os.Chmod(root, 0o700); err != nil {
		return err
	}
	env.Setenv("CAIRN_ROOT", root)
	env.Setenv("OCI", filepath.Join(root, "oci"))
	env.Setenv("PATH", filepath.Dir(shared.cairn)+":"+os.Getenv("PATH"))
	port, err := freeTCPPort()
	if err != nil {
		return err
	}
	env.Setenv("PORT", strconv.Itoa(port))
	env.Setenv("UID", strconv.Itoa(os.Getuid()))
	env.Setenv("BUSYBOX", filepath.Join(shared.dir, "busybox")) // once a script has needed it
	return nil
}

// condition answers [NAME] in scripts: everything that startCase knows as a need.
func condition(name string) (bool, error) {
	switch name {
	case "userns", "subuid", "docker", "podman", "umoci", "skopeo", "debian", "root":
		return missing(name) == "", nil
	case "fullids":
		return missing("subuid") == "" && !shared.noSubuid, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// cmdLoad puts a fixture into the store: "load busybox", "load debian".
func cmdLoad(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: load busybox|debian")
	}
	fixtures := map[string]*fixture{"busybox": &shared.once.busybox, "debian": &shared.once.debian}
	f, ok := fixtures[args[0]]
	if !ok {
		ts.Fatalf("no fixture %q", args[0])
	}
	layout, err := f.get()
	ts.Check(err)
	ts.Check(ts.Exec("cairn", "load", "-i", layout))
}

// cmdConfig prints an image's config as it stands in the store: "config NAME".
func cmdConfig(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 && len(args) != 2 {
		ts.Fatalf("usage: config NAME [LAYOUT]")
	}
	text, err := readConfig(layoutOf(ts, args, 1), args[0])
	negatable(ts, neg, err)
	ts.Stdout().Write(text)
}

// cmdLayer prints one layer of an image: "layer NAME N [LAYOUT]", where -1 is the last layer.
func cmdLayer(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 && len(args) != 3 {
		ts.Fatalf("usage: layer NAME N [LAYOUT]")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	r, err := openLayer(layoutOf(ts, args, 2), args[0], n)
	ts.Check(err)
	defer r.Close()
	negatable(ts, neg, listLayer(ts.Stdout(), r))
}

// cmdLayers prints media type and digest of an image's layers: "layers NAME [LAYOUT]".
func cmdLayers(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 && len(args) != 2 {
		ts.Fatalf("usage: layers NAME [LAYOUT]")
	}
	_, m, err := readManifest(layoutOf(ts, args, 1), args[0])
	negatable(ts, neg, err)
	for _, l := range m.Layers {
		fmt.Fprintln(ts.Stdout(), l.MediaType, l.Digest)
	}
}

// cmdCat prints a file out of a layer: "cat NAME N PATH".
func cmdCat(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: cat NAME N PATH")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	layer, err := openLayer(ts.Getenv("OCI"), args[0], n)
	ts.Check(err)
	defer layer.Close()
	for r := tar.NewReader(layer); ; {
		h, err := r.Next()
		if err == io.EOF {
			negatable(ts, neg, fmt.Errorf("layer %s of %s has no %s", args[1], args[0], args[2]))
			return
		}
		ts.Check(err)
		if h.Name == args[2] {
			_, err := io.Copy(ts.Stdout(), r)
			negatable(ts, neg, err)
			return
		}
	}
}

var stepLine = regexp.MustCompile(`(?m)^#(\d+) (.*)$`)

// cmdSteps checks which steps of the plain progress in stderr (or a file) were cached: "steps [FILE] WORD=cached|run ...", where WORD is found in
// the name of exactly one step and may have "_" for a space.
func cmdSteps(ts *testscript.TestScript, neg bool, args []string) {
	source := "stderr"
	if len(args) > 0 && !strings.Contains(args[0], "=") {
		source, args = args[0], args[1:]
	}
	names, cached := readSteps(ts.ReadFile(source))
	for _, arg := range args {
		i := strings.LastIndex(arg, "=")
		word, want := strings.ReplaceAll(arg[:i], "_", " "), arg[i+1:]
		var found []string
		for n, name := range names {
			if strings.Contains(name, word) {
				found = append(found, n)
			}
		}
		if len(found) != 1 {
			ts.Fatalf("%d steps match %q in:\n%s", len(found), word, ts.ReadFile(source))
		}
		if got := map[bool]string{true: "cached", false: "run"}[cached[found[0]]]; (got == want) == neg {
			ts.Fatalf("step %q is %s\n%s", names[found[0]], got, ts.ReadFile(source))
		}
	}
}

// readSteps reads plain progress: the names of the steps that start with "[", by number, and which of them were CACHED.
func readSteps(progress string) (names map[string]string, cached map[string]bool) {
	names, cached = map[string]string{}, map[string]bool{}
	for _, m := range stepLine.FindAllStringSubmatch(progress, -1) {
		if m[2] == "CACHED" {
			cached[m[1]] = true
		} else if _, ok := names[m[1]]; !ok && strings.HasPrefix(m[2], "[") {
			names[m[1]] = m[2]
		}
	}
	return names, cached
}

// cmdLsfs lists a file system outside of any container: "lsfs [FLAG]... DIR".
func cmdLsfs(ts *testscript.TestScript, neg bool, args []string) {
	program, err := shared.once.lsfs.get()
	ts.Check(err)
	args = slices.Clone(args)
	if len(args) > 0 {
		args[len(args)-1] = ts.MkAbs(args[len(args)-1])
	}
	out, err := exec.Command(program, args...).Output()
	negatable(ts, neg, err)
	ts.Stdout().Write(out)
}

func layoutOf(ts *testscript.TestScript, args []string, i int) string {
	if len(args) > i {
		return ts.MkAbs(args[i])
	}
	return ts.Getenv("OCI")
}

func negatable(ts *testscript.TestScript, neg bool, err error) {
	if neg && err == nil {
		ts.Fatalf("unexpected success")
	}
	if !neg {
		ts.Check(err)
	}
}
