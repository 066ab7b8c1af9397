package packfile

import (
	"encoding/binary"
	"errors"
)

var errDelta = errors.New("malformed delta")

// deltaSizes reads the sizes of base and result that a delta begins with, and
// gives what follows (gitformat-pack(5)).
func deltaSizes(delta []byte) (base, result int64, ops []byte, err error) {
	b, n := binary.Uvarint(delta)
	if n <= 0 || b > 1<<62 {
		return 0, 0, nil, errDelta
	}
	r, m := binary.Uvarint(delta[n:])
	if m <= 0 || r > 1<<62 {
		return 0, 0, nil, errDelta
	}
	return int64(b), int64(r), delta[n+m:], nil
}

// applyDelta carries out the operations of a delta on base and fills out, which
// is as long as the result is declared to be.
func applyDelta(out, base, ops []byte) error {
	at := 0
	for len(ops) > 0 {
		op := ops[0]
		ops = ops[1:]
		if op&0x80 == 0 {
			n := int(op)
			if n == 0 || n > len(ops) || n > len(out)-at {
				return errDelta
			}
			copy(out[at:], ops[:n])
			at, ops = at+n, ops[n:]
			continue
		}
		var off, n uint32
		if op&0x7f != 0 && len(ops) < 7 { // near the end: with care
			var padded [7]byte
			copy(padded[:], ops)
			k := 0
			off, n, k = copyOperands(op, padded[:])
			if k > len(ops) {
				return errDelta
			}
			ops = ops[k:]
		} else {
			k := 0
			off, n, k = copyOperands(op, ops)
			ops = ops[k:]
		}
		if n == 0 {
			n = 0x10000
		}
		if uint64(off)+uint64(n) > uint64(len(base)) || int64(n) > int64(len(out)-at) {
			return errDelta
		}
		at += copy(out[at:], base[off:off+n])
	}
	if at != len(out) {
		return errDelta
	}
	return nil
}

// copyOperands reads the offset and size of a copy from b, which has seven
// bytes if op asks for any, and tells how many it took.
func copyOperands(op byte, b []byte) (off, n uint32, k int) {
	for i := range 4 {
		if op>>i&1 != 0 {
			off |= uint32(b[k]) << (8 * i)
			k++
		}
	}
	for i := range 3 {
		if op>>(4+i)&1 != 0 {
			n |= uint32(b[k]) << (8 * i)
			k++
		}
	}
	return off, n, k
}
