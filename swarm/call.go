package swarm

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/refs"
)

// A node behind a NAT that forwards nothing cannot be called: it has to call. A reader announces
// what it fetches in the DHT as soon as it begins, so such a node asks there, again and again, who
// has come for a few torrents that readers begin with. Where both are behind NATs, this is hole
// punching with the DHT as the meeting place: the reader has been sending uTP to the address that is
// announced since it began, so its NAT lets in what comes from there, and the answers open ours.
//
// A question goes to the nodes nearest to the torrent that the last walk found, so it costs a few
// hundred bytes; a node asks at most one a second.
const (
	// callEvery is how often it is asked who wants a torrent: a reader waits DefaultAloneTimeout.
	callEvery = 8 * time.Second
	// callSpacing is the time between two questions, whatever about.
	callSpacing = time.Second
	// maxCalls is how many torrents it is asked about.
	maxCalls = 16
	// callNodes is how many nodes are asked, and callWalk how old the walk that found them may be.
	callNodes = 4
	callWalk  = 10 * time.Minute
	// callTime bounds one question, or walk; a torrent is asked about once at a time.
	callTime = callEvery - callSpacing
	// lastCall is how long a reader that could not be reached, or has gone, is left alone at most.
	// The DHT names it for half an hour or more after it has gone.
	lastCall = time.Minute
)

// calls is what a node that cannot be called asks for.
type calls struct {
	start   sync.Once
	mu      sync.Mutex
	asked   []*call
	reached bool // somebody from outside has called us
}

// A call is the search for the readers of one torrent.
type call struct {
	hash refs.InfoHash
	due  time.Time // under calls.mu

	turn    sync.Mutex // held while it is asked about; guards what follows
	nodes   []announce.Node
	walked  time.Time
	readers map[netip.AddrPort]*callee
}

// A callee is a reader that was called.
type callee struct {
	due  time.Time
	wait time.Duration
}

// CallReaders says which torrents readers begin with, those that matter most first; it replaces the
// list of before. While nobody can call the node, because it is behind a NAT, it looks in the DHT for
// readers of the first sixteen every 8 seconds, or if they are more than eight every 16, and calls them.
func (n *Node) CallReaders(hashes []refs.InfoHash) {
	c := &n.calls
	c.mu.Lock()
	var asked []*call
	for _, h := range hashes[:min(len(hashes), maxCalls)] {
		i := slices.IndexFunc(c.asked, func(k *call) bool { return k.hash == h })
		if i < 0 {
			asked = append(asked, &call{hash: h})
			continue
		}
		asked = append(asked, c.asked[i])
	}
	c.asked = asked
	c.mu.Unlock()
	n.spawn(func() { c.start.Do(func() { n.spawn(n.callLoop) }) })
}

// callLoop asks about one torrent after the other until the node ends.
func (n *Node) callLoop() {
	tick := time.NewTicker(callSpacing)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
		if k := n.calls.next(time.Now()); k != nil && n.unreachable() {
			n.spawn(func() { n.callReaders(n.ctx, k) })
		}
	}
}

// next takes the torrent that is due longest.
func (c *calls) next(now time.Time) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	var first *call
	for _, k := range c.asked {
		if !k.due.After(now) && (first == nil || k.due.Before(first.due)) {
			first = k
		}
	}
	if first != nil {
		first.due = now.Add(callEvery)
	}
	return first
}

// unreachable reports whether others cannot call the node, as far as it knows: it has a private
// address, no router forwards, and nobody from outside has called.
func (n *Node) unreachable() bool {
	n.calls.mu.Lock()
	reached := n.calls.reached
	n.calls.mu.Unlock()
	if reached || n.mappedAddr().IsValid() {
		return false
	}
	a := n.Addr().Addr()
	if a.IsUnspecified() {
		var err error
		if a, err = localToward("192.0.2.1:9"); err != nil { // any address of the Internet
			return false
		}
	}
	return scopeOf(a) == 1
}

// reachedBy notes who has called us over TCP: where one can, others can.
func (n *Node) reachedBy(a netip.AddrPort) {
	if ip := a.Addr().Unmap(); !ip.Is4() || scopeOf(ip) != 0 {
		return
	}
	n.calls.mu.Lock()
	n.calls.reached = true
	n.calls.mu.Unlock()
}

// callReaders asks once who has come for a torrent, and calls them.
func (n *Node) callReaders(ctx context.Context, k *call) {
	if !k.turn.TryLock() {
		return
	}
	defer k.turn.Unlock()
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var peers []netip.AddrPort
	if time.Since(k.walked) < callWalk {
		var answered int
		if peers, answered = n.dht.askForPeers(ctx, k.nodes, announce.Target(k.hash)); answered == 0 {
			k.walked = time.Time{}
		}
	} else if l, err := n.dht.FindPeers(ctx, announce.Target(k.hash)); err == nil {
		peers, k.nodes, k.walked = l.Peers, l.Closest[:min(len(l.Closest), callNodes)], time.Now()
	}
	peers = k.toCall(peers, time.Now())
	if !n.rouseFor(k.hash, peers) {
		return
	}
	if e := n.entry(k.hash); e != nil {
		n.dial(e, peers)
	}
}

// toCall returns who is to be called now.
func (k *call) toCall(peers []netip.AddrPort, now time.Time) (due []netip.AddrPort) {
	if k.readers == nil || len(k.readers) > maxKnownPeers {
		k.readers = make(map[netip.AddrPort]*callee)
	}
	for _, a := range peers {
		r := k.readers[a]
		if r == nil {
			r = &callee{wait: callEvery / 2}
			k.readers[a] = r
		}
		if r.due.After(now) {
			continue
		}
		r.wait = min(2*r.wait, lastCall)
		r.due = now.Add(r.wait)
		due = append(due, a)
	}
	return due
}

// askForPeers asks some nodes for the peers of a target (BEP 5), without a walk, and returns how many
// have answered.
func (d *DHT) askForPeers(ctx context.Context, nodes []announce.Node, target announce.Target) ([]netip.AddrPort, int) {
	c := &collector{start: time.Now(), byAddr: map[netip.AddrPort]int{}}
	var all sync.WaitGroup
	for _, node := range nodes {
		all.Go(func() { d.askPeers(ctx, node.Addr, target, c, func(reply) {}) })
	}
	all.Wait()
	return c.peers, len(c.answers)
}
