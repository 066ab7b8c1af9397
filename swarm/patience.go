package swarm

import (
	"sync"
	"time"
)

// A queryPatience is how long a query waits for its answer. It grows while walks end without any: they
// say that this computer is offline, or that its link or its processors are so busy that all answers
// come late. Whoever walked like that walks again.
type queryPatience struct {
	mu     sync.Mutex // guards what follows
	silent int        // walks in a row that nobody answered
	until  time.Time  // when they are forgotten
}

const (
	// maxDoubled is how often the time-out is doubled at the most.
	maxDoubled = 2
	// silenceLasts is when such walks are forgotten, longer than the pauses before one is repeated:
	// who is offline does not wait longer each time.
	silenceLasts = 5 * time.Second
)

// of gives the time-out of a query that is sent now, where timeout is that of a quiet link.
func (p *queryPatience) of(timeout time.Duration, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.After(p.until) {
		p.silent = 0
	}
	return timeout << min(p.silent, maxDoubled)
}

// walked notes how a walk ended that was not cut short.
func (p *queryPatience) walked(f found, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case f.answered > 0:
		p.silent = 0
	case f.asked > 0:
		p.silent, p.until = p.silent+1, now.Add(silenceLasts)
	}
}
