package emulate

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"
)

// The limit that holds a process's credentials is nobody else's: sudo, for one, saves and restores all that it knows. It reads as
// not limiting anything, and setting it changes nothing.

// locksLimit is what the limit is for all to see.
func (r *request) locksLimit() uint64 {
	var limit unix.Rlimit
	if unix.Prlimit(r.pid, unix.RLIMIT_LOCKS, nil, &limit) != nil {
		return math.MaxUint64
	}
	return limit.Max
}

func setrlimit(*request) answer { return answer{} }

func getrlimit(r *request) answer {
	limit := r.locksLimit()
	var b []byte
	for range 2 {
		if r.e.narrow { // i386's struct has 32 bits
			b = binary.NativeEndian.AppendUint32(b, uint32(min(limit, math.MaxUint32)))
		} else {
			b = binary.NativeEndian.AppendUint64(b, limit)
		}
	}
	if !r.write(r.n.args[r.e.arg], b) {
		return fail(unix.EFAULT)
	}
	return answer{}
}

// prlimit is both, and for other processes, too.
func prlimit(r *request) answer {
	if r.n.args[r.e.arg] == 0 {
		return answer{}
	}
	return getrlimit(r)
}
