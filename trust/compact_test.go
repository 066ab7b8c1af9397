package trust

import (
	"runtime"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
)

// TestHistoryIsCompact weighs what a decision keeps of a long history when it
// comes to the last commit.
func TestHistoryIsCompact(t *testing.T) {
	const n, most = 4_000, 120 // commits, bytes for each
	for _, format := range []refs.ObjectFormat{refs.SHA1, refs.SHA256} {
		w := newWorld(t)
		w.format, w.objects = format, NewMemory(format)
		alice := newPerson(t, "alice")
		w.signer(alice)
		root := w.commit(alice, day(1))
		tip := root
		for range n {
			tip = w.commit(alice, day(2), tip)
		}
		weigh := func() uint64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		p, before, last := w.policy(), weigh(), uint64(0)
		q := Query{Introduction: []refs.OID{root}, ObjectFormat: format, Refs: []refs.Ref{branch("main", tip)}, Each: func(v Verdict) {
			if v.OID == tip {
				last = weigh()
			}
		}}
		if _, err := Examine(p, q, w.objects, now); err != nil || last == 0 {
			t.Fatalf("Examine() = %v, and the tip was not looked at", err)
		}
		if each := float64(last-before) / n; each > most {
			t.Errorf("%s: %.0f bytes for each commit, want at most %d", format, each, most)
		} else {
			t.Logf("%s: %.0f bytes for each commit", format, each)
		}
	}
}
