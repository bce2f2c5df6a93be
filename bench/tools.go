package main

import (
	"fmt"
	"strings"
)

// build is what a tool is asked to do.
type build struct {
	ctx   string // directory with its Dockerfile
	fresh bool   // without the cache
	oci   bool   // also as an OCI layout directory, gzip
	jobs  int    // stages at a time; 0 is the tool's default
}

// tool is a builder: each method answers a shell script.
type tool interface {
	name() string
	build(b build) string
	// export writes the image of the last build of a context from the tool's store as an OCI layout.
	export(ctx string) string
	// wipe empties the store.
	wipe() string
}

// cairn is a cairn binary with a store of its own.
type cairn struct{ label, bin, root, out string }

func (c cairn) name() string { return c.label }

func (c cairn) build(b build) string {
	args := []string{"export CAIRN_ROOT=" + c.root + ";", c.bin, "build", "--progress", "plain", "-t", imageName(b.ctx)}
	if b.fresh {
		args = append(args, "--no-cache")
	}
	if b.oci {
		args = append(args, "-o", "type=oci,tar=false,dest="+c.out)
	}
	return strings.Join(append(args, b.ctx), " ")
}

func (c cairn) export(ctx string) string {
	return fmt.Sprintf("CAIRN_ROOT=%s %s save --format oci-dir -o %s %s", c.root, c.bin, c.out, imageName(ctx))
}

func (c cairn) wipe() string { return "unshare -r --map-auto rm -rf " + c.root }

// buildah is the distribution's buildah without a daemon or privileges, as it is used in CI: chroot isolation, layers, overlay.
type buildah struct{ root, run, out string }

func (b buildah) name() string { return "buildah" }

func (b buildah) command() string {
	return "buildah --root " + b.root + " --runroot " + b.run + " --storage-driver overlay"
}

func (b buildah) build(o build) string {
	args := []string{b.command(), "bud", "--layers", "--isolation", "chroot", "--tls-verify=false", "-t", imageName(o.ctx)}
	if o.fresh {
		args = append(args, "--no-cache")
	}
	if o.jobs > 0 {
		args = append(args, fmt.Sprintf("--jobs=%d", o.jobs))
	}
	script := strings.Join(append(args, o.ctx), " ")
	if o.oci {
		script += " && " + b.export(o.ctx)
	}
	return script
}

func (b buildah) export(ctx string) string {
	return b.command() + " push " + imageName(ctx) + " oci:" + b.out + ":latest"
}

func (b buildah) wipe() string { return "buildah unshare rm -rf " + b.root + " " + b.run }

// imageName names the image that a context is built to.
func imageName(ctx string) string { return "bench/" + ctx[strings.LastIndex(ctx, "/")+1:] }
