// Command bench measures cairn on whole builds beside buildah and beside plain tools that do the same work, and prints ratios.
//
//	go run ./bench [-quick] [-only copy,pull] [-n 5] [-cairn ./cairn] [-user NAME] [-dir DIR]
//
// Every workload is a list of rows, every row a list of runners: cairn, the floor (what sh, tar, gzip, unshare and mount need for the same
// work) and buildah where it is installed. A repetition runs all runners of a row one after the other, so that what else happens on the
// machine happens to all of them; what is printed are the ratios of the same repetition: median, smallest, largest. Absolute times are of
// this machine at this minute and good for nothing else.
//
// It needs no network: the base images are made from files of this machine and served by a registry of its own on the loopback. Run by
// root with -user it measures as that user. It shares no code with cairn on purpose.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// options are the command line.
type options struct {
	quick bool
	only  string
	reps  int
	cairn string
	user  string
	dir   string
	keep  bool
	peer  bool
	log   string
}

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "small contexts and few repetitions: a minute or two")
	flag.StringVar(&o.only, "only", "", "run only these workloads, with commas: "+strings.Join(workloadNames(), ","))
	flag.IntVar(&o.reps, "n", 0, "repetitions (0: 3 with -quick, else 5)")
	flag.StringVar(&o.cairn, "cairn", "cairn", "the cairn to measure; several with commas are measured beside each other")
	flag.StringVar(&o.user, "user", "", "measure as this user (only root can)")
	flag.StringVar(&o.dir, "dir", "/var/tmp", "make the working directory in DIR; it must be on a disk")
	flag.BoolVar(&o.keep, "keep", false, "leave the working directory")
	flag.BoolVar(&o.peer, "buildah", true, "measure buildah, too, where it is installed")
	flag.StringVar(&o.log, "log", "", "append what the measured programs print to FILE")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, &o); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options) error {
	if o.reps == 0 {
		o.reps = 5
		if o.quick {
			o.reps = 3
		}
	}
	who, err := lookupUser(o.user)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "cairn-bench-")
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if !o.keep {
		defer removeTree(dir)
	}
	m := &machine{dir: dir, who: who, log: os.Stderr}
	if o.log == "" {
		m.log = nil
	} else if m.log, err = os.OpenFile(o.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		return err
	}
	if err := m.own(dir); err != nil {
		return err
	}
	size := sizes{files: 30000, baseFiles: 20000, steps: 20, depth: 30, blob: 4000000}
	if o.quick {
		size = sizes{files: 3000, baseFiles: 3000, steps: 20, depth: 30, blob: 1000000}
	}
	s, err := newSuite(ctx, m, o, size)
	if err != nil {
		return err
	}
	defer s.registry.Close()
	return s.run(ctx, o)
}
