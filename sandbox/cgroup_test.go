package sandbox

import (
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"
)

func TestFindCgroup(t *testing.T) {
	const (
		unified = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
		hybrid  = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		part    = "31 23 0:28 /user.slice /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n"
	)
	for _, tt := range []struct{ name, mounts, member, want, err string }{
		{"unified", unified, "0::/user.slice/x.scope\n", "/sys/fs/cgroup/user.slice/x.scope", ""},
		{"root", unified, "0::/\n", "/sys/fs/cgroup", ""},
		{"hybrid", hybrid, "4:memory:/a\n1:name=systemd:/b\n0::/c\n", "/sys/fs/cgroup/unified/c", ""},
		{"a part is mounted", part, "0::/user.slice/x\n", "/sys/fs/cgroup/x", ""},
		{"another part is mounted", part, "0::/system.slice/x\n", "", "no version 2 cgroup is mounted"},
		{"version 1", hybrid, "4:memory:/a\n", "", "only version 1"},
		{"not mounted", "", "0::/c\n", "", "no version 2 cgroup is mounted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := findCgroup([]byte(tt.mounts), []byte(tt.member))
			if tt.err != "" {
				assert.ErrorContains(t, err, tt.err)
				return
			}
			assert.NilError(t, err)
			assert.Equal(t, got, tt.want)
		})
	}
}

func TestCgroupSettings(t *testing.T) {
	values := map[string]string{}
	for _, s := range (Resources{Memory: 64 << 20, CPUs: 1.5, PIDs: 100}).controllers() {
		values[s.file] = s.value
	}
	assert.DeepEqual(t, values, map[string]string{
		"memory.max": "67108864", "memory.swap.max": "67108864", "memory.oom.group": "1", "cpu.max": "150000 100000", "pids.max": "100",
	})
	assert.Equal(t, Resources{CPUs: 0.001}.controllers()[0].value, "1000 100000") // the kernel's least
	assert.Equal(t, len(Resources{}.controllers()), 0)
	g, err := newCgroup(Resources{})
	assert.NilError(t, err)
	assert.Assert(t, g == nil && g.remove() == nil && !g.outOfMemory())
}

func TestCgroupWithoutController(t *testing.T) {
	base := t.TempDir()
	assert.NilError(t, os.WriteFile(filepath.Join(base, "cgroup.controllers"), []byte("cpuset cpu io\n"), 0o644))
	assert.NilError(t, os.WriteFile(filepath.Join(base, "cgroup.subtree_control"), nil, 0o644))
	_, err := makeCgroup(base, "step", Resources{CPUs: 1, Memory: 1 << 30})
	assert.ErrorContains(t, err, base+" has no memory controller")
	_, err = os.Stat(filepath.Join(base, "step"))
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.NilError(t, enable(base, (Resources{CPUs: 1}).controllers()))
	data, err := os.ReadFile(filepath.Join(base, "cgroup.subtree_control"))
	assert.NilError(t, err)
	assert.Equal(t, string(data), "+cpu")
}
