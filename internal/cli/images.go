package cli

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci"
)

// ImagesOptions say which images to list, and how.
type ImagesOptions struct {
	// Name is a repository or a reference; "" lists all.
	Name    string
	Filters []string
	Format  string
	Quiet   bool
	Digests bool
	NoTrunc bool
}

func newImagesCommand(sh *shell) *cli.Command {
	var o ImagesOptions
	var filters cli.StringSlice
	return newCommand(cli.Command{
		Name: "images", Aliases: []string{"ls"}, ArgsUsage: "[REPOSITORY[:TAG]]", Usage: "List the images in the store",
		Flags: []cli.Flag{
			formatFlag(&o.Format),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "Print image ids only", Destination: &o.Quiet},
			&cli.BoolFlag{Name: "digests", Usage: "Show digests", Destination: &o.Digests},
			&cli.BoolFlag{Name: "no-trunc", Usage: "Do not shorten ids", Destination: &o.NoTrunc},
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "Show all images (they always are: there are no hidden ones)"},
			&cli.StringSliceFlag{Name: "filter", Usage: "`KEY=VALUE` Show only what matches: reference, dangling or label", Destination: &filters},
		},
	}, 0, 1, func(cc *cli.Context) error {
		o.Name, o.Filters = cc.Args().First(), filters.Value()
		return sh.withStore(cc.Context, func(st *store.Store) error { return runImages(cc.Context, sh, st, o) })
	})
}

// listed is one row before it is text.
type listed struct {
	ref    oci.Reference // zero when untagged
	image  oci.Image
	digest string
}

func runImages(ctx context.Context, sh *shell, st *store.Store, o ImagesOptions) error {
	keep, err := imageFilter(o)
	if err != nil {
		return err
	}
	rows, err := listImages(ctx, st, keep)
	if err != nil {
		return err
	}
	if o.Quiet && o.Format == "" {
		// Each ID once, so that the list can be given to rmi.
		said := map[string]bool{}
		for _, r := range rows {
			id := imageID(r.image, o.NoTrunc)
			if said[id] {
				continue
			}
			said[id] = true
			if _, err := fmt.Fprintln(sh.out, id); err != nil {
				return err
			}
		}
		return nil
	}
	l := listing{Columns: []column{{"Repository", "REPOSITORY"}, {"Tag", "TAG"}}, Titles: map[string]string{"Digest": "DIGEST", "CreatedAt": "CREATED AT"}}
	if o.Digests {
		l.Columns = append(l.Columns, column{"Digest", "DIGEST"})
	}
	l.Columns = append(l.Columns, column{"ID", "IMAGE ID"}, column{"CreatedSince", "CREATED"}, column{"Size", "SIZE"})
	known := map[string]int64{}
	for _, r := range rows {
		l.Rows = append(l.Rows, imageRow(r, imageSize(st, r.image, known), o.NoTrunc))
	}
	return l.print(sh.text(), o.Format)
}

func listImages(ctx context.Context, st *store.Store, keep func(listed) bool) ([]listed, error) {
	all, err := st.Images(ctx)
	if err != nil {
		return nil, err
	}
	var rows []listed
	for _, n := range all {
		img, err := st.Image(ctx, n.Descriptor, oci.HostPlatform())
		if err != nil {
			return nil, fmt.Errorf("read image %s: %w", n.Descriptor.Digest, err)
		}
		refs := n.References
		if len(refs) == 0 {
			refs = []oci.Reference{{}}
		}
		for _, ref := range refs {
			if r := (listed{ref, img, n.Descriptor.Digest.String()}); keep(r) {
				rows = append(rows, r)
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b listed) int {
		if c := created(b.image).Compare(created(a.image)); c != 0 {
			return c
		}
		return strings.Compare(a.ref.Familiar(), b.ref.Familiar())
	})
	return rows, nil
}

func created(img oci.Image) time.Time {
	if img.Config.Created == nil {
		return time.Time{}
	}
	return *img.Config.Created
}

func imageID(img oci.Image, full bool) string {
	if full {
		return img.ConfigDescriptor.Digest.String()
	}
	return shortID(img.ConfigDescriptor.Digest.Encoded())
}

func shortID(hex string) string { return hex[:min(12, len(hex))] }

func imageRow(r listed, size int64, full bool) fields {
	f := fields{
		"Repository": "<none>", "Tag": "<none>", "Digest": r.digest,
		"ID":           imageID(r.image, full),
		"CreatedAt":    created(r.image).Local().Format("2006-01-02 15:04:05 -0700 MST"),
		"CreatedSince": since(created(r.image)),
		"Size":         humanSize(size),
		"Containers":   "N/A", "SharedSize": "N/A", "UniqueSize": "N/A", "VirtualSize": humanSize(size),
	}
	if !r.ref.IsZero() {
		f["Repository"] = r.ref.FamiliarRepository()
		if r.ref.Tag() != "" {
			f["Tag"] = r.ref.Tag()
		}
	}
	return f
}

func since(t time.Time) string {
	if t.IsZero() || t.Unix() == 0 {
		return "N/A"
	}
	return units.HumanDuration(time.Since(t)) + " ago"
}

func humanSize(n int64) string { return units.HumanSizeWithPrecision(float64(n), 3) }

// imageFilter returns the conjunction of the name and all filters.
func imageFilter(o ImagesOptions) (func(listed) bool, error) {
	var all []func(listed) bool
	if o.Name != "" {
		all = append(all, func(r listed) bool { return !r.ref.IsZero() && matchName(o.Name, r.ref) })
	}
	for _, f := range o.Filters {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			return nil, &usageError{Command: "images", Msg: fmt.Sprintf("filter %q is not KEY=VALUE", f)}
		}
		switch key {
		case "reference":
			all = append(all, func(r listed) bool { return !r.ref.IsZero() && matchName(value, r.ref) })
		case "dangling":
			want := value == "true" || value == "1"
			all = append(all, func(r listed) bool { return r.ref.IsZero() == want })
		case "label":
			name, wanted, hasValue := strings.Cut(value, "=")
			all = append(all, func(r listed) bool {
				got, ok := r.image.Config.Config.Labels[name]
				return ok && (!hasValue || got == wanted)
			})
		default:
			return nil, &usageError{Command: "images", Msg: fmt.Sprintf("unknown filter %q: there are reference, dangling and label", key)}
		}
	}
	return func(r listed) bool {
		return !slices.ContainsFunc(all, func(keep func(listed) bool) bool { return !keep(r) })
	}, nil
}

// matchName says whether pattern names the reference: its repository, or repository and tag, in short or in full, with
// path.Match's wildcards.
func matchName(pattern string, ref oci.Reference) bool {
	for _, name := range []string{
		ref.FamiliarRepository(), ref.FamiliarRepository() + ":" + ref.Tag(), ref.Repository(), ref.String(), ref.Familiar(),
	} {
		if ok, err := path.Match(pattern, name); ok && err == nil {
			return true
		}
	}
	return false
}
