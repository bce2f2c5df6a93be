package dockerfile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// Copy is COPY or, when Add is set, ADD.
type Copy struct {
	written
	Add bool
	// Sources are paths (and for ADD URLs) without the heredocs. See ParseSource.
	Sources  []string
	Heredocs []Heredoc
	Dest     string
	// From is a stage's name or number, a named context or an image; empty for the build context. It is never expanded.
	From    string
	Chown   string
	Chmod   string
	Link    bool
	Parents bool
	Exclude []string
	AddFlags
}

// AddFlags are flags that only ADD has. The pointers are nil when the flag was not given.
type AddFlags struct {
	Checksum   string
	KeepGitDir *bool
	Unpack     *bool
}

func typedCopy(c *instructions.CopyCommand, w written) *Copy {
	return &Copy{
		written: w, Sources: c.SourcePaths, Heredocs: inline(c.SourceContents), Dest: c.DestPath, From: c.From,
		Chown: c.Chown, Chmod: c.Chmod, Link: c.Link, Parents: c.Parents, Exclude: c.ExcludePatterns,
	}
}

func typedAdd(c *instructions.AddCommand, w written) *Copy {
	return &Copy{
		written: w, Add: true, Sources: c.SourcePaths, Heredocs: inline(c.SourceContents), Dest: c.DestPath,
		Chown: c.Chown, Chmod: c.Chmod, Link: c.Link, Exclude: c.ExcludePatterns,
		AddFlags: AddFlags{Checksum: c.Checksum, KeepGitDir: c.KeepGitDir, Unpack: c.Unpack},
	}
}

func inline(contents []instructions.SourceContent) []Heredoc {
	var docs []Heredoc
	for _, c := range contents {
		docs = append(docs, Heredoc{Name: c.Path, Content: c.Data, Expand: c.Expand})
	}
	return docs
}

// validate checks an expanded COPY or ADD.
func (c *Copy) validate() error {
	if c.Link && byName(c.Chown) {
		return fmt.Errorf("--chown=%s: names cannot be looked up with --link, use numeric ids", c.Chown)
	}
	if err := validateChmod(c.Chmod); err != nil {
		return err
	}
	remote := 0
	for _, s := range c.Sources {
		src, err := ParseSource(s)
		if err != nil {
			return err
		}
		if src.Kind != LocalSource {
			remote++
		}
		if src.Kind != LocalSource && !c.Add {
			return fmt.Errorf("source %s: COPY takes no URL or git repository, ADD does", s)
		}
		if err := src.agrees(c); err != nil {
			return err
		}
	}
	switch {
	case c.Checksum == "":
	case len(c.Sources) != 1:
		return errors.New("--checksum needs exactly one source")
	case remote != 1:
		return errors.New("--checksum needs an http(s) or git source")
	}
	return nil
}

// byName tells whether an owner has to be looked up. root is known to be 0 without looking.
func byName(chown string) bool {
	for part := range strings.SplitSeq(chown, ":") {
		if _, err := strconv.ParseInt(part, 10, 32); err != nil && part != "" && part != "root" {
			return true
		}
	}
	return false
}

// History returns the created_by string: without --from, --link, --exclude and the flags of ADD only.
func (c *Copy) History() string {
	words := []string{"COPY"}
	if c.Add {
		words[0] = "ADD"
	}
	if c.Parents {
		words = append(words, "--parents")
	}
	if c.Chown != "" {
		words = append(words, "--chown="+c.Chown)
	}
	if c.Chmod != "" {
		words = append(words, "--chmod="+c.Chmod)
	}
	words = append(words, c.Sources...)
	for _, doc := range c.Heredocs {
		words = append(words, "<<"+doc.Name)
	}
	return strings.Join(append(words, c.Dest), " ") + layerSuffix
}

// Details hands what decides the result of an expanded COPY or ADD to field, in a canonical form, as far as its flags
// and heredocs say it. Sources, destination, owner and mode are not among it. A flag that is not given says nothing, so
// that a new one changes nothing for instructions without it. Names, values and order are part of cache keys.
func (c *Copy) Details(field func(name string, values ...string)) {
	for _, flag := range []struct {
		name string
		set  bool
	}{{"link", c.Link}, {"parents", c.Parents}, {"from", c.From != ""}} {
		if flag.set {
			field(flag.name, "true")
		}
	}
	if len(c.Exclude) > 0 {
		field("exclude", c.Exclude...)
	}
	for _, f := range c.Heredocs {
		field("file", f.Name, f.Content)
	}
	if c.Checksum != "" {
		field("checksum", c.Checksum)
	}
	if c.KeepGitDir != nil {
		field("keep-git-dir", strconv.FormatBool(*c.KeepGitDir))
	}
	if c.Unpack != nil {
		field("unpack", strconv.FormatBool(*c.Unpack))
	}
}
