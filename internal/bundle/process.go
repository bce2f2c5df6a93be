package bundle

import (
	"bytes"

	"github.com/moby/sys/user"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/oci/tree"
	"github.com/cairnbuild/cairn/sandbox"
)

// AsUser completes a process with the ids of a user, as USER and `docker run --user` name one: NAME or UID, with :GROUP
// or :GID or without, looked up in the passwd and group files of the tree; empty is root. The environment keeps the
// last of equal variables, and gets a PATH where it has none, and the user's HOME where that is missing or empty, as
// runc sees to it.
func AsUser(p sandbox.Process, t *tree.Tree, name string) (sandbox.Process, error) {
	passwd, group := bytes.NewReader(t.Passwd()), bytes.NewReader(t.Group())
	u, err := user.GetExecUser(name, &user.ExecUser{Home: "/"}, passwd, group)
	if err != nil {
		return p, err // it names the user
	}
	p.UID, p.GID, p.Groups = uint32(u.Uid), uint32(u.Gid), nil
	for _, g := range u.Sgids {
		p.Groups = append(p.Groups, uint32(g))
	}
	env := dockerfile.NewVars(p.Env)
	if home, _ := env.Get("HOME"); home == "" {
		env = env.With("HOME", u.Home)
	}
	p.Env = env.Slice()
	if _, ok := env.Get("PATH"); !ok {
		p.Env = append([]string{"PATH=" + dockerfile.DefaultPath}, p.Env...)
	}
	return p, nil
}
