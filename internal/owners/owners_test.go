package owners

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

func TestRecordRoundTrip(t *testing.T) {
	for _, o := range []Owner{
		{}, {UID: 1000}, {GID: 42}, {UID: 65534, GID: 4294967294},
		{Device: &Device{Major: 1, Minor: 3}}, {UID: 1, Device: &Device{Block: true, Major: 8, Minor: 1 << 19}},
	} {
		got, err := Decode(o.Encode())
		assert.NilError(t, err)
		assert.DeepEqual(t, got, o)
	}
}

func TestRecordIsWhatOtherToolsWrite(t *testing.T) {
	// protobuf of rootlesscontainers.Resource{Uid: 1000, Gid: 4294967295 ("leave it")}
	want := "\x08\xe8\x07\x10\xff\xff\xff\xff\x0f"
	assert.Equal(t, string(Owner{UID: 1000}.Encode()), want)
	got, err := Decode([]byte(want + "\x1a\x03abc\x25\x00\x00\x00\x00\x29\x00\x00\x00\x00\x00\x00\x00\x00")) // and fields to come
	assert.NilError(t, err)
	assert.DeepEqual(t, got, Owner{UID: 1000})
	got, err = Decode(nil) // proto3: both fields 0
	assert.NilError(t, err)
	assert.Assert(t, got.IsZero())
}

func TestDecodeRefuses(t *testing.T) {
	for _, v := range []string{"\x08", "\x80", "\x1a\x05ab", "\x0b", "\x25\x00"} {
		_, err := Decode([]byte(v))
		assert.Assert(t, errors.Is(err, errRecord), "%q", v)
	}
}

func TestTableFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "owners")
	_, err := LoadTable(file)
	assert.Assert(t, errors.Is(err, fs.ErrNotExist))
	want := NewTable()
	want.Set("usr/b", Owner{UID: 1})
	want.Set("a \n\"\xff", Owner{GID: 2})
	want.Set("dev/x", Owner{Device: &Device{Major: 1, Minor: 2}})
	want.Set("gone", Owner{UID: 1})
	want.Set("gone", Owner{})
	assert.NilError(t, want.Save(file))
	data, err := os.ReadFile(file)
	assert.NilError(t, err)
	assert.Equal(t, string(data), `{"raw":"YSAKIv8=","gid":2}
{"path":"dev/x","device":{"major":1,"minor":2}}
{"path":"usr/b","uid":1}
`)
	got, err := LoadTable(file)
	assert.NilError(t, err)
	assert.Equal(t, got.Len(), 3)
	for path, o := range want.m {
		assert.DeepEqual(t, got.Get(path), o)
	}
	assert.Assert(t, got.Get("gone").IsZero())
	assert.Assert(t, (*Table)(nil).Get("x").IsZero())
	for _, bad := range []string{"{}\n", "nonsense\n", `{"path":1}` + "\n", strings.Repeat("x", maxLine+1)} {
		assert.NilError(t, os.WriteFile(file, []byte(bad), 0o600))
		_, err := LoadTable(file)
		assert.Assert(t, err != nil, "%.20q", bad)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Owner{UID: 5, Device: &Device{Block: true, Major: 7}}.Encode())
	f.Fuzz(func(t *testing.T, value []byte) {
		o, err := Decode(value)
		if err != nil {
			return
		}
		again, err := Decode(o.Encode())
		assert.NilError(t, err)
		assert.DeepEqual(t, again, o)
	})
}
