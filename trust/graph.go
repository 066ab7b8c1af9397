package trust

import (
	"hash/maphash"

	"github.com/gitpeer/gitpeer/refs"
)

// The graph of a long history is most of what a decision keeps in memory. Here
// are the compact forms of its parts: a commit costs about 60 bytes, and nothing
// is copied when more come.

// chunkLen is how many elements of a chunks are allocated at once.
const chunkLen = 1 << 10

// chunks is a list that grows without moving what is in it.
type chunks[T any] struct {
	list [][]T
	n    int
}

// at returns the place of an element.
func (c *chunks[T]) at(i int32) *T { return &c.list[int(i)/chunkLen][int(i)%chunkLen] }

// grow makes the list at least n elements long; new ones are zero.
func (c *chunks[T]) grow(n int) {
	for len(c.list)*chunkLen < n {
		c.list = append(c.list, make([]T, chunkLen))
	}
	c.n = max(c.n, n)
}

// A bitset is a set of small numbers.
type bitset []uint64

func (b bitset) has(i int32) bool {
	return int(i)/64 < len(b) && b[i/64]>>(i%64)&1 != 0
}

func (b *bitset) add(i int32) {
	for int(i)/64 >= len(*b) {
		*b = append(*b, 0)
	}
	(*b)[i/64] |= 1 << (i % 64)
}

// arena holds the parents of all commits, one after the other.
type arena struct {
	list [][]int32
}

// add keeps some numbers, and returns where.
func (a *arena) add(numbers []int32) uint32 {
	last := len(a.list) - 1
	if last < 0 || len(a.list[last])+len(numbers) > chunkLen {
		a.list = append(a.list, make([]int32, 0, chunkLen))
		last++
	}
	at := last*chunkLen + len(a.list[last])
	a.list[last] = append(a.list[last], numbers...)
	return uint32(at)
}

// get returns n numbers that were added together.
func (a *arena) get(at uint32, n uint8) []int32 {
	if n == 0 {
		return nil
	}
	from := at % chunkLen
	return a.list[at/chunkLen][from : from+uint32(n) : from+uint32(n)]
}

// maxRaw is the length of the longest object id, in bytes.
const maxRaw = 32

// An idTable numbers object ids. Those of the repository's format are kept in binary;
// anything else, which no commit of it can have, as it is.
type idTable struct {
	format refs.ObjectFormat
	width  int
	raw    [][]byte // chunks of chunkLen ids
	n      int32
	seed   maphash.Seed // ids are hashes, but of what an attacker may choose
	slots  []int32      // number + 1, by open addressing; a power of two
	odd    map[refs.OID]int32
	names  map[int32]refs.OID // of odd ones
}

func newIDs(format refs.ObjectFormat) *idTable {
	return &idTable{format: format, width: format.Len(), seed: maphash.MakeSeed(), slots: make([]int32, 64)}
}

// number returns the number of an id; a new one gets the next.
func (s *idTable) number(oid refs.OID) int32 {
	var buffer [maxRaw]byte
	raw := rawID(&buffer, oid, s.width)
	if raw == nil {
		return s.oddNumber(oid)
	}
	slot, found := s.find(raw)
	if found {
		return s.slots[slot] - 1
	}
	if 4*int(s.n+1) > 3*len(s.slots) {
		s.rehash()
		slot, _ = s.find(raw)
	}
	i := s.next()
	copy(s.rawAt(i), raw)
	s.slots[slot] = i + 1
	return i
}

// oid is the id with a number.
func (s *idTable) oid(i int32) refs.OID {
	if name, ok := s.names[i]; ok {
		return name
	}
	return formatID(s.rawAt(i))
}

func (s *idTable) oddNumber(oid refs.OID) int32 {
	if i, ok := s.odd[oid]; ok {
		return i
	}
	if s.odd == nil {
		s.odd, s.names = make(map[refs.OID]int32), make(map[int32]refs.OID)
	}
	i := s.next()
	s.odd[oid], s.names[i] = i, oid
	return i
}

// next makes room for one more id.
func (s *idTable) next() int32 {
	i := s.n
	s.n++
	if int(i)%chunkLen == 0 {
		s.raw = append(s.raw, make([]byte, chunkLen*s.width))
	}
	return i
}

func (s *idTable) rawAt(i int32) []byte {
	at := int(i) % chunkLen * s.width
	return s.raw[int(i)/chunkLen][at : at+s.width]
}

// find returns the slot of an id: where it is, or where it would be.
func (s *idTable) find(raw []byte) (slot int, found bool) {
	mask := len(s.slots) - 1
	for slot = int(maphash.Bytes(s.seed, raw)) & mask; s.slots[slot] != 0; slot = (slot + 1) & mask {
		if string(s.rawAt(s.slots[slot]-1)) == string(raw) {
			return slot, true
		}
	}
	return slot, false
}

func (s *idTable) rehash() {
	old := s.slots
	s.slots = make([]int32, 2*len(old))
	for _, number := range old {
		if number != 0 {
			slot, _ := s.find(s.rawAt(number - 1))
			s.slots[slot] = number
		}
	}
}

// rawID is the binary form of an id with that many bytes, nil if it is none.
func rawID(buffer *[maxRaw]byte, oid refs.OID, width int) []byte {
	if width == 0 || width > maxRaw || len(oid) != 2*width {
		return nil
	}
	for i := range width {
		high, low := nibble(oid[2*i]), nibble(oid[2*i+1])
		if high|low > 15 {
			return nil
		}
		buffer[i] = high<<4 | low
	}
	return buffer[:width]
}

func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

func formatID(raw []byte) refs.OID {
	const digits = "0123456789abcdef"
	var text [2 * maxRaw]byte
	for i, b := range raw {
		text[2*i], text[2*i+1] = digits[b>>4], digits[b&15]
	}
	return refs.OID(text[:2*len(raw)])
}
