package packfile

import (
	"math/bits"
	"sync"
)

// A cache holds resolved objects that deltas still to come are against, up to a
// limit of bytes. A hint tells which those are, so a base is dropped right after
// its last delta, and when there is no room the base goes whose next delta is
// furthest away, which is the best choice there is (Bélády).
type cache struct {
	limit int64
	t     *table // the words wordKids and wordAfter of unresolved entries' bases are the cache's

	mu    sync.Mutex
	used  int64
	bases []base     // by slot
	empty []int32    // slots
	order []int32    // slots of bases that nobody uses now: a heap, furthest next first
	spare [][][]byte // buffers by class
}

// The state of an entry's deltas is its record's kids: before it is resolved, the
// first of them, or 0; then, how many are not resolved yet, or −1−slot while the
// cache holds it, where the slot knows.

// A base is a resolved object in a slot.
type base struct {
	id   int32
	left int32 // deltas that are not resolved yet
	next int32 // the next of them
	pins int32 // how many use it now
	at   int32 // in the heap, −1 if in none
	data []byte
}

const baseOverhead = 64 // bytes that a base costs beside its data

func newCache(limit int64, t *table) *cache {
	return &cache{limit: limit, t: t, spare: make([][][]byte, 64*4)}
}

func (c *cache) kids(id int32) int32       { return c.t.load(id).kids }
func (c *cache) setKids(id int32, n int32) { c.t.set(id, wordKids, uint32(n)) }

// class is the size class of a buffer: four to each power of two.
func class(n int) (class, size int) {
	if n <= 64 {
		return 0, 64
	}
	e := bits.Len(uint(n-1)) - 3 // three leading bits decide
	top := (n-1)>>e + 1          // 5 to 8
	return e*4 + top - 4, top << e
}

// buffer gives a buffer of n bytes. Its bytes count until it is dropped.
func (c *cache) buffer(n int) []byte {
	k, size := class(n)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used += int64(size) + baseOverhead
	c.shrink()
	if l := c.spare[k]; len(l) > 0 {
		b := l[len(l)-1]
		c.spare[k] = l[:len(l)-1]
		c.used -= int64(size) // of the spare one
		return b[:n]
	}
	return make([]byte, n, size)
}

// drop takes a buffer back.
func (c *cache) drop(b []byte) {
	k, size := class(cap(b))
	c.used -= baseOverhead
	if size != cap(b) || c.used > c.limit || size > 1<<20 {
		c.used -= int64(cap(b)) // to the garbage collector
		return
	}
	c.spare[k] = append(c.spare[k], b)
}

// shrink evicts bases, and spare buffers first, until the limit is kept or
// everything is in use.
func (c *cache) shrink() {
	for k := len(c.spare) - 1; k >= 0 && c.used > c.limit; k-- {
		for len(c.spare[k]) > 1 && c.used > c.limit { // one of each size is soon of use
			l := c.spare[k]
			c.used -= int64(cap(l[len(l)-1]))
			l[len(l)-1] = nil
			c.spare[k] = l[:len(l)-1]
		}
	}
	for c.used > c.limit && len(c.order) > 0 {
		slot := c.order[0]
		c.remove(0)
		c.release(slot)
	}
}

// put keeps a resolved entry whose deltas begin with first, of which left are
// to come. The caller uses it until done.
func (c *cache) put(id, first, left int32, data []byte) (slot int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.putLocked(base{id: id, left: left, next: first, pins: 1, at: -1, data: data})
}

func (c *cache) putLocked(b base) (slot int32) {
	if n := len(c.empty); n > 0 {
		slot = c.empty[n-1]
		c.empty = c.empty[:n-1]
		c.bases[slot] = b
	} else {
		slot = int32(len(c.bases))
		c.bases = append(c.bases, b)
	}
	c.setKids(b.id, -1-slot)
	return slot
}

// get gives a base that the cache holds; the caller uses it until done.
func (c *cache) get(id int32) (slot int32, data []byte, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slot = -1 - c.kids(id)
	if slot < 0 {
		return 0, nil, false
	}
	return slot, c.pin(slot), true
}

func (c *cache) pin(slot int32) []byte {
	b := &c.bases[slot]
	b.pins++
	if b.at >= 0 {
		c.remove(int(b.at))
	}
	return b.data
}

// restore puts back a base that was evicted, for one of its deltas, unless
// somebody else was faster: then data is dropped.
func (c *cache) restore(id, next int32, data []byte) (slot int32, kept []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slot = -1 - c.kids(id); slot >= 0 {
		c.drop(data)
		return slot, c.pin(slot)
	}
	return c.putLocked(base{id: id, left: c.kids(id), next: next, pins: 1, at: -1, data: data}), data
}

// done ends the use of a base, by a delta that is resolved now (kid > 0) or by
// whoever has put it there.
func (c *cache) done(slot, kid int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &c.bases[slot]
	b.pins--
	if kid > 0 {
		b.left--
		if b.next <= kid {
			b.next = c.t.load(kid).after
		}
	}
	switch {
	case b.pins > 0:
	case b.left == 0 || c.used > c.limit:
		c.release(slot)
	default:
		c.insert(slot)
	}
}

// release empties a slot that nobody uses.
func (c *cache) release(slot int32) {
	b := &c.bases[slot]
	c.setKids(b.id, b.left)
	c.drop(b.data)
	*b = base{}
	c.empty = append(c.empty, slot)
}

// The heap: the next delta of order[0] is the furthest.

func (c *cache) further(i, j int) bool {
	return c.bases[c.order[i]].next > c.bases[c.order[j]].next
}

func (c *cache) swap(i, j int) {
	c.order[i], c.order[j] = c.order[j], c.order[i]
	c.bases[c.order[i]].at, c.bases[c.order[j]].at = int32(i), int32(j)
}

func (c *cache) insert(slot int32) {
	c.order = append(c.order, slot)
	c.bases[slot].at = int32(len(c.order) - 1)
	c.up(len(c.order) - 1)
}

func (c *cache) remove(i int) {
	slot, last := c.order[i], len(c.order)-1
	if i != last {
		c.swap(i, last)
	}
	c.order = c.order[:last]
	c.bases[slot].at = -1
	if i < last {
		c.down(i)
		c.up(i)
	}
}

func (c *cache) up(i int) {
	for i > 0 && c.further(i, (i-1)/2) {
		c.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (c *cache) down(i int) {
	for {
		k := 2*i + 1
		if k >= len(c.order) {
			return
		}
		if k+1 < len(c.order) && c.further(k+1, k) {
			k++
		}
		if !c.further(k, i) {
			return
		}
		c.swap(i, k)
		i = k
	}
}
