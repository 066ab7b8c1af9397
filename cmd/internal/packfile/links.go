package packfile

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"
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
//
// A shard is a hash table of what was added lately, and, if that gets full,
// sorted runs of what it held before.
type links struct {
	keys   [5]uint64
	limit  int64 // objects in the pack
	least  atomic.Int64
	shards [idShards]linkShard
}

type linkShard struct {
	mu     sync.Mutex
	table  []uint64 // fingerprint<<2 | isNamed | isPresent, 0 if free
	used   int
	room   int // of table
	runs   runs
	merged int  // objects in the longest of the runs, if several became it
	least  int  // how many objects were added for certain: not the same ones twice
	twice  bool // one was added as present twice
}

const (
	isPresent = 1
	isNamed   = 2
)

func newLinks(s Scratch, objects int) *links {
	l := &links{limit: int64(objects)}
	for i := range l.shards {
		t := &l.shards[i]
		t.room = shardRoom(s.room(objects))
		t.table = make([]uint64, t.room+t.room/3+1)
		t.runs = runs{scratch: s, width: 8}
	}
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

// add marks an object, and reports what marks it had, as far as memory goes. ok
// is false if there are more objects than the pack has: then one that is named
// is not in it.
func (l *links) add(f, mark uint64) (had uint64, ok bool) {
	f &^= 3
	s := &l.shards[f>>(64-shardBits)]
	s.mu.Lock()
	defer s.mu.Unlock()
	hi, _ := bits.Mul64(f<<shardBits, uint64(len(s.table)))
	i := int(hi)
	for ; s.table[i] != 0; i++ {
		if v := s.table[i]; v&^3 == f {
			s.table[i] = v | mark
			return v & 3, true
		}
		if i == len(s.table)-1 {
			i = -1
		}
	}
	if s.used == s.room {
		must(s.spill())
		i = int(hi)
	}
	s.table[i] = f | mark
	s.used++
	return 0, l.counted(s, max(s.used, s.merged))
}

// counted notes that a shard has so many objects at least, and reports whether
// that is not too many.
func (l *links) counted(s *linkShard, n int) bool {
	if n > s.least {
		l.least.Add(int64(n - s.least))
		s.least = n
	}
	return l.least.Load() <= l.limit
}

// maxLinkRuns is how many runs a shard has: then they become one, so that what
// is named again and again does not fill the disk.
const maxLinkRuns = 16

// spill makes a run of what is in memory.
func (s *linkShard) spill() error {
	if len(s.runs.parts) == maxLinkRuns {
		if err := s.compact(); err != nil {
			return err
		}
	}
	sorted := slices.DeleteFunc(s.table, func(v uint64) bool { return v == 0 })
	slices.Sort(sorted)
	err := s.runs.add(func(w *bufio.Writer) error {
		for _, v := range sorted {
			w.Write(binary.BigEndian.AppendUint64(w.AvailableBuffer(), v))
		}
		return nil
	})
	clear(s.table)
	s.used = 0
	return err
}

// compact makes one run of all.
func (s *linkShard) compact() error {
	one := runs{scratch: s.runs.scratch, width: s.runs.width}
	n := 0
	err := one.add(func(w *bufio.Writer) error {
		return s.each(func(v uint64) {
			n++
			w.Write(binary.BigEndian.AppendUint64(w.AvailableBuffer(), v))
		})
	})
	s.runs.close()
	s.runs = one
	s.merged = n
	return err
}

// each gives the objects of all runs, each once, with all its marks.
func (s *linkShard) each(yield func(v uint64)) error {
	last := uint64(0)
	err := s.runs.merge(func(rec []byte) error {
		v := binary.BigEndian.Uint64(rec)
		if v&^3 == last&^3 {
			s.twice = s.twice || v&last&isPresent != 0
			last |= v
			return nil
		}
		if last != 0 {
			yield(last)
		}
		last = v
		return nil
	})
	if last != 0 {
		yield(last)
	}
	return err
}

// closed is an ErrUnsure unless all that is named is present, and nothing twice.
func (l *links) closed() error {
	missing := false
	look := func(v uint64) { missing = missing || v != 0 && v&isPresent == 0 }
	for i := range l.shards {
		s := &l.shards[i]
		if len(s.runs.parts) == 0 {
			for _, v := range s.table {
				look(v)
			}
			continue
		}
		must(s.spill())
		must(s.each(look))
		if s.twice {
			return unsure("an object twice")
		}
	}
	if missing {
		return unsure("an object that another names is not in the pack")
	}
	return nil
}

func (l *links) close() {
	for i := range l.shards {
		l.shards[i].runs.close()
	}
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
