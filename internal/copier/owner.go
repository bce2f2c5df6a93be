package copier

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/cairnbuild/cairn/oci/tree"
	"github.com/moby/sys/user"
)

// Owner is the owner of a file, inside the image.
type Owner struct{ UID, GID int }

// resolveOwner resolves the value of --chown, or of USER for WORKDIR, against /etc/passwd and /etc/group of the tree below.
// "55" is 55:55 and "root" is 0:0 without a look at the files; a user's name gives also its primary group unless one follows
// after a colon. A name that is not there is an *OptionError about option.
func resolveOwner(below *tree.Tree, option, spec string) (Owner, error) {
	name, groupName, _ := strings.Cut(spec, ":")
	if name == "" && groupName == "" {
		return Owner{}, &OptionError{option, spec, "it names no user"}
	}
	uid, gid, err := resolveUser(below.Passwd(), name)
	if err == nil && groupName != "" {
		gid, err = resolveGroup(below.Group(), groupName)
	}
	if err != nil {
		return Owner{}, &OptionError{option, spec, err.Error()}
	}
	return Owner{uid, gid}, nil
}

func resolveUser(passwd []byte, name string) (uid, gid int, err error) {
	if name == "" || name == "root" {
		return 0, 0, nil
	}
	if id, ok, err := numeric(name); ok || err != nil {
		return id, id, err
	}
	users, err := user.ParsePasswdFilter(bytes.NewReader(passwd), func(u user.User) bool { return u.Name == name })
	if err != nil {
		return 0, 0, fmt.Errorf("read /etc/passwd: %w", err)
	}
	if len(users) == 0 {
		return 0, 0, fmt.Errorf("no user %q in the image's /etc/passwd", name)
	}
	return users[0].Uid, users[0].Gid, nil
}

func resolveGroup(group []byte, name string) (int, error) {
	if name == "root" {
		return 0, nil
	}
	if id, ok, err := numeric(name); ok || err != nil {
		return id, err
	}
	groups, err := user.ParseGroupFilter(bytes.NewReader(group), func(g user.Group) bool { return g.Name == name })
	if err != nil {
		return 0, fmt.Errorf("read /etc/group: %w", err)
	}
	if len(groups) == 0 {
		return 0, fmt.Errorf("no group %q in the image's /etc/group", name)
	}
	return groups[0].Gid, nil
}

// numeric reads an id; ok is false for a name.
func numeric(s string) (id int, ok bool, err error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil && strings.Trim(s, "0123456789") != "" {
		return 0, false, nil
	}
	if err != nil || n < 0 || n >= math.MaxUint32 { // the largest means "unchanged" to chown(2)
		return 0, false, fmt.Errorf("id %s is out of range", s)
	}
	return int(n), true, nil
}
