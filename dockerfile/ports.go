package dockerfile

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// portSpec is one EXPOSE argument: [ip:][hostport:]port[-port][/protocol].
type portSpec struct {
	// hostIP and hostPort mean nothing in an image; they are checked and dropped.
	hostIP, hostPort string
	first, last      int
	// protocol as written; tcp when not given.
	protocol string
}

func parsePort(raw string) (portSpec, error) {
	var p portSpec
	parts := strings.Split(raw, ":")
	n := len(parts)
	port := parts[n-1]
	if n > 1 {
		p.hostPort = parts[n-2]
	}
	if n > 2 {
		p.hostIP = strings.Join(parts[:n-2], ":")
	}
	port, p.protocol, _ = strings.Cut(port, "/")
	switch strings.ToLower(p.protocol) {
	case "tcp", "udp", "sctp":
	case "":
		p.protocol = "tcp"
	default:
		return p, fmt.Errorf("invalid port %q: unknown protocol %s", raw, p.protocol)
	}
	if port == "" {
		return p, fmt.Errorf("invalid port %q: no port given", raw)
	}
	if err := checkHostIP(p.hostIP); err != nil {
		return p, fmt.Errorf("invalid port %q: %w", raw, err)
	}
	var err error
	if p.first, p.last, err = portRange(port); err != nil {
		return p, fmt.Errorf("invalid port %q: %w", raw, err)
	}
	if p.hostPort == "" {
		return p, nil
	}
	first, last, err := portRange(p.hostPort)
	if err != nil {
		return p, fmt.Errorf("invalid port %q: host port: %w", raw, err)
	}
	if p.first != p.last && last-first != p.last-p.first {
		return p, fmt.Errorf("invalid port %q: the ranges have different lengths", raw)
	}
	return p, nil
}

func checkHostIP(ip string) error {
	if ip == "" {
		return nil
	}
	if inner, ok := strings.CutPrefix(ip, "["); ok {
		ip = strings.TrimSuffix(inner, "]")
	}
	if _, err := netip.ParseAddr(ip); err != nil {
		return fmt.Errorf("%q is no IP address", ip)
	}
	return nil
}

func portRange(s string) (first, last int, err error) {
	from, to, isRange := strings.Cut(s, "-")
	if first, err = portNumber(from); err != nil {
		return 0, 0, err
	}
	if !isRange {
		return first, first, nil
	}
	if last, err = portNumber(to); err != nil {
		return 0, 0, err
	}
	if last < first {
		return 0, 0, errors.New("the range ends before it starts")
	}
	return first, last, nil
}

func portNumber(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 || n > 65535 {
		return 0, fmt.Errorf("%q is no number from 0 to 65535", s)
	}
	return int(n), nil
}

// ports spells the range out.
func (p portSpec) ports() []string {
	all := make([]string, 0, p.last-p.first+1)
	for n := p.first; n <= p.last; n++ {
		all = append(all, strconv.Itoa(n)+"/"+strings.ToLower(p.protocol))
	}
	return all
}
