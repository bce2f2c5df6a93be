package sandbox

import (
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"
)

// docs/semantics.md 97: a name server that only the host can reach is replaced.
func TestResolvConf(t *testing.T) {
	for _, tt := range []struct {
		name, etc, systemd string
		host               bool
		want               string
	}{
		{"as it is", "search a\nnameserver 9.9.9.9\n", "", false, "search a\nnameserver 9.9.9.9\n"},
		{"systemd-resolved", "nameserver 127.0.0.53\noptions edns0\n", "nameserver 10.0.0.1\nsearch b\n", false, "nameserver 10.0.0.1\nsearch b\n"},
		{"systemd-resolved in the host's network", "nameserver 127.0.0.53\n", "nameserver 10.0.0.1\n", true, "nameserver 127.0.0.53\n"},
		{"some are local", "nameserver 127.0.0.1\nnameserver 10.0.0.2\nnameserver ::1\n", "nameserver 10.0.0.1\n", false, "nameserver 10.0.0.2\n"},
		{"all are local and nobody knows better", "search a\nnameserver 127.0.0.1\n", "", false, "search a\n"},
		{"comments and odd lines stay", "# nameserver 127.0.0.1\nnameserver fe80::1%eth0\nnameserver\n", "", false,
			"# nameserver 127.0.0.1\nnameserver fe80::1%eth0\nnameserver\n"},
		{"no file", "", "", false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			etc, systemd := filepath.Join(dir, "etc"), filepath.Join(dir, "systemd")
			if tt.etc != "" {
				assert.NilError(t, os.WriteFile(etc, []byte(tt.etc), 0o644))
			}
			if tt.systemd != "" {
				assert.NilError(t, os.WriteFile(systemd, []byte(tt.systemd), 0o644))
			}
			got, err := readResolvConf(etc, systemd, tt.host)
			assert.NilError(t, err)
			assert.Equal(t, string(got), tt.want)
		})
	}
}

func TestHosts(t *testing.T) {
	got := string(Hosts("box", []string{"a:10.0.0.1", "b=10.0.0.2", "c:::1", "d:[fe80::1]", "e=fe80::2"}))
	assert.Equal(t, got, "127.0.0.1\tlocalhost box\n::1\tlocalhost ip6-localhost ip6-loopback\n"+
		"10.0.0.1\ta\n10.0.0.2\tb\n::1\tc\nfe80::1\td\nfe80::2\te\n")
	assert.Equal(t, string(Hosts("", nil)), "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
}
