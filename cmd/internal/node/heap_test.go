package node

import (
	"runtime"
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
