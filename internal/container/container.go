// Package container runs an image's command: the same sandbox as a RUN's, on a writable overlay over the image's
// layers, with the user, environment, working directory and command that the image's config says, as `docker run` reads
// it.
//
// A container is a directory containers/<id>/ of the store: its record (container.json), upper/ with what it changed,
// and the files that are mounted into it. A lock on it says that it runs. It is made, run and removed by one process,
// which must be root of a user namespace.
package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cairnbuild/cairn/internal/bundle"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/sandbox"
)

// Options say what to run, and how. The zero value runs the image's command with nothing on its standard input.
type Options struct {
	// Image is what the record calls the image.
	Image string
	// Args come after the image: they take the place of its CMD.
	Args    []string
	Process ProcessOptions
	// Volumes are mounted in order of their targets' depth.
	Volumes []Volume
	Network NetworkOptions
	// Name is the container's, unique in the store; empty for none.
	Name string
	// Remove removes the container when the command has ended.
	Remove bool
	// ReadOnly makes the root file system read-only.
	ReadOnly bool
	Streams  Streams
	// Machine is what this process can do.
	Machine bundle.Machine
	// Warn is told of what the caller may not expect; nil drops it.
	Warn func(string)
}

// ProcessOptions change what the image's config says of its process.
type ProcessOptions struct {
	// Entrypoint replaces the image's, and drops its CMD; an empty one only drops. nil keeps.
	Entrypoint *string
	// Env are KEY=VALUE.
	Env []string
	// Dir is the working directory, User the user as in USER; empty keeps the image's.
	Dir, User string
	Limits    sandbox.Limits
	// Privileged leaves the command every capability, system call and path that root of the user namespace has.
	Privileged bool
}

// NetworkOptions say what the command sees of the network.
type NetworkOptions struct {
	Mode sandbox.Network
	// Hostname is the container's short id when empty, and the machine's with the network of the host.
	Hostname string
	// Hosts are NAME:IP for /etc/hosts.
	Hosts []string
}

// Volume is a file or directory of this machine inside the container.
type Volume struct {
	// Source is an absolute path outside, Target one inside.
	Source, Target string
	ReadOnly       bool
}

// Streams are the command's.
type Streams struct {
	Stdin          io.Reader // nil is /dev/null
	Stdout, Stderr io.Writer
	// TTY gives the command a terminal; see sandbox.Process.
	TTY *os.File
	// Signals, when not nil, is called once the command is about to start, and returns what is sent to it. Before, only the
	// context ends Run.
	Signals func() <-chan os.Signal
}

// Run runs a container to its end. It returns nil when the command exited with 0, *sandbox.ExitError when it did not,
// *sandbox.SetupError when it could not be started, *NameError when the name is taken, and otherwise what went wrong
// before. Leftovers of containers that were to be removed and were killed are removed first.
func Run(ctx context.Context, st *store.Store, img oci.Image, o Options) (err error) {
	if !o.Machine.InNamespace() {
		return errors.New("run a container: not in a user namespace")
	}
	sweep(st.Containers())
	layers, err := openLayers(ctx, st, img, !o.Machine.Copies())
	defer layers.release()
	if err != nil {
		return fmt.Errorf("unpack image: %w", err)
	}
	if err := checkVolumes(o.Volumes); err != nil {
		return err
	}
	process, err := newProcess(img.Config.Config, layers.tree, o)
	if err != nil {
		return err
	}
	c, err := create(st.Containers(), img, o, process.Args)
	if err != nil {
		return fmt.Errorf("create container: %w", err)
	}
	defer func() {
		if cerr := c.close(o.Remove); err == nil {
			err = cerr
		}
	}()
	err = c.run(ctx, layers, process, o)
	return errors.Join(err, c.ended(err, o.Remove))
}

// run runs the command in a root file system of its own.
func (c *container) run(ctx context.Context, layers *imageLayers, process sandbox.Process, o Options) (err error) {
	hostname, err := c.hostname(o.Network)
	if err != nil {
		return fmt.Errorf("find the host name: %w", err)
	}
	if !slices.ContainsFunc(process.Env, func(kv string) bool { return strings.HasPrefix(kv, "HOSTNAME=") }) {
		process.Env = append(process.Env, "HOSTNAME="+hostname)
	}
	network := bundle.Network{Mode: o.Network.Mode, Hosts: o.Network.Hosts}
	if network.Mode == sandbox.NetworkPrivate {
		if network.Private, err = sandbox.StartNetwork(ctx, c.path()); err != nil {
			return err
		}
		defer network.Private.Close()
	}
	b, err := bundle.Make(ctx, o.Machine, bundle.Options{
		Dir: c.path(), Layers: layers, WorkingDir: process.Dir, Mounts: mounts(hostname, o.Volumes),
		Hostname: hostname, Network: network, Limits: o.Process.Limits, Insecure: o.Process.Privileged,
		ReadonlyRoot: o.ReadOnly, Now: time.Now().UTC().Truncate(time.Second),
	})
	if err != nil {
		return fmt.Errorf("prepare container: %w", err)
	}
	defer func() {
		if cerr := b.Close(); err == nil {
			err = cerr
		}
	}()
	spec := b.Spec(process)
	spec.Stdin, spec.Stdout, spec.Stderr = o.Streams.Stdin, o.Streams.Stdout, o.Streams.Stderr
	if o.Streams.Signals != nil {
		spec.Signals = o.Streams.Signals()
	}
	return sandbox.Run(ctx, spec)
}

// ended writes down how the command ended.
func (c *container) ended(err error, remove bool) error {
	var code int
	var exit *sandbox.ExitError
	switch {
	case remove:
		return nil
	case errors.As(err, &exit):
		code = exit.Code
	case err != nil:
		return nil // it did not start, or was not seen to its end
	}
	c.record.ExitCode = &code
	return c.write()
}
