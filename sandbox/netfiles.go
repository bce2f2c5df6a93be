package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
)

// The resolver configurations of this machine: what programs read, and what systemd-resolved, whose own address is only
// reachable in the host's network, was told itself.
const (
	resolvConf        = "/etc/resolv.conf"
	systemdResolvConf = "/run/systemd/resolve/resolv.conf"
)

// ResolvConf gives the content of the /etc/resolv.conf that a command in the host's network (hostNetwork) or in one of its
// own should see; the caller mounts a file with it. In another network loopback name servers can't be reached: they are
// left out, and when none remains systemd-resolved's are taken. A machine without the file gives an empty one.
func ResolvConf(hostNetwork bool) ([]byte, error) {
	return readResolvConf(resolvConf, systemdResolvConf, hostNetwork)
}

func readResolvConf(path, systemd string, hostNetwork bool) ([]byte, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read name servers: %w", err)
	}
	if hostNetwork {
		return content, nil
	}
	reachable, servers := withoutLoopback(content)
	if servers > 0 {
		return reachable, nil
	}
	if told, err := os.ReadFile(systemd); err == nil {
		if told, servers := withoutLoopback(told); servers > 0 {
			return told, nil
		}
	}
	return reachable, nil
}

// withoutLoopback drops the name servers that are this machine, and counts those that are not.
func withoutLoopback(content []byte) (kept []byte, servers int) {
	for line := range bytes.Lines(content) {
		if fields := strings.Fields(string(line)); len(fields) >= 2 && fields[0] == "nameserver" {
			addr, err := netip.ParseAddr(fields[1])
			if err == nil && addr.Unmap().IsLoopback() {
				continue
			}
			servers++
		}
		kept = append(kept, line...)
	}
	return kept, servers
}

// Hosts gives the content of an /etc/hosts in which localhost and hostname are the loopback interface. extra follow it: each
// is NAME:ADDRESS or NAME=ADDRESS as --add-host takes it, checked by the caller; an IPv6 address may stand in brackets.
func Hosts(hostname string, extra []string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "127.0.0.1\t%s\n", strings.TrimSpace("localhost "+hostname))
	b.WriteString("::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, h := range extra {
		i := max(strings.IndexAny(h, ":="), 0)
		address := strings.TrimSuffix(strings.TrimPrefix(h[i:][min(1, len(h)-i):], "["), "]")
		fmt.Fprintf(&b, "%s\t%s\n", address, h[:i])
	}
	return b.Bytes()
}
