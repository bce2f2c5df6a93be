package layer_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/oci/layer"
)

// What symbolic links can cost whoever walks through them. Without the bounds the first of these takes gigabytes and minutes.
func TestHostileLinks(t *testing.T) {
	chain := func(n int, target func(next string) string) [][3]string {
		var all [][3]string
		for i := range n {
			all = append(all, [3]string{soft, fmt.Sprint("l", i), target(fmt.Sprint("l", i+1))})
		}
		return append(all, [3]string{directory, fmt.Sprint("l", n)}, [3]string{directory, "d"}, [3]string{file, "l0/f", "x"})
	}
	plain := func(next string) string { return next }
	for name, c := range map[string]struct {
		tar  [][3]string
		want string
	}{
		"a megabyte of slashes": {[][3]string{{soft, "l", strings.Repeat("/", 1<<20-200)}, {file, "l/f", "x"}}, "target of 1048376 bytes, where 4095 are possible"},
		"one byte too many":     {[][3]string{{soft, "l", strings.Repeat("x", 4096)}}, "where 4095 are possible"},
		"too many links":        {chain(41, plain), syscall.ELOOP.Error()},
		"links that double":     {chain(41, func(next string) string { return next + "/../" + next }), syscall.ELOOP.Error()},
		"links of many names":   {chain(39, func(next string) string { return strings.Repeat("d/../", 800) + next }), syscall.ELOOP.Error()},
		"a megabyte of names":   {[][3]string{{file, strings.Repeat("x/", 1<<19-100) + "y", ""}}, "where 4095 are possible"},
		"as many as are right":  {chain(40, plain), ""},
	} {
		t.Run(name, func(t *testing.T) {
			ix, err := layer.Read(t.Context(), bytes.NewReader(foreign(t, c.tar...)), layer.ReadOptions{})
			if c.want == "" {
				assert.NilError(t, err)
				_, ok := ix.Find("l40/f")
				assert.Assert(t, ok)
				return
			}
			assert.ErrorContains(t, err, c.want)
			assert.Assert(t, len(err.Error()) < 500, "%d bytes of message", len(err.Error()))
		})
	}
}

// Many names that all lead through one long link cost more time than their own length says: that is counted, too.
func TestLinksThatManyNamesLeadThrough(t *testing.T) {
	entries := [][3]string{{directory, "d"}, {soft, "l", strings.Repeat("d/../", 800) + "d"}}
	for i := range 100 {
		entries = append(entries, [3]string{file, fmt.Sprint("l/", i), ""})
	}
	data := foreign(t, entries...)
	read := func(limit int64) error {
		_, err := layer.ReadWithin(t.Context(), bytes.NewReader(data), layer.ReadOptions{}, limit)
		return err
	}
	assert.NilError(t, read(1<<20))
	assert.ErrorContains(t, read(200<<10), "lead through symbolic links too often")
}

// A hard link may lead to another that comes later in the tar, or to one of a layer below, but not on and on.
func TestChainOfHardLinks(t *testing.T) {
	chain := func(n int) [][3]string {
		var all [][3]string
		for i := range n {
			all = append(all, [3]string{link, fmt.Sprint("h", i), fmt.Sprint("h", i+1)})
		}
		return all
	}
	_, err := layer.Read(t.Context(), bytes.NewReader(foreign(t, chain(30)...)), layer.ReadOptions{})
	assert.NilError(t, err)
	_, err = layer.Read(t.Context(), bytes.NewReader(foreign(t, chain(20000)...)), layer.ReadOptions{})
	assert.ErrorContains(t, err, "one after the other")
	backwards := [][3]string{{link, "b0", "below"}}
	for i := range 1000 {
		backwards = append(backwards, [3]string{link, fmt.Sprint("b", i+1), fmt.Sprint("b", i)})
	}
	ix, err := layer.Read(t.Context(), bytes.NewReader(foreign(t, backwards...)), layer.ReadOptions{})
	assert.Assert(t, err == nil || errors.Is(err, layer.ErrLoose), "%v", err)
	assert.Equal(t, ix.Len(), 1001)
}
