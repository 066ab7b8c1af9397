package swarm

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/anacrolix/dht/v2/krpc"
)

// When to look after the routing table.
const (
	minRetry  = 2 * time.Second // after a bootstrap that nobody answered, doubled up to
	maxRetry  = time.Minute
	fewNodes  = 4               // fewer good nodes mean that the network is lost: bootstrap again
	roundTime = 5 * time.Minute // between two rounds of upkeep
	// idleTime is how long a node may be silent before it is pinged. With a
	// round more it must stay below the 15 minutes after which the library
	// does not hand a node out any more.
	idleTime = 8 * time.Minute
	// refreshTime is between two walks that look for new nodes.
	refreshTime = time.Hour
)

// stayConnected joins the network, again whenever it has lost it, and keeps
// the table fresh and saved. It ends with ctx.
//
// The library has a maintainer of its own, which looks for new nodes every
// minute whether or not there is need. It runs as soon as a node has died,
// because nothing else makes the library forget one, and not earlier: with an
// empty table each of its rounds leaks a goroutine, and a hundred idle nodes
// in one process spend all their time on it.
func (d *DHT) stayConnected(ctx context.Context) {
	var forgetDead sync.Once
	retry, refreshed := minRetry, time.Now()
	for ctx.Err() == nil {
		wait := roundTime - rand.N(roundTime/10)
		if d.Good() < fewNodes || time.Since(refreshed) > refreshTime {
			refreshed = time.Now()
			if err := d.Bootstrap(ctx); err != nil {
				d.log.Debug("dht: bootstrap failed", "err", err)
			}
		}
		if d.pingIdle(ctx) > 0 && ctx.Err() == nil {
			forgetDead.Do(func() { d.work.Go(d.server.TableMaintainer) })
		}
		if d.Good() < fewNodes {
			wait, retry = retry, min(2*retry, maxRetry)
		} else {
			retry = minRetry
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if err := d.Save(); err != nil {
			d.log.Warn("dht: table not saved", "err", err)
		}
	}
}

// pingIdle pings the nodes of the table that have been silent for long and
// returns how many did not answer.
func (d *DHT) pingIdle(ctx context.Context) int {
	var idle []netip.AddrPort
	for _, c := range d.contacts() {
		if d.guard.heard.since(c.addr, time.Now()) > idleTime {
			idle = append(idle, c.addr)
		}
	}
	return len(idle) - d.Meet(ctx, idle...)
}

// Meet asks each of addrs for a sign of life, so that those who answer enter
// the routing table. It returns how many did.
func (d *DHT) Meet(ctx context.Context, addrs ...netip.AddrPort) int {
	var (
		all sync.WaitGroup
		mu  sync.Mutex
		met int
	)
	for _, a := range addrs {
		all.Go(func() {
			if res := d.write(ctx, a, "ping", krpc.MsgArgs{}); res.Reply.R != nil {
				mu.Lock()
				met++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return met
}
