package packfile

import (
	"io"
	"slices"
	"sync"
)

// arrivals are the parts of the pack that can be read. Parts come in any order;
// whatever entries they complete go to the scheduler at once.
type arrivals struct {
	ix *indexer

	mu    sync.Mutex
	grown *sync.Cond
	parts []part // disjoint, not touching, in order
	err   error
}

type part struct{ from, to int64 }

func newArrivals(ix *indexer) *arrivals {
	a := &arrivals{ix: ix}
	a.grown = sync.NewCond(&a.mu)
	return a
}

// add notes that n bytes at off can be read.
func (a *arrivals) add(off, n int64) {
	if n <= 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	defer caught(&a.err) // wait and end tell
	p := part{off, off + n}
	// The parts that p overlaps or touches become one with it.
	lo, _ := slices.BinarySearchFunc(a.parts, off, func(q part, at int64) int { return compare(q.to, at) })
	hi := lo
	for hi < len(a.parts) && a.parts[hi].from <= p.to {
		hi++
	}
	if lo < hi {
		p.from, p.to = min(p.from, a.parts[lo].from), max(p.to, a.parts[hi-1].to)
	}
	a.parts = slices.Replace(a.parts, lo, hi, p)
	a.grown.Broadcast()
	e := a.ix.e
	first, _ := e.search(off + 1) // the entry before this one has the byte at off
	first = max(first-1, 0)
	for first < e.t.n && e.start(first) < p.from {
		first++
	}
	last, _ := e.search(off + n)
	for last > first && e.start(last) > p.to {
		last--
	}
	a.ix.sched.offer(a.ix.arrived(span{first, last}))
}

// arrived takes note that the bytes of entries have come. The span that it
// returns has all those that do not wait for a base; each of the others is done
// right after its base.
func (ix *indexer) arrived(n span) span {
	due := span{n.to, n.to}
	for i := n.from; i < n.to; i++ {
		before := ix.t.or(i, hasBytes)
		if before&hasBytes != 0 {
			continue // a part that is reported twice is no news
		}
		if before&hasBase != 0 || ix.t.load(i).back == 0 {
			ix.t.or(i, isDue)
			due = span{min(due.from, i), i + 1}
		}
	}
	return due
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// wait returns how far the pack can be read from its beginning, once that is
// past at.
func (a *arrivals) wait(at int64) (int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		if a.err != nil {
			return 0, a.err
		}
		if len(a.parts) > 0 && a.parts[0].from == 0 && a.parts[0].to > at {
			return a.parts[0].to, nil
		}
		a.grown.Wait()
	}
}

// end is called when nothing is to come any more.
func (a *arrivals) end() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil && !(len(a.parts) == 1 && a.parts[0] == part{0, a.ix.o.Bytes}) {
		return io.ErrUnexpectedEOF
	}
	return a.err
}

func (a *arrivals) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.err = err
	}
	a.grown.Broadcast()
}
