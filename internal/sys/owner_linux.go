package sys

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// ChownWorks reports whether this process can give a file to somebody else, found out once by doing so. In a user namespace
// with one id that works only inside of another sandbox that emulates owners: then they need no emulation of our own.
var ChownWorks = sync.OnceValue(func() bool {
	f, err := os.CreateTemp("", "owner-")
	if err != nil {
		return false
	}
	defer f.Close()
	defer os.Remove(f.Name())
	var st unix.Stat_t
	if err := os.Lchown(f.Name(), 1, 1); err != nil {
		return false
	}
	return unix.Lstat(f.Name(), &st) == nil && st.Uid == 1 && st.Gid == 1
})
