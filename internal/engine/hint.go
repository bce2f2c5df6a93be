package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/sys/user"

	"github.com/cairnbuild/cairn/internal/copier"
)

// stepHint is a way out for a step that failed; "" when there is none to tell.
func stepHint(err error) string {
	var place *copier.PlaceError
	var missing *copier.NotFoundError
	var option *copier.OptionError
	var file *fs.PathError
	switch {
	case errors.As(err, &place) && place.Link != "":
		to := place.Link
		if !path.IsAbs(to) {
			to = path.Join("/", path.Dir(place.Path), to)
		}
		return "COPY does not follow links below its destination: copy what belongs there to " + to + "/ by itself"
	case errors.As(err, &missing):
		return missingHint(missing)
	case errors.As(err, &option) && option.Option == "--chown":
		return "make it in an earlier step (useradd, groupadd, or adduser and addgroup), or give numbers"
	case errors.Is(err, user.ErrNoPasswdEntries), errors.Is(err, user.ErrNoGroupEntries):
		return "make it in an earlier step (useradd, groupadd, or adduser and addgroup), or give numbers"
	case errors.Is(err, fs.ErrPermission) && errors.As(err, &file) && !filepath.IsAbs(file.Path):
		return fmt.Sprintf("you may not read it: give yourself the right (chmod), or leave it out of the context with the line %s in .dockerignore", file.Path)
	}
	return ""
}

func missingHint(e *copier.NotFoundError) string {
	switch {
	case e.HiddenBy != "":
		return "take it out of .dockerignore, or add the line !" + strings.TrimPrefix(path.Clean(e.Source), "/")
	case e.Outside:
		return "COPY sees nothing outside of the context: build from a directory above (cairn build -f HERE/Dockerfile ..), " +
			"or name the other directory (--build-context NAME=DIR, and COPY --from=NAME)"
	case e.Link != "":
		return "links are followed inside of the context, absolute ones from its root: copy what is meant by a path that has no such link"
	}
	return ""
}
