package store

import (
	"io/fs"
	"path/filepath"
	"syscall"
)

// diskUsage is what a file, or a directory with all in it, takes up on the disk, as far as this process may look.
func diskUsage(path string) int64 {
	var total int64
	filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // not readable or just removed: it does not count
		}
		info, err := e.Info()
		if err != nil {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && (st.Nlink == 1 || e.IsDir()) {
			total += st.Blocks * 512
		}
		return nil
	})
	return total
}
