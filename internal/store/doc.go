// Package store is the data directory: images and their blobs, layers in their forms, step records, locks and garbage
// collection.
//
//	oci/               an OCI image layout with every image and blob
//	layers/<id>/       layer.json, the index, the owner records, and one dir.<form> for each id map a directory was made under
//	names/<digest>     the id of the layer that has this diffID, content id or blob
//	steps/<2>/<key>    step records, and hints beside them
//	locks/             lock files
//	tmp/<random>/      temporary directories; one that nobody has locked is garbage
//
// Any number of processes use a store at once, and each may be killed at any instant. So:
//
//   - A file is written under tmp and renamed to its name. What only a power cut can damage (an index, a record, a directory)
//     is not synced but recognised: by its checksum, by not being JSON, or by the boot id that it carries until Sync.
//   - index.json alone must not be lost. It is written under a lock, synced, and only after every blob it leads to.
//   - What is in use is locked shared: a blob, a layer's directory. The collector locks what it removes exclusively without
//     waiting, and leaves what it cannot lock. Locks are flocks on the thing itself, so none outlives its owner.
//   - All but index.json and the blobs it leads to may be missing or damaged at any time: that is an error for which
//     errors.Is(err, fs.ErrNotExist), and a miss for whoever looks for it.
//
// A Store and its Layers may be used from several goroutines.
package store
