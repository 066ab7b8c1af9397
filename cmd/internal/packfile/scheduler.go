package packfile

import (
	"sync"
	"sync/atomic"
)

// A span is entries [from, to).
type span struct{ from, to int32 }

// Siblings are so many entries with the same base, which is resolved: first, and
// those after it.
type siblings struct{ first, n int32 }

// A scheduler hands out work. Each worker goes down the families of the entries
// it is given, deltas right after what they are against, so that hardly any base
// has to wait; what is ready in a family that one worker has begun, another may
// take over when it has nothing to do.
type scheduler struct {
	idle atomic.Int32 // workers that wait

	mu    sync.Mutex
	more  *sync.Cond
	spans []span // whose bytes have come, in order of arrival
	pool  []siblings
	left  int // entries that are not done
	err   error
}

func newScheduler(n int) *scheduler {
	s := &scheduler{left: n}
	s.more = sync.NewCond(&s.mu)
	return s
}

// maxSpan is how many entries a worker takes at a time.
const maxSpan = 256

// offer adds entries whose bytes have come.
func (s *scheduler) offer(n span) {
	if n.from >= n.to {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spans = append(s.spans, n)
	s.more.Broadcast()
}

// give hands entries whose base is there to whoever waits.
func (s *scheduler) give(ready ...siblings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pool = append(s.pool, ready...)
	s.more.Broadcast()
}

// next returns work, entries whose base is there or a span that has come, after done
// entries were dealt with. ok is false when there is none any more.
func (s *scheduler) next(done int, ready []siblings) (_ []siblings, _ span, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left -= done; s.left == 0 {
		s.more.Broadcast()
	}
	for {
		switch {
		case s.err != nil || s.left == 0:
			return nil, span{}, false
		case len(s.pool) > 0:
			k := max(len(s.pool)/2, len(s.pool)-16)
			ready = append(ready, s.pool[k:]...)
			s.pool = s.pool[:k]
			return ready, span{}, true
		case len(s.spans) > 0:
			n := s.spans[0]
			if n.to-n.from > maxSpan {
				n.to = n.from + maxSpan
				s.spans[0].from = n.to
			} else {
				s.spans = s.spans[1:]
			}
			return ready, n, true
		}
		s.idle.Add(1)
		s.more.Wait()
		s.idle.Add(-1)
	}
}

func (s *scheduler) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.more.Broadcast()
}
