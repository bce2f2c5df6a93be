package tests

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// TestIDCalls: calls that have to do with owners and ids say what they say on a plain Linux, for programs of every ABI, with
// subordinate ids and without. The expectation was written by a kernel with a full id map.
func TestIDCalls(t *testing.T) {
	startCase(t, "userns", "busybox")
	w := newWorld(t)
	w.must("cairn", "load", "-i", busyboxImage(t))
	for _, arch := range abis() {
		t.Run(arch, func(t *testing.T) {
			w := w.on(t)
			w.write(map[string]string{"Dockerfile": idCallsDockerfile})
			if err := goBuild(w.path("idcalls"), "idcalls", "GOARCH="+arch); err != nil {
				t.Fatal(err)
			}
			w.must("cairn", "build", "-t", "me/calls-"+arch, ".")
			got := w.must("cairn", "run", "--rm", "me/calls-"+arch, "cat", "/said").stdout
			golden(t, "testdata/idcalls.golden", got)
		})
	}
}

// abis are the Go names of the architectures whose programs this machine runs.
func abis() []string {
	if runtime.GOARCH == "amd64" {
		return []string{"amd64", "386"}
	}
	return []string{runtime.GOARCH}
}

const idCallsDockerfile = `FROM busybox
COPY --chmod=755 idcalls /bin/
RUN set -e; mkdir /files; \
	idcalls files /files > /said; idcalls ids >> /said; idcalls threads >> /said; \
	mkdir -m 777 /late; idcalls orphan /late/gone; \
	for i in 1 2 3 4 5 6 7 8 9 10; do [ ! -e /late/gone ] || break; sleep 0.2; done; \
	stat -c 'orphan %u:%g' /late/gone >> /said; cat /late/gone >> /said; \
	idcalls peer /tmp/socket >> /said
`

// golden compares with a file, or writes it with UPDATE=1.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	same(t, name, string(want), got)
}

// TestSameLayersWithOneID builds with a subuid range and without and compares the layers.
func TestSameLayersWithOneID(t *testing.T) {
	startCase(t, "subuid", "debian")
	sameWithOneID(t, ownersDockerfile, nil)
}

const ownersDockerfile = `FROM debian AS base
COPY --chmod=755 lsfs /usr/local/bin/
RUN set -e; touch /x; chown 33:44 /x; chmod 6755 /x; cp -a /x /x2; chown 1:2 /x; ln -s a /l; chown -h 7:8 /l; mkfifo /f; chown 9:10 /f; \
	ln /x /xh; cp -a /l /lcp; cp -a /l /l-only-moved; mkdir -m 2775 /sg; chgrp 44 /sg; mkdir /sg/d; touch /sg/f
RUN set -e; test "$(stat -c %u:%g:%a /x2 /l /f | tr '\n' ' ')" = '33:44:6755 7:8:777 9:10:644 '; \
	mv /l /l2; mv /f /f2; ln /l2 /l3; touch -h /lcp; chown 5 /x2; mv -T /l-only-moved /sg/l; touch /sg/f2
RUN set -e; test "$(stat -c %u:%g /l2 /l3 /f2 /lcp /sg/l | tr '\n' ' ')" = '7:8 7:8 9:10 7:8 7:8 '; cp -a /l2 /l4; rm /l3; ln -s b /l3; rm -r /sg/d
RUN useradd -m -u 1234 -s /bin/bash joe && su joe -c 'touch ~/f; mkdir -p ~/d/e; ln -s x ~/l; umask 027; echo hi > ~/g; mkfifo ~/ff'
RUN install -o joe -g www-data -m 4750 /x /usr/local/bin/inst && install -d -o 33 -g 33 /var/www/html && groupadd -r deep && usermod -aG deep joe
RUN set -e; mkdir /t /u; cd /t; touch a b; ln -s a c; chown 100:200 a; chown -h 300:400 c; tar -cf /tar.tar .; tar -C /u -xpf /tar.tar --same-owner; rm /tar.tar
RUN set -e; cp /bin/true /cap; cp /bin/true /cap2; lsfs -grant /cap; lsfs -grant /cap2; chown 3 /cap2; setpriv --reuid 5 --regid 6 --clear-groups touch /tmp/by-5
RUN cd /home/joe && su joe -c '(setsid sh -c "sleep 0.3; mkdir /tmp/orphan" &)' && sleep 0.6 && test "$(stat -c %u /tmp/orphan)" = 1234
USER joe
WORKDIR /home/joe/work
RUN set -e; touch file; mkdir -p a/b; cp -a /l2 .; echo x > /home/joe/x; ! chown root file; test -O file
USER 33:33
RUN touch /tmp/www && test "$(id -u):$(id -g):$(id -G)" = 33:33:33
USER root
RUN mkdir -p /var/local/a/b && touch /var/local/f && chgrp 50 /tmp/www && chroot / /bin/sh -c 'chown 77 /var/local/f && test "$(stat -c %u /var/local/f)" = 77'
`

// TestSamePackagesWithOneID does it with packages that make users, change to them and drop privileges. It takes minutes, and the
// network: set CAIRN_E2E_ALL=1.
func TestSamePackagesWithOneID(t *testing.T) {
	if os.Getenv("CAIRN_E2E_ALL") == "" {
		t.SkipNow()
	}
	startCase(t, "subuid", "debian")
	sameWithOneID(t, packagesDockerfile, regexp.MustCompile(
		`^(etc/machine-id|var/lib/dbus/machine-id|etc/ssh/ssh_host_.*|etc/ssl/.*(snakeoil|\.0$|/[0-9a-f]{8}).*|var/log/.*|var/cache/(ldconfig|apt|debconf)/.*|`+
			`var/lib/postgresql/.*|var/lib/apt/.*|etc/shadow-?|var/lib/systemd/.*|run/.*|var/lib/nginx/.*|root/\.cache/.*)$`))
}

const packagesDockerfile = `FROM debian
RUN apt-get update
RUN apt-get install -y --no-install-recommends redis-server nginx postgresql-15 postgresql-common sudo openssh-server dbus libcap2-bin
RUN set -e; useradd -m joe; echo 'joe ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/joe; chmod 440 /etc/sudoers.d/joe; \
	su joe -c 'sudo install -o www-data -g joe -m 4711 /bin/true /by-sudo'; su joe -c 'sudo -u redis touch /tmp/by-redis'
RUN setcap cap_net_bind_service=ep /by-sudo && getcap /by-sudo | grep -q cap_net_bind_service
RUN set -e; service postgresql start; su postgres -c "psql -c 'create role joe'"; service postgresql stop
`

// sameWithOneID builds a Dockerfile twice, the second time where newuidmap can't be found. The contents of the files that
// unstable matches may differ.
func sameWithOneID(t *testing.T, dockerfile string, unstable *regexp.Regexp) {
	t.Helper()
	w := newWorld(t)
	w.write(map[string]string{"Dockerfile": dockerfile})
	if err := copyFile(lsfsProgram(t), w.path("lsfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.must("cairn", "load", "-i", debianImage(t))
	w.must("cairn", "build", "-t", "me/same", ".")
	want := listLayers(t, w.oci(), "me/same:latest", unstable)

	w.useRoot(w.path("store-one-id"))
	w.must("cairn", "load", "-i", debianImage(t))
	w.env = append(w.env, "PATH="+w.path("empty"))
	root := os.Getuid() == 0
	if root { // needs no newuidmap to map all ids: it has to be asked
		w.env = append(w.env, "CAIRN_IDS=one")
	}
	if o := w.must("cairn", "build", "-t", "me/same", "."); !root && !strings.Contains(o.stderr, "owners are emulated") {
		t.Fatalf("the second build used subordinate ids: %s", o)
	}
	same(t, "layers built with one id", want, listLayers(t, w.oci(), "me/same:latest", unstable))
}

// listLayers lists all layers of an image with everything but times.
func listLayers(t *testing.T, layout, name string, unstable *regexp.Regexp) string {
	t.Helper()
	_, m, err := readManifest(layout, name)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for n := range m.Layers {
		if err := listContents(&b, layout, name, n, unstable); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func listContents(b *strings.Builder, layout, name string, n int, unstable *regexp.Regexp) error {
	layer, err := openLayer(layout, name, n)
	if err != nil {
		return err
	}
	defer layer.Close()
	for r := tar.NewReader(layer); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, r); err != nil {
			return err
		}
		content := fmt.Sprintf("%d %.6x", h.Size, sum.Sum(nil))
		if unstable != nil && unstable.MatchString(filepath.Clean(h.Name)) {
			content = "-"
		}
		fmt.Fprintf(b, "%d %s %c %04o %d:%d %s %s %d:%d", n, h.Name, h.Typeflag, h.Mode, h.Uid, h.Gid, content, h.Linkname, h.Devmajor, h.Devminor)
		for key, value := range h.PAXRecords {
			if strings.HasPrefix(key, "SCHILY.xattr.") {
				fmt.Fprintf(b, " %s=%x", key, value)
			}
		}
		b.WriteByte('\n')
	}
}
