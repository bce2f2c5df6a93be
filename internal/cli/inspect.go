package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"
	"time"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"

	"github.com/cairnbuild/cairn/internal/store"
)

// inspected is an image as `docker image inspect` shows it. Its fields are named as templates of docker's users name them.
type inspected struct {
	Id          string   `json:"Id"`
	RepoTags    []string `json:"RepoTags"`
	RepoDigests []string `json:"RepoDigests"`
	Parent      string   `json:"Parent"`
	Comment     string   `json:"Comment"`
	Created     string   `json:"Created"`
	Author      string   `json:"Author"`
	Config      any      `json:"Config"`
	inspectedPlatform
	Size       int64            `json:"Size"`
	RootFS     inspectedRootFS  `json:"RootFS"`
	Descriptor ispec.Descriptor `json:"Descriptor"`
}

// inspectedPlatform is what the image says it is for.
type inspectedPlatform struct {
	Architecture string `json:"Architecture"`
	Variant      string `json:"Variant,omitempty"`
	Os           string `json:"Os"`
	OsVersion    string `json:"OsVersion,omitempty"`
}

type inspectedRootFS struct {
	Type   string   `json:"Type"`
	Layers []string `json:"Layers"`
}

// ID is the other name that templates have for Id.
func (i inspected) ID() string { return i.Id }

func newInspectCommand(sh *shell) *cli.Command {
	var format string
	return newCommand(cli.Command{
		Name: "inspect", ArgsUsage: "IMAGE...", Usage: "Show what an image says about itself, as JSON",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "`FORMAT` Print as json or with a Go template", Destination: &format},
		},
	}, 1, -1, func(cc *cli.Context) error {
		return sh.withStore(cc.Context, func(st *store.Store) error { return runInspect(cc.Context, sh, st, cc.Args().Slice(), format) })
	})
}

// runInspect prints the images that are there and returns the errors of the others, as docker does.
func runInspect(ctx context.Context, sh *shell, st *store.Store, names []string, format string) error {
	found := []inspected{}
	var errs []error
	for _, name := range names {
		img, err := findImage(ctx, st, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, inspectImage(st, img))
	}
	if err := printInspected(sh, found, format); err != nil {
		return err
	}
	return errors.Join(errs...)
}

func printInspected(sh *shell, found []inspected, format string) error {
	if format == "" || format == "json" {
		e := json.NewEncoder(sh.text())
		e.SetEscapeHTML(false)
		if format == "" {
			e.SetIndent("", "    ")
		}
		return e.Encode(found)
	}
	t, err := parseTemplate(format)
	if err != nil {
		return err
	}
	for _, f := range found {
		if err := executeInspect(sh.text(), t, f); err != nil {
			return err
		}
	}
	return nil
}

// executeInspect applies a template as docker does: to the image's fields, where what says nothing is empty, and where one of
// the template's names is none of those to what the JSON shows. A name that neither has is an error.
func executeInspect(w io.Writer, t *template.Template, image inspected) error {
	var b strings.Builder
	if err := t.Option("missingkey=default").Execute(&b, image); err == nil {
		_, err := fmt.Fprintln(w, b.String())
		return err
	}
	fields, err := asJSON(image)
	if err != nil {
		return err
	}
	return execute(w, t.Option("missingkey=error"), fields)
}

// asJSON turns v into what its JSON says, so that a template uses the names that the JSON shows.
func asJSON(v any) (fields map[string]any, err error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return fields, d.Decode(&fields)
}

func inspectImage(st *store.Store, found storedImage) inspected {
	img := found.Image
	out := inspected{
		Id: img.ConfigDescriptor.Digest.String(), RepoTags: []string{}, RepoDigests: []string{},
		Created: created(img).Format(time.RFC3339Nano), Author: img.Config.Author, Config: img.Config.Config,
		inspectedPlatform: inspectedPlatform{
			Architecture: img.Config.Architecture, Variant: img.Config.Variant,
			Os: img.Config.OS, OsVersion: img.Config.OSVersion,
		},
		Size: imageSize(st, img, map[string]int64{}), RootFS: inspectedRootFS{Type: "layers", Layers: []string{}},
		Descriptor: found.Target,
	}
	for _, r := range found.References {
		out.RepoTags = append(out.RepoTags, r.Familiar())
		out.RepoDigests = append(out.RepoDigests, fmt.Sprintf("%s@%s", r.FamiliarRepository(), found.Target.Digest))
	}
	for _, d := range img.Config.RootFS.DiffIDs {
		out.RootFS.Layers = append(out.RootFS.Layers, d.String())
	}
	if n := len(img.Config.History); n > 0 {
		out.Comment = img.Config.History[n-1].Comment
	}
	return out
}
