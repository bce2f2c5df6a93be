// Command lsfs lists a file system, one line per entry, in a form that two listings can be compared by: type and mode, owner, size, hash of the
// content, link target, hard link group, xattrs, mtime. The tests run it inside cairn, podman and docker and over what umoci unpacked.
// It shares no code with cairn on purpose.
//
//	lsfs [-owners-from-xattr] [-skip PATH]... [-no-mtime] ROOT
//	lsfs -grant FILE     gives the file the capability cap_net_raw+ep, where there is no setcap
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// ownerXattr is where umoci keeps the owner of a file that it could not change the owner of (rootlesscontainers' proto: field 1 uid, field 2 gid).
const ownerXattr = "user.rootlesscontainers"

// netRaw is cap_net_raw+ep as version 2 of the xattr security.capability.
const netRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// stringList is a flag that may be given several times.
type stringList []string

func (l *stringList) String() string     { return strings.Join(*l, " ") }
func (l *stringList) Set(s string) error { *l = append(*l, strings.Trim(s, "/")); return nil }

type lister struct {
	root     string
	skip     []string
	unxattr  bool
	noMtime  bool
	out      *bufio.Writer
	hardlink map[[2]uint64]string
}

func main() {
	var skip stringList
	flag.Var(&skip, "skip", "leave this path out, and everything below it")
	unxattr := flag.Bool("owners-from-xattr", false, "take owners from "+ownerXattr)
	grant := flag.Bool("grant", false, "give the file cap_net_raw+ep instead")
	noMtime := flag.Bool("no-mtime", false, "leave mtimes out")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if *grant {
		if err := syscall.Setxattr(flag.Arg(0), "security.capability", []byte(netRaw), 0); err != nil {
			fmt.Fprintln(os.Stderr, "lsfs: grant:", err)
			os.Exit(1)
		}
		return
	}
	l := lister{
		root: flag.Arg(0), skip: skip, unxattr: *unxattr, noMtime: *noMtime,
		out: bufio.NewWriter(os.Stdout), hardlink: map[[2]uint64]string{},
	}
	err := filepath.WalkDir(l.root, l.visit)
	if err := errors.Join(err, l.out.Flush()); err != nil {
		fmt.Fprintln(os.Stderr, "lsfs:", err)
		os.Exit(1)
	}
}

func (l *lister) visit(p string, d fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(l.root, p)
	if err != nil {
		return err
	}
	if slices.Contains(l.skip, rel) {
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	}
	line, err := l.line(p, rel)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(l.out, line)
	return err
}

func (l *lister) line(p, rel string) (string, error) {
	var st syscall.Stat_t
	if err := syscall.Lstat(p, &st); err != nil {
		return "", &os.PathError{Op: "lstat", Path: p, Err: err}
	}
	xattrs, err := readXattrs(p)
	if err != nil {
		return "", err
	}
	uid, gid := uint64(st.Uid), uint64(st.Gid)
	if l.unxattr {
		uid, gid = 0, 0
		if v, ok := xattrs[ownerXattr]; ok {
			uid, gid = decodeOwner([]byte(v))
		}
	}
	delete(xattrs, ownerXattr)
	f := []string{fmt.Sprintf("%q", rel), kind(st.Mode), fmt.Sprintf("%04o", st.Mode&0o7777), fmt.Sprintf("%d:%d", uid, gid)}
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		sum, err := hash(p)
		if err != nil {
			return "", err
		}
		f = append(f, fmt.Sprint(st.Size), sum)
		if st.Nlink > 1 {
			key := [2]uint64{uint64(st.Dev), st.Ino}
			if _, ok := l.hardlink[key]; !ok {
				l.hardlink[key] = rel
			}
			f = append(f, fmt.Sprintf("inode=%q", l.hardlink[key]))
		}
	case syscall.S_IFLNK:
		target, err := os.Readlink(p)
		if err != nil {
			return "", err
		}
		f[2] = "-" // the mode of a link means nothing
		f = append(f, fmt.Sprintf("-> %q", target))
	case syscall.S_IFCHR, syscall.S_IFBLK:
		f = append(f, fmt.Sprintf("dev=%#x", st.Rdev))
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFDIR && !l.noMtime { // a container runtime touches directories when it mounts into them
		f = append(f, fmt.Sprintf("mtime=%d", st.Mtim.Sec))
	}
	names := make([]string, 0, len(xattrs))
	for name := range xattrs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f = append(f, name+"="+hex.EncodeToString([]byte(xattrs[name])))
	}
	return strings.Join(f, " "), nil
}

func kind(mode uint32) string {
	switch mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		return "file"
	case syscall.S_IFDIR:
		return "dir"
	case syscall.S_IFLNK:
		return "link"
	case syscall.S_IFCHR:
		return "char"
	case syscall.S_IFBLK:
		return "block"
	case syscall.S_IFIFO:
		return "fifo"
	default:
		return "other"
	}
}

func hash(p string) (string, error) {
	f, err := os.Open(p)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:12]), nil
}

// readXattrs gives the xattrs that an image can carry: user.* and the file capability. Links can't be asked without following them, and have none.
func readXattrs(p string) (map[string]string, error) {
	xattrs := map[string]string{}
	st, err := os.Lstat(p)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() && !st.IsDir() {
		return xattrs, nil
	}
	size, err := syscall.Listxattr(p, nil)
	if errors.Is(err, syscall.ENOTSUP) || size == 0 {
		return xattrs, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "listxattr", Path: p, Err: err}
	}
	list := make([]byte, size)
	if size, err = syscall.Listxattr(p, list); err != nil {
		return nil, &os.PathError{Op: "listxattr", Path: p, Err: err}
	}
	for _, name := range strings.Split(strings.TrimRight(string(list[:size]), "\x00"), "\x00") {
		if !strings.HasPrefix(name, "user.") && name != "security.capability" || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := syscall.Getxattr(p, name, value)
		if err != nil {
			return nil, &os.PathError{Op: "getxattr " + name, Path: p, Err: err}
		}
		xattrs[name] = string(value[:n])
	}
	return xattrs, nil
}

// decodeOwner reads the two varints of the rootlesscontainers message.
func decodeOwner(b []byte) (uid, gid uint64) {
	for len(b) > 0 {
		field := b[0] >> 3
		b = b[1:]
		var v uint64
		for shift := 0; len(b) > 0; shift += 7 {
			c := b[0]
			b = b[1:]
			v |= uint64(c&0x7f) << shift
			if c < 0x80 {
				break
			}
		}
		if v == 1<<32-1 { // the format's word for "as it is"
			v = 0
		}
		switch field {
		case 1:
			uid = v
		case 2:
			gid = v
		}
	}
	return uid, gid
}
