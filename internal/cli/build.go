package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"

	"github.com/cairnbuild/cairn/internal/engine"
	"github.com/cairnbuild/cairn/internal/progress"
	"github.com/cairnbuild/cairn/internal/store"
)

// BuildOptions are the flags of `cairn build`: what to build, and how to talk about it.
type BuildOptions struct {
	Build engine.Options
	// Progress is a progress mode; see progress.Modes.
	Progress string
	// Quiet prints the image id alone.
	Quiet bool
	// IIDFile gets the image id, MetadataFile a JSON object about the result.
	IIDFile, MetadataFile string
	// Call is what to do instead of building: "", "check", "targets" or "outline". CallJSON asks for JSON.
	Call     string
	CallJSON bool
}

func newBuildCommand(sh *shell) *cli.Command {
	return newCommand(cli.Command{
		Name: "build", ArgsUsage: "PATH | URL | -", Usage: "Build an image from a Dockerfile",
		Description: "PATH is the context: what COPY and ADD see. With - the context is a tar archive on standard input, or empty when\n" +
			"a Dockerfile comes there. Options may stand before or after it. The image goes into the store; nothing is\n" +
			"printed on standard output but what --quiet and --output ask for.",
		Flags: slices.Concat(buildFlags(), limitFlags(" of each RUN"), rungFlags()),
	}, 1, 1, func(cc *cli.Context) error {
		if err := sh.readRungs(cc); err != nil {
			return err
		}
		o, err := parseBuild(cc)
		if err != nil {
			return err
		}
		return sh.withStore(cc.Context, func(st *store.Store) error { return runBuild(cc.Context, sh, st, o) })
	})
}

func runBuild(ctx context.Context, sh *shell, st *store.Store, o BuildOptions) error {
	sh.machine = progress.IsMachine(o.Progress)
	sh.quiet = o.Quiet
	stdin, err := sh.prepareInput(ctx, st, &o.Build.Input)
	if err != nil {
		return err
	}
	if stdin != nil {
		defer stdin.Close()
	}
	if err := sh.prepareExports(o.Build.Output.Exports); err != nil {
		return err
	}
	if o.Call != "" {
		return runCall(ctx, sh, st, o)
	}
	here, done, err := sh.findMachine(ctx, st)
	if err != nil {
		return err
	}
	defer done()
	o.Build.Machine = here
	display, err := sh.display(o.Progress)
	if err != nil {
		return err
	}
	o.Build.OnEvent = display.Event
	if sh.debug {
		o.Build.OnDebug = func(text string) { fmt.Fprintln(sh.stderr, "debug: "+progress.Visible(text)) }
	}
	result, err := engine.Run(ctx, st, o.Build)
	err = sh.closeDisplay(display, err)
	if errors.Is(err, engine.ErrNeedsNamespace) {
		// The namespace's cairn opens the store itself: our locks must not stand in its way.
		if err := st.Close(); err != nil {
			return err
		}
		sh.cgroup = !o.Build.Run.Limits.Resources.IsZero()
		return sh.enter(ctx, stdin)
	}
	if err == nil {
		err = reportBuild(sh, result, o)
	}
	sh.cleanInNamespace(ctx, st)
	return err
}

// reportBuild writes the files and the line that were asked for.
func reportBuild(sh *shell, result *engine.Result, o BuildOptions) error {
	id := resultID(result)
	if o.IIDFile != "" && id != "" {
		if err := os.WriteFile(o.IIDFile, []byte(id), 0o666); err != nil {
			return fmt.Errorf("write image id: %w", err)
		}
	}
	if o.MetadataFile != "" {
		if err := writeMetadata(o.MetadataFile, result, o); err != nil {
			return fmt.Errorf("write metadata: %w", err)
		}
	}
	if o.Quiet && id != "" && !writesToStdout(o.Build.Output.Exports) {
		fmt.Fprintln(sh.out, id)
	}
	return nil
}

// resultID is what docker prints: the image id, which is the digest of the config, or of the index where there are several
// images. It is empty when only a file system was exported.
func resultID(result *engine.Result) digest.Digest {
	if len(result.Images) == 1 {
		return result.Images[0].ConfigDescriptor.Digest
	}
	return result.Descriptor.Digest
}

// writeMetadata writes what `docker buildx build --metadata-file` writes, as far as it exists here.
func writeMetadata(path string, result *engine.Result, o BuildOptions) error {
	m := map[string]any{
		"containerimage.digest":     result.Descriptor.Digest,
		"containerimage.descriptor": result.Descriptor,
	}
	if len(result.Images) == 1 {
		m["containerimage.config.digest"] = result.Images[0].ConfigDescriptor.Digest
	}
	var names string
	for i, ref := range o.Build.Output.Tags {
		if i > 0 {
			names += ","
		}
		names += ref.String()
	}
	if names != "" {
		m["image.name"] = names
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o666)
}
