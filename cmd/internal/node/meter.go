package node

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gitpeer/gitpeer/cmd/internal/packfile"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
)

// A meter makes one live line of all the packs that a fetch receives: how many
// of their objects were checked, how many bytes came in, how fast, from how many
// peers.
type meter struct {
	report ProgressFunc
	total  int64 // objects
	bytes  int64 // to receive

	mu    sync.Mutex // guards what follows
	parts map[refs.InfoHash]*part
}

// A part is one pack of a meter.
type part struct {
	objects  atomic.Int64   // that were checked
	download swarm.Progress // guarded by the meter's mu
}

// meterEvery is how often the line is shown anew.
const meterEvery = 200 * time.Millisecond

// newMeter is a meter of packs, of which one may have come with the snapshot.
func newMeter(report ProgressFunc, packs []refs.Pack, came *attachedPack) *meter {
	m := &meter{report: report, parts: map[refs.InfoHash]*part{}}
	for _, p := range packs {
		m.total += p.Objects
		if came == nil || came.line != p {
			m.bytes += p.Bytes
		}
		m.parts[p.InfoHash] = &part{}
	}
	return m
}

// run shows the line until ctx ends.
func (m *meter) run(ctx context.Context) {
	tick := time.NewTicker(meterEvery)
	defer tick.Stop()
	for {
		m.report(m.line())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// end shows the line for the last time: everything is here, and checked.
func (m *meter) end() {
	p := m.line()
	p.Done, p.Bytes, p.Over = m.total, m.bytes, true
	m.report(p)
}

func (m *meter) line() Progress {
	p := Progress{Stage: "Receiving objects", Total: m.total, Unit: "objects"}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, part := range m.parts {
		p.Done += part.objects.Load()
		p.Bytes += part.download.Verified
		p.Rate += int64(part.download.Rate)
		p.Peers = max(p.Peers, part.download.Peers) // mostly the same ones
	}
	p.Done = min(p.Done, p.Total) // a pack may have more than its line says, until that is noticed
	return p
}

// received notes how the download of a pack goes.
func (m *meter) received(ih refs.InfoHash, d swarm.Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if part := m.parts[ih]; part != nil {
		part.download = d
	}
}

// checked is the counter of a pack's objects, from 0 on.
func (m *meter) checked(ih refs.InfoHash) *atomic.Int64 {
	if m == nil || m.parts[ih] == nil {
		return new(atomic.Int64)
	}
	n := &m.parts[ih].objects
	n.Store(0) // what an indexer that gave up had counted
	return n
}

// count counts the entries of a scan.
func count(n *atomic.Int64) func(packfile.Entry) error {
	if n == nil {
		return nil
	}
	return func(packfile.Entry) error {
		n.Add(1)
		return nil
	}
}
