package node

import (
	"bytes"
	"context"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/swarm"
	"github.com/gitpeer/gitpeer/trust"
)

// A fetch that came while another one was looking the record up need not look
// again. Beyond that every fetch looks, as a person who was told of a push and a
// script that has just pushed from elsewhere expect: a stale answer would be
// taken for the new one. Who asks often and can wait says how old a look may be
// (node.fresh), up to maxFresh.
const maxFresh = time.Minute

// A glimpse is the newest record that this node has met, by whatever way.
type glimpse struct {
	item   *announce.Item
	asked  time.Time // when the last lookup began that found it to be the newest; zero if none did
	agreed int       // nodes that held it then
}

// saw notes what a lookup has found, or, with the zero time, a record that this
// node was told of. What is older than what was seen before is no news.
func (m *mirror) saw(now glimpse) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.glimpse
	switch {
	case g.item != nil && now.item.Seq < g.item.Seq:
	case g.item != nil && now.item.SameValue(g.item) && now.asked.Before(g.asked):
	default:
		m.glimpse = now
	}
}

// agreed is how many nodes of the DHT held an item in a lookup of the last
// minute.
func (m *mirror) agreed(item *announce.Item, now time.Time) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g := m.glimpse; g.item != nil && g.fresh(item, now, now, maxFresh) {
		return g.agreed
	}
	return 0
}

// fresh reports whether a lookup found that this record is the newest after the
// question arrived, or less than age before now. By the wall clock, too: the
// other one stands still while a computer sleeps.
func (g glimpse) fresh(item *announce.Item, arrived, now time.Time, age time.Duration) bool {
	if g.item == nil || g.asked.IsZero() || !g.item.SameValue(item) {
		return false
	}
	wall := now.Round(0).Sub(g.asked.Round(0))
	if wall < 0 || wall > maxFresh {
		return false
	}
	return !g.asked.Before(arrived) || wall < age && now.Sub(g.asked) < age
}

// fresh reports whether the accepted state is known to be the newest without a
// lookup: one was made lately, and nothing newer has reached this node
// since, as a command of the user's, the keeper or a node of the DHT's that
// stores the record here would bring it.
func (f *fetching) fresh(now time.Time) bool {
	if f.must || f.was == nil || len(f.damaged) > 0 || !now.Before(f.was.Record.Expires) {
		return false
	}
	f.mirror.mu.Lock()
	g := f.mirror.glimpse
	f.mirror.mu.Unlock()
	if !g.fresh(f.was.Item, f.arrived, now, f.node.config.Fresh) {
		return false
	}
	seq, _, stored := f.node.swarm.DHT().Holding(f.was.Item.Target())
	return !stored || seq <= f.was.Item.Seq
}

// lookup resolves the record of the mirror, and notes what it has found. Who has
// been at the rendezvous lately asks for the record alone.
func (f *fetching) lookup(ctx context.Context, now time.Time) (*announce.Resolution, error) {
	var dht announce.DHT = f.node.swarm.DHT()
	met := f.mirror.met(now) != nil
	if met {
		dht = swarm.Records{DHT: f.node.swarm.DHT()}
	}
	r, err := announce.Resolve(ctx, dht, f.mirror.addr, f.floor(), now)
	if err == nil {
		f.mirror.saw(glimpse{r.Item, now, r.Agreed})
		if !met {
			f.mirror.meet(r.Peers, now)
		}
	}
	return r, f.node.asked(err)
}

// unchanged answers from the accepted state, which is fresh: under the policy of
// now, and with all checks of the record that a lookup is followed by.
func (f *fetching) unchanged(ctx context.Context, now time.Time) (*FetchResult, error) {
	next := &state{Item: f.was.Item, Record: f.was.Record}
	f.seen = next
	if err := trust.CheckRecord(f.policy, f.pins(), received(f.mirror.addr, next), now); err != nil {
		return nil, err
	}
	return f.sameSnapshot(ctx, next)
}

// seenStep is how far the time of the last fetch moves before it is written
// down: trust.ClockSkew, which it is compared with, is far longer.
const seenStep = time.Minute

// samePins reports whether new pins say nothing that has to be written.
func samePins(old, next *trust.Pins) bool {
	if d := next.Seen.Sub(old.Seen); d < 0 || d >= seenStep {
		return false
	}
	same := *next
	same.Seen = old.Seen
	return bytes.Equal(same.Format(), old.Format())
}
