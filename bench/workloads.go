package main

import (
	"fmt"
	"strings"
)

// sizes scale the workloads.
type sizes struct {
	files, baseFiles int // of the COPY context, of the large base image
	steps, depth     int // RUN steps, steps of the cached mixed build
	blob             int // bytes that each parallel stage makes
}

// row is one line of the result: a script per tool, beside a floor.
type row struct {
	name string
	// setup is run once per tool, before each repetition's measured script. Neither is measured. Both may be nil.
	setup, before func(t tool) string
	measure       func(t tool) string
	// floor is a script of plain tools that does the same work, and floorBefore its unmeasured preparation.
	floor, floorBefore string
	// slow rows are repeated fewer times, and not measured with -quick.
	slow bool
}

// workload makes its contexts once and has some rows.
type workload struct {
	name string
	rows func(s *suite) ([]row, error)
}

func workloads() []workload {
	return []workload{
		{"run", runRows}, {"cached", cachedRows}, {"copy", copyRows}, {"stages", stageRows},
		{"pull", pullRows}, {"parallel", parallelRows}, {"export", exportRows},
	}
}

func workloadNames() (names []string) {
	for _, w := range workloads() {
		names = append(names, w.name)
	}
	return names
}

// overlayRun is what a RUN step is made of: an overlay mount, an exec in it, and its end.
const overlayRun = `mount -t overlay o -o userxattr,volatile,lowerdir=l,upperdir=u,workdir=w m && chroot m /bin/true && umount m && rm -rf w/work;`

// runRows are RUN steps that do nothing: all that is measured is the builder.
func runRows(s *suite) ([]row, error) {
	var rows []row
	dir, err := s.floorRoot("run-floor")
	if err != nil {
		return nil, err
	}
	for _, n := range []int{1, s.size.steps} {
		ctx, err := s.context(fmt.Sprintf("run%d", n), s.from("small")+strings.Repeat("RUN true\n", n))
		if err != nil {
			return nil, err
		}
		for _, oci := range []bool{false, true} {
			rows = append(rows, row{
				name:    fmt.Sprintf("RUN true, %d times, no cache", n) + ociSuffix(oci),
				measure: func(t tool) string { return t.build(build{ctx: ctx, fresh: true, oci: oci}) },
				floor: fmt.Sprintf("cd %s && rm -rf u w; mkdir u w; unshare -Urmpif --mount-proc sh -ec '%s'",
					dir, strings.Repeat(overlayRun, n)),
			})
		}
	}
	return rows, nil
}

// cachedRows are builds in which everything is cached.
func cachedRows(s *suite) ([]row, error) {
	runs, err := s.context("cached-run", s.from("small")+strings.Repeat("RUN true\n", s.size.steps))
	if err != nil {
		return nil, err
	}
	mixed := s.from("small")
	files := map[string]string{}
	for i := range s.size.depth / 6 {
		mixed += fmt.Sprintf("ENV K%d=v%d\nLABEL l%d=v%d\nCOPY f%d /data/f%d\nRUN echo %d > /data/r%d\nWORKDIR /data/w%d\nCMD [\"%d\"]\n", i, i, i, i, i, i, i, i, i, i)
		files[fmt.Sprintf("f%d", i)] = fmt.Sprint("file ", i)
	}
	mix, err := s.context("cached-mixed", mixed)
	if err != nil {
		return nil, err
	}
	if err := s.write(mix, files); err != nil {
		return nil, err
	}
	var rows []row
	for _, c := range []struct{ what, ctx string }{{fmt.Sprint(s.size.steps, " RUN"), runs}, {fmt.Sprint(s.size.depth, " mixed steps"), mix}} {
		for _, oci := range []bool{false, true} {
			again := func(t tool) string { return t.build(build{ctx: c.ctx, oci: oci}) }
			rows = append(rows, row{
				name: c.what + ", all cached" + ociSuffix(oci), setup: again, measure: again,
				floor: "find " + c.ctx + " -printf '%s %T@\\n'",
			})
		}
	}
	return rows, nil
}

func ociSuffix(oci bool) string {
	if oci {
		return ", OCI layout"
	}
	return ""
}

// copyRows are a COPY of many files: cold, with one file changed, and unchanged.
func copyRows(s *suite) ([]row, error) {
	ctx, err := s.tree("copy", s.from("small")+"COPY tree /tree\n")
	if err != nil {
		return nil, err
	}
	n := fmt.Sprintf("COPY of %d files, ", s.size.files)
	stat := "find " + ctx + " -printf '%s %T@\\n'"
	pack := "tar -C " + ctx + " -c tree | pigz > floor.tar.gz"
	change := func(tool) string { return "date +%s%N > " + ctx + "/tree/changed" }
	plain := func(oci, fresh bool) func(t tool) string {
		return func(t tool) string { return t.build(build{ctx: ctx, oci: oci, fresh: fresh}) }
	}
	return []row{
		{name: n + "no cache", measure: plain(false, true), floor: "tar -C " + ctx + " -c tree | sha256sum", slow: true},
		{name: n + "no cache, OCI layout", measure: plain(true, true), floor: pack, slow: true},
		{name: n + "one changed", setup: plain(false, false), before: change, measure: plain(false, false), floor: "tar -C " + ctx + " -c tree | sha256sum", slow: true},
		{name: n + "one changed, OCI layout", before: change, measure: plain(true, false), floor: pack, slow: true},
		{name: n + "unchanged", setup: plain(false, false), measure: plain(false, false), floor: stat},
		{name: n + "unchanged, OCI layout", setup: plain(true, false), measure: plain(true, false), floor: stat},
	}, nil
}

// stageRows are a stage that makes an artefact from a context, and a stage from scratch that takes it.
func stageRows(s *suite) ([]row, error) {
	const work = "cat tree/*/*/* 2>/dev/null | gzip -1 > out.gz || true"
	ctx, err := s.tree("stages", s.fromAs("small", "build")+"COPY tree /src/tree\nRUN cd /src && "+work+"\nFROM scratch\nCOPY --from=build /src/out.gz /out.gz\n")
	if err != nil {
		return nil, err
	}
	return []row{{
		name:    fmt.Sprintf("two stages over %d files, no cache, OCI layout", s.size.files),
		measure: func(t tool) string { return t.build(build{ctx: ctx, fresh: true, oci: true}) },
		floor:   "rm -rf st; cp -a " + ctx + " st && cd st && " + work,
		slow:    true,
	}}, nil
}

// pullRows start with an empty store and a base image in a registry: with a RUN on it, which needs its files, and without.
func pullRows(s *suite) ([]row, error) {
	run, err := s.context("pull-run", s.from("large")+"RUN true\n")
	if err != nil {
		return nil, err
	}
	bare, err := s.context("pull-bare", s.from("large")+"COPY Dockerfile /\n")
	if err != nil {
		return nil, err
	}
	wipe := func(t tool) string { return t.wipe() }
	layers := strings.Join(s.images["large"].layers, " ")
	return []row{
		{name: "pull a base, RUN true", before: wipe, measure: func(t tool) string { return t.build(build{ctx: run}) },
			floorBefore: "rm -rf x", floor: "mkdir x; for l in " + layers + "; do gzip -dc $l | tar -x -C x; done", slow: true},
		{name: "pull a base, COPY only, OCI layout", before: wipe, measure: func(t tool) string { return t.build(build{ctx: bare, oci: true}) },
			floorBefore: "rm -rf x", floor: "mkdir x; cp " + layers + " x; sha256sum x/*", slow: true},
	}, nil
}

// parallelRows are four stages that sleep for two seconds and make a file each, and one that collects the files.
func parallelRows(s *suite) ([]row, error) {
	text := ""
	for i := range 4 {
		text += s.fromAs("small", fmt.Sprintf("s%d", i)) + fmt.Sprintf("RUN sleep 2; head -c %d /dev/urandom > /b%d\n", s.size.blob, i)
	}
	text += s.from("small")
	for i := range 4 {
		text += fmt.Sprintf("COPY --from=s%d /b%d /\n", i, i)
	}
	ctx, err := s.context("parallel", text)
	if err != nil {
		return nil, err
	}
	return []row{{
		name:    "four stages of sleep 2",
		measure: func(t tool) string { return t.build(build{ctx: ctx, fresh: true, jobs: 4}) },
		floor:   "sleep 2",
		slow:    true,
	}}, nil
}

// exportRows write an image from the store into an OCI layout; the blobs may be in the store already.
func exportRows(s *suite) ([]row, error) {
	ctx, err := s.tree("export", s.from("small")+"COPY tree /tree\n")
	if err != nil {
		return nil, err
	}
	return []row{{
		name:    fmt.Sprintf("store to OCI layout, %d files", s.size.files),
		setup:   func(t tool) string { return t.build(build{ctx: ctx}) },
		measure: func(t tool) string { return t.export(ctx) },
		floor:   "tar -C " + ctx + " -c tree | pigz > floor.tar.gz",
		slow:    true,
	}}, nil
}
