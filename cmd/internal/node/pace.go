package node

import (
	"time"

	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
)

const (
	// paceOver is how long a download may be slow. It must not end one through a
	// modem, and must end one that nobody would live to see the end of (TRUST A36).
	paceOver = 2 * time.Minute
	// paceLeast is what must have come in that time.
	paceLeast = 64 << 10
)

// A pace watches over a download whose peers send something now and then, so
// that it never stalls, and never ends.
type pace struct {
	since time.Time
	had   int64
}

// observe is told of the progress of the download, and returns why it is too
// slow, if it is. What is left may be less than the least.
func (p *pace) observe(ih refs.InfoHash, now time.Time, at swarm.Progress) error {
	if at.Stage != swarm.StageDownload || p.since.IsZero() {
		p.since, p.had = now, at.Received
		return nil
	}
	waited := now.Sub(p.since)
	if waited < paceOver {
		return nil
	}
	if at.Received-p.had < paceLeast {
		return &swarm.StalledError{InfoHash: ih, Progress: at, Waited: waited}
	}
	p.since, p.had = now, at.Received
	return nil
}
