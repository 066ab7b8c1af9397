package node

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// A small heap may hold 16 MB of garbage, not as much as it has itself.
func TestHeap(t *testing.T) {
	h := newHeap("")
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	runtime.KeepAlive(h)
	if least := uint64(ballast + 16<<20); m.NextGC < least {
		t.Errorf("the next collection comes at %d bytes, want %d at least", m.NextGC, least)
	}
	if h := newHeap("50"); h.ballast != nil {
		t.Error("who sets GOGC gets another pace than that")
	}
}

// Under a limit there is no ballast, which counts against it, and no other pace.
func TestHeapWithinLimit(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(1 << 40))
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	h := newHeap("")
	if pace := debug.SetGCPercent(100); h.ballast != nil || pace != 100 {
		t.Errorf("under GOMEMLIMIT: a ballast of %d bytes and garbage of %d %%, want neither", len(h.ballast), pace)
	}
}
