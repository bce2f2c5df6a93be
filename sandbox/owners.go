package sandbox

import "github.com/cairnbuild/cairn/internal/owners"

// OwnersMode says how files keep their owners under this id map: on the files themselves where it has the ids, in records
// beside them where there is one id only.
func (ids IDs) OwnersMode() owners.Mode {
	if ids.Mode == MapFull {
		return owners.Chown
	}
	return owners.Record
}
