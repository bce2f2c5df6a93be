package copier

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"syscall"
)

// NotFoundError says that a source of COPY, not a wildcard, is not there.
type NotFoundError struct {
	// Source is the source as written.
	Source string
	// Nearest is the existing path most like it, or empty.
	Nearest string
	// HiddenBy is the .dockerignore pattern that hides it, or empty.
	HiddenBy string
	// Link is the target of the symbolic link LinkPath, which is on the way to Source and leads nowhere; both empty without one.
	Link, LinkPath string
	// Outside says that Source leads out of the context.
	Outside bool
}

func (e *NotFoundError) Error() string {
	msg := fmt.Sprintf("source %q not found", e.Source)
	switch {
	case e.HiddenBy != "":
		msg += fmt.Sprintf(": it is excluded by the .dockerignore pattern %q", e.HiddenBy)
	case e.Outside:
		msg += ": it is outside of the context"
	case e.Link != "" && path.Clean("/"+e.LinkPath) == path.Clean("/"+e.Source):
		msg += fmt.Sprintf(": it is a symbolic link to %q, which is not there", e.Link)
	case e.Link != "":
		msg += fmt.Sprintf(": %q is a symbolic link to %q, which is not there", e.LinkPath, e.Link)
	case e.Nearest != "":
		msg += fmt.Sprintf(", did you mean %q?", e.Nearest)
	}
	return msg
}

// Is makes a NotFoundError an fs.ErrNotExist.
func (e *NotFoundError) Is(target error) bool { return target == fs.ErrNotExist }

// PlaceError says why something cannot be placed in the image.
type PlaceError struct {
	// Path is absolute in the image.
	Path string
	// Why is a phrase, such as "cannot copy to non-directory".
	Why string
	// Link is the target of the symbolic link that is in the way, if one is.
	Link string
	Err  error
}

func (e *PlaceError) Error() string {
	msg := fmt.Sprintf("%s: %q", e.Why, e.Path)
	if e.Link != "" {
		msg += fmt.Sprintf(" is a symbolic link to %q in the image", e.Link)
	}
	return msg
}

func (e *PlaceError) Unwrap() error { return e.Err }

// placeError words an error of the tree for a destination.
func placeError(dest string, err error) error {
	why := "cannot place"
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		why = "cannot create directory, something on the way is a file"
	case errors.Is(err, syscall.ELOOP):
		why = "too many symbolic links"
	default:
		return fmt.Errorf("place %q: %w", dest, err)
	}
	return &PlaceError{Path: dest, Why: why, Err: err}
}

// OptionError says that a flag's value cannot be understood.
type OptionError struct {
	// Option is the flag, such as "--chmod".
	Option, Value, Why string
}

func (e *OptionError) Error() string {
	return fmt.Sprintf("invalid %s %q: %s", e.Option, e.Value, e.Why)
}
