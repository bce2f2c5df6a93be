package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
)

func TestOutcome(t *testing.T) {
	for _, tt := range []struct {
		in     string
		ready  bool
		failed bool
	}{
		{"", false, false},
		{`{"ready":true}`, true, false},
		{`{"ready":true}{"failed":{"stage":"exec"}}`, true, true},
		{`{"failed":{"stage":"exec"}}`, false, true},
		{`{"ready":tr`, false, false},
		{"\x00garbage", false, false},
		{`{"ready":true}` + strings.Repeat(" ", maxReports) + `{"failed":{}}`, true, false},
	} {
		ready, failed := Outcome(strings.NewReader(tt.in))
		assert.Equal(t, ready, tt.ready, tt.in)
		assert.Equal(t, failed != nil, tt.failed, tt.in)
	}
}

func TestNewFailed(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Failed
	}{
		{&os.PathError{Op: "open", Path: "/x", Err: syscall.ENOENT}, Failed{Op: "open", Path: "/x", Errno: syscall.ENOENT}},
		{fmt.Errorf("copy: %w", os.NewSyscallError("dup3", syscall.EBADF)), Failed{Op: "dup3", Errno: syscall.EBADF}},
		{errors.New("no command"), Failed{Text: "no command"}},
		{syscall.EPERM, Failed{Errno: syscall.EPERM}},
		{&os.PathError{Op: "mount", Path: "overlay", Err: fmt.Errorf("%w (why)", syscall.EINVAL)},
			Failed{Op: "mount", Path: "overlay", Errno: syscall.EINVAL, Text: "invalid argument (why)"}},
	} {
		tt.want.Stage = "stage"
		got := NewFailed("stage", tt.err)
		assert.DeepEqual(t, *got, tt.want)
		b, err := json.Marshal(got)
		assert.NilError(t, err)
		var back Failed
		assert.NilError(t, json.Unmarshal(b, &back))
		assert.DeepEqual(t, back, tt.want)
	}
}

func TestFilter(t *testing.T) {
	want := []unix.SockFilter{{Code: 1, Jt: 2, Jf: 3, K: 4}, {Code: 0xffff, Jt: 0xff, K: 0xffffffff}}
	got, err := UnpackFilter(PackFilter(want))
	assert.NilError(t, err)
	assert.DeepEqual(t, got, want)
	_, err = UnpackFilter(make([]byte, 7))
	assert.ErrorContains(t, err, "broken")
}

// A child's words are no threat to its parent, whoever has taken it over.
func FuzzOutcome(f *testing.F) {
	f.Add([]byte(`{"ready":true}{"failed":{"stage":"exec","errno":2}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		Outcome(strings.NewReader(string(b)))
	})
}
