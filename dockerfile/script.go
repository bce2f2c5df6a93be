package dockerfile

import (
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// scriptDir is where a heredoc with a shebang is mounted, read-only, while its RUN executes.
const scriptDir = "/dev/pipes"

// Script is what a RUN really executes.
type Script struct {
	// Args is the command line with the shell in front where there is one.
	Args []string
	// File, when not nil, is a heredoc that starts with "#!": it has to exist, with mode 0755, read-only and outside the
	// layer, at File.Path while the command runs.
	File *ScriptFile
}

// ScriptFile is a heredoc as a program.
type ScriptFile struct {
	// Path is absolute, in a directory that holds nothing else.
	Path    string
	Content string
}

// defaultShell is what runs shell forms where the image names no shell.
var defaultShell = []string{"/bin/sh", "-c"}

// WithShell returns the command line that runs c: for the shell form with shell (nil: /bin/sh -c) in front of the
// arguments, joined to one string. CMD and ENTRYPOINT in an image's config are this. An empty exec form gives an empty, non-nil
// slice for CMD and nil for ENTRYPOINT, which is what clears them.
func (c Command) WithShell(shell []string) []string {
	if !c.Shell {
		return c.Args
	}
	return withShell(shell, c.Args)
}

func withShell(shell, args []string) []string {
	if len(shell) == 0 {
		shell = defaultShell
	}
	return append(slices.Clone(shell), strings.Join(args, " "))
}

// Script returns what a RUN executes with the given shell (nil: /bin/sh -c). A line that is nothing but one heredoc is run as
// the heredoc's text, or as a program where that text starts with "#!"; in a line with more than that the heredocs are put
// back behind the line, for the shell to deal with. Variables in them are never expanded here.
func (c Command) Script(shell []string) (Script, error) {
	if len(c.Heredocs) == 0 {
		return Script{Args: c.WithShell(shell)}, nil
	}
	if len(c.Args) != 1 || !c.Shell {
		return Script{}, errors.New("heredocs need the shell form")
	}
	doc, only := c.onlyHeredoc()
	if !only {
		var b strings.Builder
		b.WriteString(c.Args[0])
		for _, doc := range c.Heredocs {
			b.WriteString("\n" + doc.Content + doc.Name)
		}
		return Script{Args: withShell(shell, []string{b.String()})}, nil
	}
	content := doc.Content
	if doc.Chomp {
		content = parser.ChompHeredocContent(content)
	}
	if !strings.HasPrefix(content, "#!") {
		return Script{Args: withShell(shell, []string{content})}, nil
	}
	file := &ScriptFile{Path: path.Join(scriptDir, doc.Name), Content: content}
	return Script{Args: withShell(shell, []string{file.Path}), File: file}, nil
}

// onlyHeredoc returns the heredoc of a line that is nothing but that heredoc's delimiter.
func (c Command) onlyHeredoc() (Heredoc, bool) {
	if len(c.Heredocs) == 0 || len(c.Args) != 1 || parser.MustParseHeredoc(c.Args[0]) == nil {
		return Heredoc{}, false
	}
	return c.Heredocs[0], true
}
