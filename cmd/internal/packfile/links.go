package packfile

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
	"sync/atomic"
)

// Kinds of objects (gitformat-pack(5)).
const (
	kindCommit = 1
	kindTree   = 2
	kindBlob   = 3
	kindTag    = 4
)

func kindName(kind byte) string {
	return [...]string{kindCommit: "commit", kindTree: "tree", kindBlob: "blob", kindTag: "tag"}[kind]
}

// links is the set of objects that are in the pack or that one in the pack
// names, each as the kind that it is or is named as. An object is known by a
// fingerprint of 62 bits under a secret key: a table of 8 bytes an object
// instead of one of ids, and nobody can aim at a collision, which would let one
// missing object pass for one that is there.
type links struct {
	keys  [5]uint64
	table []atomic.Uint64 // fingerprint<<2 | isNamed | isPresent, 0 if free
	used  atomic.Int64
	limit int64
}

const (
	isPresent = 1
	isNamed   = 2
)

func newLinks(objects int) *links {
	// Two workers that add one object at the same time count it twice for a moment.
	l := &links{limit: int64(objects) + 64, table: make([]atomic.Uint64, objects+objects/3+128)}
	var seed [40]byte
	rand.Read(seed[:])
	for i := range l.keys {
		l.keys[i] = binary.LittleEndian.Uint64(seed[8*i:]) | 1
	}
	return l
}

// fingerprint is a keyed hash of an object's id and kind: sums of products of
// keyed words, as in wyhash.
func (l *links) fingerprint(oid []byte, kind byte) uint64 {
	a := binary.LittleEndian.Uint64(oid) ^ l.keys[0]
	b := binary.LittleEndian.Uint64(oid[8:]) ^ l.keys[1]
	hi, lo := bits.Mul64(a, b)
	h := hi ^ lo
	if len(oid) == 32 {
		a, b = binary.LittleEndian.Uint64(oid[16:])^l.keys[3], binary.LittleEndian.Uint64(oid[24:])^h
		hi, lo = bits.Mul64(a, b)
		h = hi ^ lo
		hi, lo = bits.Mul64(h^l.keys[2], uint64(kind)^l.keys[4])
	} else {
		hi, lo = bits.Mul64(uint64(binary.LittleEndian.Uint32(oid[16:]))<<8^uint64(kind)^l.keys[2], h^l.keys[3])
	}
	return (hi ^ lo) | 4
}

// add marks an object, and reports what marks it had. ok is false if there are
// more objects than the pack has: then one that is named is not in it.
func (l *links) add(f, mark uint64) (had uint64, ok bool) {
	f &^= 3
	hi, _ := bits.Mul64(f, uint64(len(l.table)))
	for i := int(hi); ; {
		v := l.table[i].Load()
		switch {
		case v == 0:
			if l.used.Add(1) > l.limit {
				return 0, false
			}
			if l.table[i].CompareAndSwap(0, f|mark) {
				return 0, true
			}
			l.used.Add(-1) // somebody was faster: look again
			continue
		case v&^3 == f:
			if v&mark == mark {
				return v & 3, true
			}
			if l.table[i].CompareAndSwap(v, v|mark) {
				return v & 3, true
			}
			continue
		}
		if i++; i == len(l.table) {
			i = 0
		}
	}
}

// closed reports whether all that is named is present.
func (l *links) closed() bool {
	for i := range l.table {
		if v := l.table[i].Load(); v != 0 && v&isPresent == 0 {
			return false
		}
	}
	return true
}

// recent remembers which links one worker has added lately: the trees of one
// folder, one after the other, name nearly the same objects.
type recent struct {
	links *links
	seen  [1 << 15]uint64
}

// name notes that an object is named. It reports false if it cannot be in the
// pack.
func (r *recent) name(oid []byte, kind byte) bool {
	f := r.links.fingerprint(oid, kind)
	slot := &r.seen[f>>2%uint64(len(r.seen))]
	if *slot == f {
		return true
	}
	if _, ok := r.links.add(f, isNamed); !ok {
		return false
	}
	*slot = f
	return true
}
