package cli

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cairnbuild/cairn/oci"
	"github.com/cairnbuild/cairn/oci/layout"
	"github.com/cairnbuild/cairn/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.RunIfChild()
	cairn := func() { os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
	testscript.Main(m, map[string]func(){"cairn": cairn, "cairn-userns": cairn})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("CAIRN_ROOT", filepath.Join(e.WorkDir, "store"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   exitsCommand,
			"mkimage": mkimageCommand,
		},
		UpdateScripts: os.Getenv("UPDATE") != "",
	})
}

// exitsCommand is `exits N PROGRAM ARG...`: exec, with the exit status that is expected.
func exitsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N PROGRAM ARG...")
	}
	err := ts.Exec(args[1], args[2:]...)
	status := "0"
	if err != nil {
		var coded *exec.ExitError
		if !asError(err, &coded) {
			ts.Fatalf("%v", err)
		}
		status = fmt.Sprint(coded.ExitCode())
	}
	if status != args[0] {
		ts.Fatalf("exit status %s, not %s", status, args[0])
	}
}

// mkimageCommand is `mkimage DIR NAME TEXT`: an OCI layout with an image of two layers; TEXT is the content of /text.
func mkimageCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: mkimage DIR NAME TEXT")
	}
	ts.Check(writeImage(ts.MkAbs(args[0]), args[1], args[2]))
}

func writeImage(dir, name, text string) error {
	ctx := context.Background()
	if err := layout.Create(dir); err != nil {
		return err
	}
	l, err := layout.Open(dir)
	if err != nil {
		return err
	}
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var img oci.Image
	img.Config.OS, img.Config.Architecture, img.Config.Created = "linux", oci.HostPlatform().Architecture, &created
	img.Config.Config.Cmd = []string{"cat", "/text"}
	img.Config.Config.Labels = map[string]string{"text": text}
	img.Config.History = []ispec.History{
		{Created: &created, CreatedBy: "COPY base / # buildkit"},
		{Created: &created, CreatedBy: "CMD [\"cat\" \"/text\"]", EmptyLayer: true},
		{Created: &created, CreatedBy: "COPY text /text # buildkit"},
	}
	for _, f := range []struct{ name, content string }{{"base", "the base"}, {"text", text}} {
		layer, err := putLayer(ctx, l, f.name, f.content)
		if err != nil {
			return err
		}
		img.Layers = append(img.Layers, layer)
	}
	if img, err = oci.WriteImage(ctx, l, img); err != nil {
		return err
	}
	ref, err := oci.ParseReference(name)
	if err != nil {
		return err
	}
	ix, err := l.Index(ctx)
	if err != nil {
		return err
	}
	ix.Manifests = append(ix.Manifests, oci.WithName(img.Manifest, ref))
	return l.SetIndex(ctx, ix)
}

func putLayer(ctx context.Context, sink oci.BlobSink, name, content string) (oci.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(1, 0)}
	if err := w.WriteHeader(header); err != nil {
		return oci.Layer{}, err
	}
	if _, err := w.Write([]byte(content)); err != nil {
		return oci.Layer{}, err
	}
	if err := w.Close(); err != nil {
		return oci.Layer{}, err
	}
	desc, err := sink.PutBlob(ctx, "", &b)
	desc.MediaType = ispec.MediaTypeImageLayer
	return oci.Layer{Descriptor: desc, DiffID: desc.Digest}, err
}
