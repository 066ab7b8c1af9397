package swarm

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// queryLimit bounds how many queries one IPv4 address may ask, so that one
// host cannot make us work, or reflect traffic at another, without end.
// Loopback addresses are exempt: a test network is one address.
type queryLimit struct {
	perSecond rate.Limit
	burst     int

	mu sync.Mutex
	// Two generations bound the memory: when recent is full it becomes old,
	// and old is forgotten. An address that asks all the time is copied over.
	recent, old map[netip.Addr]*rate.Limiter
}

// maxLimited is how many addresses a generation remembers (about 100 bytes
// each); above it, limits are forgotten, not enforced on strangers.
const maxLimited = 8192

func newQueryLimit(perSecond rate.Limit, burst int) *queryLimit {
	return &queryLimit{perSecond: perSecond, burst: burst, recent: map[netip.Addr]*rate.Limiter{}}
}

func (q *queryLimit) allow(from netip.Addr, now time.Time) bool {
	if q.perSecond == rate.Inf || from.IsLoopback() {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.recent[from]
	if l == nil {
		if l = q.old[from]; l == nil {
			l = rate.NewLimiter(q.perSecond, q.burst)
		}
		if len(q.recent) >= maxLimited {
			q.recent, q.old = map[netip.Addr]*rate.Limiter{}, q.recent
		}
		q.recent[from] = l
	}
	return l.AllowN(now, 1)
}

// lastHeard remembers when each node last sent a packet that passed. Two
// generations bound it as they do queryLimit.
type lastHeard struct {
	mu          sync.Mutex
	recent, old map[netip.AddrPort]time.Time
}

func newLastHeard() *lastHeard { return &lastHeard{recent: map[netip.AddrPort]time.Time{}} }

func (h *lastHeard) note(from netip.AddrPort, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.recent) >= maxLimited {
		h.recent, h.old = map[netip.AddrPort]time.Time{}, h.recent
	}
	h.recent[from] = now
}

// since returns how long ago a node was heard, a very long time if never.
func (h *lastHeard) since(from netip.AddrPort, now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t, ok := h.recent[from]; ok {
		return now.Sub(t)
	}
	return now.Sub(h.old[from])
}
