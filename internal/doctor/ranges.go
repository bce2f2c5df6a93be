package doctor

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// rangeSize is how many subordinate ids a user is given.
const rangeSize = 65536

// subRange is one line of /etc/subuid or /etc/subgid.
type subRange struct {
	owner        string
	first, count uint64
}

func (r subRange) overlaps(o subRange) bool {
	return r.first < o.first+o.count && o.first < r.first+r.count
}

// readRanges reads such a file; a line that is none is left out, as the tools do.
func readRanges(file string) []subRange {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var all []subRange
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		f := strings.Split(strings.TrimSpace(s.Text()), ":")
		if len(f) != 3 {
			continue
		}
		first, err1 := strconv.ParseUint(f[1], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 == nil && err2 == nil && count > 0 {
			all = append(all, subRange{f[0], first, count})
		}
	}
	return all
}

// freeRange finds rangeSize ids that nobody has.
func (m *Machine) freeRange() uint64 {
	first := uint64(100000)
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		for _, r := range m.subRanges(file) {
			first = max(first, r.first+r.count)
		}
	}
	return first
}

// shared names another user whose subordinate ids are also the user's; "" when there is none.
func (m *Machine) shared() string {
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		all := m.subRanges(file)
		for _, mine := range all {
			if !m.mine(mine) {
				continue
			}
			i := slices.IndexFunc(all, func(r subRange) bool { return !m.mine(r) && r.overlaps(mine) })
			if i >= 0 {
				return fmt.Sprintf("%s in %s", all[i].owner, file)
			}
		}
	}
	return ""
}

func (m *Machine) mine(r subRange) bool { return r.owner == m.User || r.owner == strconv.Itoa(m.UID) }

// ranges are the user's in a file, as text.
func (m *Machine) ranges(file string) string {
	var list []string
	for _, r := range m.subRanges(file) {
		if m.mine(r) {
			list = append(list, fmt.Sprintf("%d-%d", r.first, r.first+r.count-1))
		}
	}
	return strings.Join(list, ", ")
}
