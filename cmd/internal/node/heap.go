package node

import (
	"runtime/debug"
	"sync"
)

// How much garbage the heap may hold, in per cent of what lives. Indexing a
// large pack needs tables and a cache of 70 MB, and hardly allocates beside
// them: a reserve of as much again is no use. What a node without such tables
// allocates are the blocks that it sends: collecting those at every other
// megabyte took a tenth of a seeder's time.
const (
	usualGarbage    = 100
	indexingGarbage = 40
)

// A heap sets the collector's pace by what the node is about. One process has
// one; its zero value does nothing, which is for who sets GOGC.
type heap struct {
	paced bool

	mu       sync.Mutex
	indexing int // packs with tables in memory
}

// newHeap sets the usual pace, unless gogc, the environment's value, has one.
func newHeap(gogc string) *heap {
	if gogc != "" {
		return &heap{}
	}
	debug.SetGCPercent(usualGarbage)
	return &heap{paced: true}
}

// index is called before the tables of a pack are made, and what it returns
// once nobody needs them: the memory goes back to the system at once.
func (h *heap) index() (done func()) {
	h.add(1)
	return func() { h.add(-1) }
}

func (h *heap) add(n int) {
	if !h.paced {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.indexing
	h.indexing += n
	switch {
	case before == 0:
		debug.SetGCPercent(indexingGarbage)
	case h.indexing == 0:
		debug.SetGCPercent(usualGarbage)
		debug.FreeOSMemory()
	}
}
