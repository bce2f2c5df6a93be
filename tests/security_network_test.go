package tests

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestNetworks: what of the host's network each --network lets a RUN and a container reach.
func TestNetworks(t *testing.T) {
	startCase(t, "userns", "busybox")
	w := newWorld(t)
	w.attackImage()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("hello"))
			c.Close()
		}
	}()
	victim := "dial=" + l.Addr().String()
	w.write(map[string]string{"ctx/Dockerfile": "FROM attack\nRUN [\"/attack\", \"" + victim + "\"]\n"})
	reach := func(t *testing.T, want bool, network string) {
		t.Helper()
		for _, argv := range [][]string{
			{"cairn", "run", "--rm", "--network", network, "attack", "/attack", victim},
			{"cairn", "build", "--no-cache", "--progress=plain", "--network", network, "ctx"},
		} {
			o := w.on(t).try(argv...)
			if harm, tried := verdicts(o.stdout + o.stderr)["dial"]; !tried || harm != want {
				t.Errorf("%s: the host's loopback service is reached: %v, want %v: %s", argv[1], harm, want, o)
			}
		}
	}
	t.Run("host", func(t *testing.T) { reach(t, true, "host") })
	t.Run("none", func(t *testing.T) { reach(t, false, "none") })
	f, tunErr := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if tunErr == nil {
		f.Close()
	}
	for _, program := range []string{"pasta", "slirp4netns"} {
		t.Run(program, func(t *testing.T) {
			found, err := exec.LookPath(program)
			if err != nil {
				t.Skip(err)
			}
			// Only this one, and what the user namespace needs.
			bin := w.path("only-" + program)
			if err := os.Mkdir(bin, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{found, "newuidmap", "newgidmap"} {
				if p, err := exec.LookPath(name); err == nil {
					if err := os.Symlink(p, filepath.Join(bin, filepath.Base(name))); err != nil {
						t.Fatal(err)
					}
				}
			}
			w := w.on(t)
			w.env = append(w.env[:len(w.env):len(w.env)], "PATH="+bin)
			if tunErr != nil {
				w.fails([]string{"/dev/net/tun", "private network"}, "cairn", "run", "--rm", "--network", "private", "attack", "/attack", victim)
				w.fails([]string{"/dev/net/tun", "private network"}, "cairn", "build", "--no-cache", "--network", "private", "ctx")
				return
			}
			for _, argv := range [][]string{
				{"cairn", "run", "--rm", "--network", "private", "attack", "/attack", victim},
				{"cairn", "build", "--no-cache", "--progress=plain", "--network", "private", "ctx"},
			} {
				o := w.try(argv...)
				if harm, tried := verdicts(o.stdout + o.stderr)["dial"]; !tried || harm {
					t.Errorf("%s: %s", argv[1], o)
				}
			}
			links := w.must("cairn", "run", "--rm", "--network", "private", "attack", "ip", "-o", "addr").stdout
			if strings.Count(links, "inet ") < 2 || !strings.Contains(links, "127.0.0.1/8") {
				t.Errorf("no loopback, or no way out: %s", links)
			}
		})
	}
	t.Run("nothing installed", func(t *testing.T) {
		if tunErr != nil {
			t.Skip(tunErr)
		}
		w := w.on(t)
		bin := w.path("empty")
		if err := os.Mkdir(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		w.env = append(w.env, "PATH="+bin)
		w.fails([]string{"neither pasta", "slirp4netns"}, "cairn", "run", "--rm", "--network", "private", "attack", "true")
	})
}
