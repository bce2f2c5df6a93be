package seccomp

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/sandbox/internal/seccomp/profile"
)

// call is a system call as a filter sees it.
type call struct {
	audit, number uint32
	args          [6]uint64
}

// run is the kernel's interpreter for the instructions that the compiler emits. It checks that every jump is in range.
func run(t *testing.T, program []unix.SockFilter, c call) uint32 {
	t.Helper()
	var data [64]byte
	binary.LittleEndian.PutUint32(data[0:], c.number)
	binary.LittleEndian.PutUint32(data[4:], c.audit)
	for i, a := range c.args {
		binary.LittleEndian.PutUint64(data[16+8*i:], a)
	}
	var acc uint32
	for pc := 0; pc < len(program); pc++ {
		in := program[pc]
		jump := func(yes bool) {
			if yes {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		}
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[in.K:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(acc == in.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump(acc >= in.K)
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			t.Fatalf("instruction %d: unknown code %#x", pc, in.Code)
		}
	}
	t.Fatal("the program has no end")
	return 0
}

const (
	amd64 = unix.AUDIT_ARCH_X86_64
	i386  = unix.AUDIT_ARCH_I386

	// Docker's default set: none of the bits that rules of the profile ask for but CAP_SYS_CHROOT.
	dockerCaps = 1 << unix.CAP_SYS_CHROOT
	adminCaps  = dockerCaps | 1<<unix.CAP_SYS_ADMIN
)

func errno(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }

func TestDefaultAMD64(t *testing.T) {
	if len(profile.Docker()) == 0 || profile.Docker()[0].Audit != amd64 {
		t.Skip("the numbers are amd64's")
	}
	const ok = unix.SECCOMP_RET_ALLOW
	for _, tt := range []struct {
		name        string
		call        call
		plain, root uint32 // with Docker's capabilities, and with CAP_SYS_ADMIN as well
	}{
		{"read", call{amd64, 0, [6]uint64{}}, ok, ok},
		{"chroot", call{amd64, 161, [6]uint64{}}, ok, ok},
		{"mount", call{amd64, 165, [6]uint64{}}, errno(unix.EPERM), ok},
		{"kexec_load", call{amd64, 246, [6]uint64{}}, errno(unix.EPERM), errno(unix.EPERM)},
		{"add_key", call{amd64, 248, [6]uint64{}}, errno(unix.EPERM), errno(unix.EPERM)},
		{"clone of a thread", call{amd64, 56, [6]uint64{0x3d0f00}}, ok, ok},
		{"clone of a user namespace", call{amd64, 56, [6]uint64{unix.CLONE_NEWUSER | 17}}, errno(unix.EPERM), ok},
		{"clone3", call{amd64, 435, [6]uint64{}}, errno(unix.ENOSYS), ok},
		{"unix socket", call{amd64, 41, [6]uint64{unix.AF_UNIX}}, ok, ok},
		{"netlink socket", call{amd64, 41, [6]uint64{unix.AF_NETLINK}}, ok, ok},
		{"AF_ALG socket", call{amd64, 41, [6]uint64{unix.AF_ALG}}, errno(unix.EPERM), errno(unix.EPERM)},
		{"vsock", call{amd64, 41, [6]uint64{unix.AF_VSOCK}}, errno(unix.EPERM), errno(unix.EPERM)},
		{"socket of family 2 with upper bits", call{amd64, 41, [6]uint64{1<<32 | 2}}, errno(unix.EPERM), errno(unix.EPERM)},
		{"personality", call{amd64, 135, [6]uint64{0xffffffff}}, ok, ok},
		{"personality without ASLR", call{amd64, 135, [6]uint64{0x40000}}, errno(unix.EPERM), errno(unix.EPERM)},
		{"x32 read", call{amd64, 0x40000000, [6]uint64{}}, errno(unix.ENOSYS), errno(unix.ENOSYS)},
		{"a call of the future", call{amd64, 900, [6]uint64{}}, errno(unix.ENOSYS), errno(unix.ENOSYS)},
		{"i386 read", call{i386, 3, [6]uint64{}}, ok, ok},
		{"i386 mount", call{i386, 21, [6]uint64{}}, errno(unix.EPERM), ok},
		{"i386 set_thread_area", call{i386, 243, [6]uint64{}}, ok, ok},
		{"arm64 read", call{unix.AUDIT_ARCH_AARCH64, 63, [6]uint64{}}, unix.SECCOMP_RET_KILL_PROCESS, unix.SECCOMP_RET_KILL_PROCESS},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, run(t, Default(dockerCaps), tt.call), tt.plain)
			assert.Equal(t, run(t, Default(adminCaps), tt.call), tt.root)
		})
	}
}

// Every number gets the answer that the rules give when read one after the other.
func TestCompileAgreesWithRules(t *testing.T) {
	for _, caps := range []uint64{0, dockerCaps, adminCaps, ^uint64(0)} {
		program := Default(caps)
		assert.Assert(t, len(program) < 4096, "the kernel's limit: %d", len(program))
		for _, a := range profile.Docker() {
			for n := range a.Last + 3 {
				for _, arg := range []uint64{0, 1, 8, 37, 38, 40, 41, 0x20000, 0x7e020000, 1 << 32, ^uint64(0)} {
					c := call{a.Audit, n, [6]uint64{arg, arg}}
					assert.Equal(t, run(t, program, c), expect(a, caps, c), "call %+v capabilities %#x", c, caps)
				}
			}
		}
	}
}

func expect(a profile.ABI, caps uint64, c call) uint32 {
	for _, unconditional := range []bool{true, false} {
		for _, r := range a.Rules {
			if r.With != 0 && caps>>(r.With-1)&1 == 0 || r.Without != 0 && caps>>(r.Without-1)&1 == 1 {
				continue
			}
			for _, n := range r.Numbers {
				if n == c.number && (len(r.Args) == 0) == unconditional && holds(r.Args, c) {
					if r.Errno != 0 {
						return unix.SECCOMP_RET_ERRNO | r.Errno
					}
					return unix.SECCOMP_RET_ALLOW
				}
			}
		}
	}
	if c.number > a.Last {
		return errno(unix.ENOSYS)
	}
	return errno(unix.EPERM)
}

func holds(conditions []profile.Condition, c call) bool {
	for _, cond := range conditions {
		v := c.args[cond.Arg]
		switch cond.Op {
		case profile.Equal:
			if v != cond.Val {
				return false
			}
		case profile.Less:
			if v >= cond.Val {
				return false
			}
		case profile.MaskedEqual:
			if v&cond.Mask != cond.Val {
				return false
			}
		}
	}
	return true
}

func BenchmarkDefault(b *testing.B) {
	for b.Loop() {
		Default(dockerCaps)
	}
}
