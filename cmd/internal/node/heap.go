package node

import (
	"math"
	"runtime/debug"
	"sync"
)

// How much garbage the heap may hold: a fifth of what lives, and 16 MB. A share
// alone is too little where little lives: a reader of a pack of 10 MB, whose heap
// has as much, collected twenty times in four seconds, a fifteenth of its time. And
// it is too much beside the 70 MB of tables and caches that a large pack needs,
// while hardly anything is allocated.
//
// The 16 MB are a fifth of memory that lives and is never touched, so that it is
// address space and no more. A limit would have another meaning, and is the user's
// to set (GOMEMLIMIT). Where there is one the ballast counts against it, though it
// takes no memory, and under a small one the collector would run without end: then
// the pace is Go's own.
const (
	garbage = 20 // per cent
	ballast = 80 << 20
)

// A heap sets the collector's pace. One process has one; its zero value does
// nothing, which is for who sets GOGC or GOMEMLIMIT.
type heap struct {
	ballast []byte

	mu       sync.Mutex
	indexing int // packs with tables in memory
}

// newHeap sets the pace, unless gogc, the environment's value, has one or there is
// a limit to the memory.
func newHeap(gogc string) *heap {
	if gogc != "" || debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return &heap{}
	}
	debug.SetGCPercent(garbage)
	return &heap{ballast: make([]byte, ballast)}
}

// index is called before the tables of a pack are made, and what it returns
// once nobody needs them: the memory goes back to the system at once.
func (h *heap) index() (done func()) {
	h.add(1)
	return func() { h.add(-1) }
}

func (h *heap) add(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.indexing += n; h.indexing == 0 && h.ballast != nil {
		debug.FreeOSMemory()
	}
}
