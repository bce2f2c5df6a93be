package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sort"

	"github.com/cairnbuild/cairn/internal/store"
	"github.com/opencontainers/go-digest"
)

// keyVersion is part of every key: a change of what goes into keys, of the layers' form or of the compressors' output needs a new one.
const keyVersion = "cairn-key-1"

// hasher builds keys from labelled fields. Every field is length-prefixed, so that no two lists of fields give the same bytes.
type hasher struct{ h hash.Hash }

func newHasher(kind string) *hasher {
	h := &hasher{sha256.New()}
	h.field("version", keyVersion)
	h.field("kind", kind)
	return h
}

func (h *hasher) field(name string, values ...string) {
	var n [8]byte
	put := func(s string) {
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.h.Write(n[:])
		h.h.Write([]byte(s))
	}
	put(name)
	binary.BigEndian.PutUint64(n[:], uint64(len(values)))
	h.h.Write(n[:])
	for _, v := range values {
		put(v)
	}
}

// inputs adds a manifest of files.
func (h *hasher) inputs(inputs []store.Input) {
	sorted := append([]store.Input(nil), inputs...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].Name < sorted[j].Name })
	for _, in := range sorted {
		h.field("input", in.Name, string(in.Digest))
	}
}

func (h *hasher) digest() digest.Digest { return digest.NewDigest(digest.SHA256, h.h) }

// chainID names a stack of layers by their content ids, so that equal results are equal whatever made them.
func chainID(contentIDs []digest.Digest) digest.Digest {
	h := newHasher("chain")
	for _, id := range contentIDs {
		h.field("layer", string(id))
	}
	return h.digest()
}
