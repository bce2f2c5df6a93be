package sandbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/sys/user"
	"golang.org/x/sync/errgroup"

	"github.com/cairnbuild/cairn/sandbox/internal/wire"
)

// IDMode says which id map Enter makes.
type IDMode string

// The id modes.
const (
	IDsAuto   IDMode = ""       // the best that works
	IDsSubuid IDMode = "subuid" // the ranges of /etc/subuid and /etc/subgid through newuidmap and newgidmap; root: every id
	IDsOne    IDMode = "one"    // the user's own id alone
)

// IDs is the id map of a user namespace.
type IDs struct {
	Mode MapMode
	// Map names the map, to compare with: its lines "inside outside count", separated by semicolons, of the user ids.
	Map string
}

// MapMode says how much an id map holds.
type MapMode string

// The map modes.
const (
	MapFull MapMode = "full" // more than one id: files can have their true owners
	MapOne  MapMode = "one"  // a single id
)

// CurrentIDs reads the id map that this process lives in. One id counts as many where a sandbox around emulates the others. Without a readable /proc it is the lesser one, with an empty Map.
func CurrentIDs() IDs {
	ranges, err := readMap("/proc/self/uid_map")
	if err != nil {
		return IDs{Mode: MapOne}
	}
	lines := make([]string, len(ranges))
	for i, r := range ranges {
		lines[i] = r.String()
	}
	ids := IDs{Mode: MapFull, Map: strings.Join(lines, ";")}
	if single(ranges) && !emulatedAround() {
		ids.Mode = MapOne
	}
	return ids
}

// idRange is one line of a map.
type idRange struct{ inside, outside, count uint64 }

func (r idRange) String() string { return fmt.Sprintf("%d %d %d", r.inside, r.outside, r.count) }

func single(ranges []idRange) bool { return len(ranges) == 1 && ranges[0].count == 1 }

func readMap(path string) ([]idRange, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var ranges []idRange
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		var r idRange
		if _, err := fmt.Sscan(s.Text(), &r.inside, &r.outside, &r.count); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

// idMap is what is to be written for a new user namespace.
type idMap struct {
	uids, gids []idRange
	tools      bool // through newuidmap and newgidmap
}

// candidates lists the maps to try for a mode, the best first. why is set when the best is missing from an automatic choice.
func candidates(mode IDMode) (maps []idMap, why, err error) {
	one := idMap{
		uids: []idRange{{0, uint64(os.Geteuid()), 1}},
		gids: []idRange{{0, uint64(os.Getegid()), 1}},
	}
	if mode == IDsOne {
		return []idMap{one}, nil, nil
	}
	full, err := fullMap()
	switch {
	case mode == IDsSubuid:
		return []idMap{full}, nil, err
	case err != nil:
		return []idMap{one}, err, nil
	case single(full.uids):
		return []idMap{one}, nil, nil
	}
	return []idMap{full, one}, nil, nil
}

// fullMap is every id there is for root, and the user's ranges for others.
func fullMap() (idMap, error) {
	if os.Geteuid() == 0 {
		uids, err := readMap("/proc/self/uid_map")
		if err != nil {
			return idMap{}, setupError(wire.StageMaps, err)
		}
		gids, err := readMap("/proc/self/gid_map")
		if err != nil {
			return idMap{}, setupError(wire.StageMaps, err)
		}
		return idMap{uids: identity(uids), gids: identity(gids)}, nil
	}
	uids, err := subRanges("/etc/subuid", os.Geteuid())
	if err != nil {
		return idMap{}, err
	}
	gids, err := subRanges("/etc/subgid", os.Getegid())
	return idMap{uids: uids, gids: gids, tools: true}, err
}

// identity maps the ids that exist here onto themselves.
func identity(ranges []idRange) []idRange {
	same := make([]idRange, len(ranges))
	for i, r := range ranges {
		same[i] = idRange{r.inside, r.inside, r.count}
	}
	return same
}

// subRanges maps own to 0 and the user's subordinate ranges, one after the other, to the ids from 1 on.
func subRanges(file string, own int) ([]idRange, error) {
	names := []string{strconv.Itoa(os.Geteuid())}
	if u, err := user.LookupUid(os.Geteuid()); err == nil {
		names = append(names, u.Name)
	}
	subs, err := user.ParseSubIDFileFilter(file, func(s user.SubID) bool {
		return s.Count > 0 && (s.Name == names[0] || s.Name == names[len(names)-1])
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, setupError(wire.StageMaps, err)
	}
	if len(subs) == 0 {
		text := fmt.Sprintf("no range for %s in %s", names[len(names)-1], file)
		return nil, &SetupError{Stage: wire.StageMaps, Text: text}
	}
	ranges := []idRange{{0, uint64(own), 1}}
	next := uint64(1)
	for _, s := range subs {
		ranges = append(ranges, idRange{next, uint64(s.SubID), uint64(s.Count)})
		next += uint64(s.Count)
	}
	return ranges, nil
}

// runTools gives the user namespace of process pid its map.
func (m idMap) runTools(pid int) error {
	var g errgroup.Group // each tool takes milliseconds
	g.Go(func() error { return runMapTool(wire.StageNewuid, "newuidmap", pid, m.uids) })
	g.Go(func() error { return runMapTool(wire.StageNewgid, "newgidmap", pid, m.gids) })
	return g.Wait()
}

// fill has os/exec write the map. An unprivileged user may map its group only after giving up setgroups, which could take
// rights away from it.
func (m idMap) fill(attr *syscall.SysProcAttr) {
	convert := func(ranges []idRange) (maps []syscall.SysProcIDMap) {
		for _, r := range ranges {
			maps = append(maps, syscall.SysProcIDMap{ContainerID: int(r.inside), HostID: int(r.outside), Size: int(r.count)})
		}
		return maps
	}
	attr.UidMappings, attr.GidMappings = convert(m.uids), convert(m.gids)
	attr.GidMappingsEnableSetgroups = !single(m.gids) && !setgroupsDenied()
}

func runMapTool(stage, tool string, pid int, ranges []idRange) error {
	path, err := exec.LookPath(tool)
	if err != nil {
		return &SetupError{Stage: stage, Text: tool + " is not installed"}
	}
	args := []string{strconv.Itoa(pid)}
	for _, r := range ranges {
		args = append(args, strings.Fields(r.String())...)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		return &SetupError{Stage: stage, Text: strings.TrimSpace(fmt.Sprintf("%v: %s", err, bytes.TrimSpace(out)))}
	}
	return nil
}
