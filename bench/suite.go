package main

import (
	"archive/tar"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// suite is all that the workloads have in common: base images, a registry, contexts, tools.
type suite struct {
	m        *machine
	size     sizes
	images   map[string]*image
	registry *registry
	tools    []tool
}

// newSuite makes the base images and starts to serve them. Programs to measure are copied to where the account can read them.
func newSuite(ctx context.Context, m *machine, o *options, size sizes) (*suite, error) {
	for _, program := range []string{"tar", "gzip", "pigz", "unshare", "find", "sha256sum", "busybox"} {
		if !has(program) {
			return nil, fmt.Errorf("%s isn't installed: the floors need it", program)
		}
	}
	for _, d := range []string{"blobs", "base", "ctx", "run", "tmp", "bin"} {
		if err := os.Mkdir(m.path(d), 0o755); err != nil {
			return nil, err
		}
	}
	s := &suite{m: m, size: size, images: map[string]*image{}}
	fmt.Fprintln(os.Stderr, "making base images and contexts")
	var err error
	if s.images["small"], err = makeImage(m.path("blobs"), smallLayer); err != nil {
		return nil, err
	}
	if _, err = fillTree(m.path("base"), size.baseFiles); err != nil {
		return nil, err
	}
	usr := func(w *tar.Writer) error { return treeLayer(w, m.path("base")) }
	if s.images["large"], err = makeImage(m.path("blobs"), smallLayer, usr); err != nil {
		return nil, err
	}
	for i, bin := range strings.Split(o.cairn, ",") {
		label := "cairn"
		if i > 0 {
			label = fmt.Sprintf("cairn%d", i+1)
		}
		c := cairn{label: label, bin: m.path("bin", label), root: m.path(label + "-store"), out: m.path(label + "-out")}
		if err := copyFile(c.bin, bin); err != nil {
			return nil, err
		}
		if err := os.Chmod(c.bin, 0o755); err != nil {
			return nil, err
		}
		s.tools = append(s.tools, c)
	}
	if o.peer && has("buildah") {
		s.tools = append(s.tools, buildah{root: m.path("buildah-store"), run: m.path("run", "b"), out: m.path("buildah-out")})
	}
	if err := m.own(m.dir); err != nil {
		return nil, err
	}
	s.registry, err = serve(s.images, m.path("blobs"))
	return s, err
}

// from is the first line of a stage on a base image.
func (s *suite) from(image string) string { return s.fromAs(image, "") }

func (s *suite) fromAs(image, stage string) string {
	line := "FROM " + s.registry.addr + "/" + image
	if stage != "" {
		line += " AS " + stage
	}
	return line + "\n"
}

// context makes a directory with a Dockerfile.
func (s *suite) context(name, dockerfile string) (string, error) {
	dir := s.m.path("ctx", name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	return dir, s.write(dir, map[string]string{"Dockerfile": dockerfile})
}

// write makes files in a context.
func (s *suite) write(dir string, files map[string]string) error {
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return s.m.own(dir)
}

// tree makes a context with a directory "tree" of many files.
func (s *suite) tree(name, dockerfile string) (string, error) {
	dir, err := s.context(name, dockerfile)
	if err != nil {
		return "", err
	}
	if _, err := fillTree(filepath.Join(dir, "tree"), s.size.files); err != nil {
		return "", err
	}
	return dir, s.m.own(dir)
}

// floorRoot makes a root file system of busybox and the directories of an overlay.
func (s *suite) floorRoot(name string) (string, error) {
	dir := s.m.path(name)
	_, err := s.m.sh(context.Background(), fmt.Sprintf("mkdir -p %[1]s/l/bin %[1]s/u %[1]s/w %[1]s/m; cp $(command -v busybox) %[1]s/l/bin/true", dir))
	return dir, err
}

// run measures the chosen workloads and prints a table.
func (s *suite) run(ctx context.Context, o *options) error {
	r := newReport(os.Stdout, s.tools)
	for _, w := range workloads() {
		if o.only != "" && !slices.Contains(strings.Split(o.only, ","), w.name) {
			continue
		}
		rows, err := w.rows(s)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := s.measure(ctx, r, row, o); err != nil {
				return fmt.Errorf("%s: %w", row.name, err)
			}
		}
	}
	return nil
}

// measure runs all of one row's runners in turns and reports them.
func (s *suite) measure(ctx context.Context, r *report, row row, o *options) error {
	warm := func(t tool) error { // the base image is there, and the files are in memory
		if row.setup == nil {
			return nil
		}
		_, err := s.m.sh(ctx, s.clean(t)+row.setup(t))
		return err
	}
	for _, t := range s.tools {
		if err := warm(t); err != nil {
			return err
		}
	}
	reps := o.reps
	if row.slow {
		reps = (reps + 1) / 2
	}
	got := map[string][]sample{}
	// The first turn is not counted: it pulls the base and fills the page cache.
	for i := -1; i < reps; i++ {
		if row.slow && o.quick && i < 0 && row.setup != nil {
			continue
		}
		for _, t := range s.tools {
			before := s.clean(t)
			if row.before != nil {
				before += row.before(t)
			}
			v, err := s.pair(ctx, before, row.measure(t))
			if err != nil {
				return err
			}
			if i >= 0 {
				got[t.name()] = append(got[t.name()], v)
			}
		}
		v, err := s.pair(ctx, row.floorBefore, row.floor)
		if err != nil {
			return err
		}
		if i >= 0 {
			got[floorName] = append(got[floorName], v)
		}
	}
	r.row(row.name, got)
	return nil
}

// clean removes the layout that the tool wrote last.
func (s *suite) clean(t tool) string { return "rm -rf " + s.m.path(t.name()+"-out") + "; " }

// pair runs an unmeasured script, then writes all that is dirty to the disk, then runs the measured one.
func (s *suite) pair(ctx context.Context, before, measured string) (sample, error) {
	if _, err := s.m.sh(ctx, before+"\nsync"); err != nil {
		return sample{}, err
	}
	return s.m.sh(ctx, measured)
}
