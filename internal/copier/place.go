package copier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/cairnbuild/cairn/oci/index"
	"github.com/cairnbuild/cairn/oci/tree"
)

// placer builds the layer of one request.
type placer struct {
	r      *Request
	below  *tree.Tree // the real tree below, also with Link
	b      *tree.Builder
	mode   modeChange
	owner  *Owner // of --chown; nil for none
	dest   string // clean and relative to the root
	asDir  bool   // the destination ends in a slash
	now    time.Time
	onto   map[string]int // how many files were copied onto a path that is the destination itself
	result *Result
}

func newPlacer(below *tree.Tree, r *Request) (*placer, error) {
	base := below
	if r.Link {
		base = tree.New()
	}
	p := &placer{r: r, below: below, b: tree.NewBuilder(base), now: r.Now, onto: map[string]int{}, result: &Result{contents: contents{}}}
	var err error
	if p.mode, err = parseMode(r.Chmod); err != nil {
		return nil, err
	}
	if r.Chown != "" {
		owner, err := resolveOwner(base, "--chown", r.Chown)
		if err != nil {
			return nil, err
		}
		p.owner = &owner
	}
	if p.now.IsZero() {
		p.now = time.Now()
	}
	p.now = p.clamp(p.now)
	p.dest, p.asDir = destination(r.Workdir, r.Dest)
	return p, nil
}

// destination joins a destination to the working directory; an empty one is the working directory itself. It is a directory
// when it is written as one: with a slash at its end, or a dot after one.
func destination(workdir, dest string) (clean string, asDir bool) {
	asDir = dest == "" || dest == "." || strings.HasSuffix(dest, "/") || strings.HasSuffix(dest, "/.")
	if !strings.HasPrefix(dest, "/") {
		dest = path.Join("/", workdir, dest)
	}
	clean = rooted(dest)
	return clean, asDir || clean == "."
}

// rooted makes a path clean and relative to the root, as the tree wants it.
func rooted(p string) string {
	if p = strings.TrimPrefix(path.Clean("/"+p), "/"); p == "" {
		return "."
	}
	return p
}

// clamp brings a time into the form that entries have, not after the epoch.
func (c *placer) clamp(t time.Time) time.Time {
	if c.r.Epoch != nil && t.After(*c.r.Epoch) {
		t = *c.r.Epoch
	}
	return t.UTC().Truncate(time.Second)
}

// placeAll places one match.
func (c *placer) placeAll(ctx context.Context, f *found) error {
	if f.unpack {
		done, err := c.unpack(ctx, f)
		if done || err != nil {
			return err
		}
	}
	dest, err := c.prepare(f.match)
	if err != nil {
		return err
	}
	p := placing{placer: c, from: f.from, dest: dest, inodes: map[string]string{}}
	for i := range f.files {
		if err := p.place(ctx, f.at(i)); err != nil {
			return err
		}
	}
	return nil
}

// prepare finds where a match goes, links followed, and makes the directories that are missing on the way.
func (c *placer) prepare(m match) (string, error) {
	parent := c.dest
	if !c.asDir {
		parent = index.Parent(c.dest)
	}
	if _, err := c.mkdir(parent); err != nil {
		return "", err
	}
	dest, exists, err := c.b.ResolveNew(c.dest)
	if err != nil {
		return "", placeError("/"+c.dest, err)
	}
	isDir := m.file.Type == index.Directory
	if !isDir {
		if exists && c.isDir(dest) {
			return index.Join(dest, path.Base(m.name)), nil
		}
		c.onto[dest]++
		return dest, c.mkdirReal(index.Parent(dest))
	}
	if !exists {
		return dest, c.mkdirReal(dest)
	}
	return dest, c.mkdirReal(index.Parent(dest))
}

func (c *placer) isDir(p string) bool {
	n, ok := c.b.Lookup(p)
	return ok && n.Type == index.Directory
}

// mkdir makes a directory of the image with its parents, following links, and returns its real path.
func (c *placer) mkdir(p string) (string, error) {
	real, _, err := c.b.ResolveNew(p)
	if err != nil {
		return "", placeError("/"+p, err)
	}
	return real, c.mkdirReal(real)
}

// mkdirReal does so for a path without links. What is made has the owner of --chown, else 0:0, and 0755 or what an octal
// --chmod says.
func (c *placer) mkdirReal(p string) error {
	mode := uint32(0o755)
	if c.mode.octal != nil {
		mode = *c.mode.octal & 0o777
	}
	return c.mkdirMode(p, mode)
}

func (c *placer) mkdirMode(p string, mode uint32) error {
	owner := Owner{}
	if c.owner != nil {
		owner = *c.owner
	}
	made, err := c.b.MkdirAll(p, mode, owner.UID, owner.GID, c.now)
	if err != nil {
		return placeError("/"+p, err)
	}
	if c.r.Link {
		for _, p := range made {
			c.warnReset(p, mode)
		}
	}
	return nil
}

// placing is one match on its way to dest. inodes remembers the first name of each of its inodes: hard links are kept within a
// match, as in BuildKit, not between sources.
type placing struct {
	*placer
	from   Source
	dest   string
	inodes map[string]string
}

// place puts one item below the destination.
func (c *placing) place(ctx context.Context, it item) error {
	target := path.Join(c.dest, it.rel)
	old, exists := c.b.Lookup(target)
	e := c.attributes(it.Entry)
	e.Path = target
	switch {
	case e.Type == index.Directory:
		return c.placeDir(it, e, old, exists)
	case exists && old.Type == index.Directory:
		return &PlaceError{Path: "/" + target, Why: "cannot replace a directory with a file"}
	case e.Type == index.Regular:
		if first, again := c.inodes[it.Inode]; again && it.Inode != "" {
			e = index.Entry{Path: target, Type: index.Hardlink, Link: first, Offset: -1}
		} else {
			c.inodes[it.Inode] = target
		}
		if err := c.hold(ctx, &e, content{c.from, &it.Entry}); err != nil {
			return err
		}
	}
	return c.put(e, it.Path)
}

// maxAccounts is how large a /etc/passwd or /etc/group may be to be kept in the index.
const maxAccounts = 10 << 20

// hold notes where a file's content is. The files that USER and --chown look names up in keep theirs in the entry.
func (c *placer) hold(ctx context.Context, e *index.Entry, at content) error {
	c.result.contents[e.Path] = at
	if e.Type != index.Regular || e.Size > maxAccounts || e.Path != "etc/passwd" && e.Path != "etc/group" {
		return nil
	}
	r, err := at.from.Open(ctx, *at.entry)
	if err != nil {
		return err
	}
	defer r.Close()
	e.Data, err = io.ReadAll(r)
	return err
}

// placeDir merges a directory into what is there: the match itself only gives its time, a directory below it gives all its
// attributes, one that is only passed through gives its mode.
func (c *placer) placeDir(it item, e index.Entry, old tree.Node, exists bool) error {
	switch {
	case exists && old.Type != index.Directory:
		return &PlaceError{Path: "/" + e.Path, Why: "cannot copy to non-directory", Link: linkOf(old)}
	case e.Path == "." && it.rel == "":
		return nil
	case !exists:
	case it.rel == "":
		keep := old.Entry
		keep.Path, keep.MTime = e.Path, e.MTime
		e = keep
	case it.passed:
		keep := old.Entry
		keep.Path, keep.Mode = e.Path, it.Mode
		e = keep
	}
	e.Opaque = false
	return c.put(e, it.Path)
}

func linkOf(n tree.Node) string {
	if n.Type == index.Symlink {
		return n.Link
	}
	return ""
}

// attributes gives a source's entry the owner, mode and time that it has in the layer.
func (c *placer) attributes(e index.Entry) index.Entry {
	e.Offset, e.Data, e.Opaque = -1, nil, false
	e.MTime = c.clamp(e.MTime)
	if c.owner != nil {
		e.UID, e.GID = c.owner.UID, c.owner.GID
	}
	if e.Type != index.Symlink {
		e.Mode = c.mode.apply(e.Mode, e.Type == index.Directory)
	}
	return e
}

// put adds the entry; source names it where the layer cannot have it.
func (c *placer) put(e index.Entry, source string) error {
	err := c.b.Put(e)
	var name *index.NameError
	if errors.As(err, &name) {
		return fmt.Errorf("copy %q: %w", source, err)
	}
	if err != nil {
		return placeError("/"+e.Path, err)
	}
	return nil
}

// warn adds the remarks that need the whole request.
func (c *placer) warn() {
	for dest, n := range c.onto {
		if n > 1 {
			c.result.Warnings = append(c.result.Warnings, fmt.Sprintf(
				"%d files were copied to %q, each replacing the one before: a directory's name must end in \"/\"", n, "/"+dest))
		}
	}
}

// warnReset says that a directory which --link makes will hide another one's attributes, or replace a link.
func (c *placer) warnReset(p string, mode uint32) {
	n, ok := c.below.Lookup(p)
	if !ok {
		return
	}
	var why string
	switch {
	case n.Type == index.Symlink:
		why = fmt.Sprintf("replaces the symbolic link %q -> %q by a directory", "/"+p, n.Link)
	case n.Type != index.Directory:
		why = fmt.Sprintf("replaces the file %q by a directory", "/"+p)
	case n.Mode != mode || n.UID != 0 || n.GID != 0:
		why = fmt.Sprintf("sets the directory %q from mode %04o, owner %d:%d to %04o, 0:0", "/"+p, n.Mode, n.UID, n.GID, mode)
	default:
		return
	}
	c.result.Warnings = append(c.result.Warnings, "--link "+why+": its layer knows nothing of the layers below")
}

var _ io.Closer = (*Result)(nil)
