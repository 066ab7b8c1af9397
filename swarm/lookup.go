package swarm

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/anacrolix/dht/v2"
	"github.com/anacrolix/dht/v2/krpc"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/keys"
)

// Bounds of what a lookup believes.
const (
	maxPeers     = 500 // in all
	maxNodePeers = 100 // of one node, so that one liar cannot fill the list
)

// Lookup implements [announce.DHT]: one walk that asks each node with get and
// get_peers at once.
func (d *DHT) Lookup(ctx context.Context, key keys.ID, salt []byte) (*announce.Lookup, error) {
	c := &collector{start: time.Now(), count: closest, key: key, salt: salt, byAddr: map[netip.AddrPort]int{}}
	target := announce.TargetOf(key, salt)
	return d.collect(ctx, target, c, func(ctx context.Context, to netip.AddrPort, answer func(reply)) {
		var both sync.WaitGroup
		both.Go(func() { d.askItem(ctx, to, target, c, answer) })
		both.Go(func() { d.askPeers(ctx, to, target, c, answer) })
		both.Wait()
	})
}

// A Records is the [announce.DHT] whose Lookup asks for the item alone, with
// get: for readers who know peers. Nobody can be announced on what it finds.
type Records struct{ *DHT }

// Lookup is [DHT.Lookup] without the peers: half of the packets, and two thirds
// of the bytes. Its Peers are none, and the nodes gave no PeersToken.
func (d Records) Lookup(ctx context.Context, key keys.ID, salt []byte) (*announce.Lookup, error) {
	c := &collector{start: time.Now(), count: closest, key: key, salt: salt, byAddr: map[netip.AddrPort]int{}}
	target := announce.TargetOf(key, salt)
	return d.collect(ctx, target, c, func(ctx context.Context, to netip.AddrPort, answer func(reply)) {
		d.askItem(ctx, to, target, c, answer)
	})
}

// FindPeers walks towards target as [DHT.Lookup] does, to the 8 nearest nodes
// that answer, and asks for peers only (BEP 5 get_peers): target is a torrent's
// infohash, or a rendezvous.
func (d *DHT) FindPeers(ctx context.Context, target announce.Target) (*announce.Lookup, error) {
	c := &collector{start: time.Now(), count: closestPeers, byAddr: map[netip.AddrPort]int{}}
	return d.collect(ctx, target, c, func(ctx context.Context, to netip.AddrPort, answer func(reply)) {
		d.askPeers(ctx, to, target, c, answer)
	})
}

func (d *DHT) collect(ctx context.Context, target announce.Target, c *collector, ask askFunc) (*announce.Lookup, error) {
	end := d.walk(ctx, NodeID(target), c.count, d.startOf(ctx, NodeID(target)), ask)
	l := c.lookup(end)
	if err := ctx.Err(); err != nil {
		return l, err
	}
	if l.Answered == 0 {
		return l, announce.ErrNoNodes
	}
	return l, nil
}

// startOf returns where a walk begins: the nearest nodes of the table, and if
// that is poor, the bootstrap nodes.
func (d *DHT) startOf(ctx context.Context, target NodeID) []contact {
	start := d.contacts()
	slices.SortFunc(start, func(a, b contact) int {
		da, db := distance(a.id, target), distance(b.id, target)
		return slices.Compare(da[:], db[:])
	})
	if d.Good() >= fewNodes {
		return start
	}
	d.mu.Lock()
	routes := d.routesLocked()
	d.mu.Unlock()
	if len(routes) == 0 {
		routes = d.resolve(ctx)
	}
	return append(routes, start...)
}

func (d *DHT) query(ctx context.Context, to netip.AddrPort, method string, args krpc.MsgArgs) dht.QueryResult {
	return d.server.Query(ctx, addrOf(to), method, dht.QueryInput{MsgArgs: args})
}

func wantIPv4() []krpc.Want { return []krpc.Want{krpc.WantNodes} }

func (d *DHT) askItem(ctx context.Context, to netip.AddrPort, target announce.Target, c *collector, answer func(reply)) {
	started := time.Now()
	res := d.query(ctx, to, "get", krpc.MsgArgs{Target: krpc.ID(target), Want: wantIPv4()})
	r := res.Reply.R
	if r == nil {
		return
	}
	d.vote(to, res.Reply.IP)
	item, invalid := itemIn(r, c.key, c.salt)
	c.update(to, NodeID(r.ID), started, func(a *announce.Answer) {
		a.Item, a.Invalid = item, invalid
		if r.Token != nil {
			a.ItemToken = *r.Token
		}
	})
	answer(reply{id: NodeID(r.ID), nodes: contactsIn(r)})
}

func (d *DHT) askPeers(ctx context.Context, to netip.AddrPort, target announce.Target, c *collector, answer func(reply)) {
	started := time.Now()
	res := d.query(ctx, to, "get_peers", krpc.MsgArgs{InfoHash: krpc.ID(target), Want: wantIPv4()})
	r := res.Reply.R
	if r == nil {
		return
	}
	d.vote(to, res.Reply.IP)
	c.update(to, NodeID(r.ID), started, func(a *announce.Answer) {
		if r.Token != nil {
			a.PeersToken = *r.Token
		}
	})
	c.addPeers(to, r.Values)
	answer(reply{id: NodeID(r.ID), nodes: contactsIn(r)})
}

func (d *DHT) vote(voter netip.AddrPort, saw krpc.NodeAddr) {
	if ip, ok := netip.AddrFromSlice(saw.IP); ok {
		d.votes.add(voter.Addr(), ip.Unmap())
	}
}

// itemIn returns the item in an answer to get, or that there is one which is
// not what was asked for.
func itemIn(r *krpc.Return, key keys.ID, salt []byte) (item *announce.Item, invalid bool) {
	if len(r.V) == 0 {
		return nil, false
	}
	if r.Seq == nil || r.K != key {
		return nil, true
	}
	item = &announce.Item{
		Key: key, Salt: slices.Clone(salt), Seq: *r.Seq, Value: slices.Clone([]byte(r.V)), Sig: r.Sig,
	}
	if err := item.Verify(); err != nil {
		return nil, true
	}
	return item, false
}

// collector gathers what the nodes of one walk say.
type collector struct {
	start time.Time
	count int // nodes to converge on
	key   keys.ID
	salt  []byte

	mu      sync.Mutex
	answers []announce.Answer
	byAddr  map[netip.AddrPort]int // index into answers
	peers   []netip.AddrPort
}

func (c *collector) update(from netip.AddrPort, id NodeID, started time.Time, change func(*announce.Answer)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.byAddr[from]
	if !ok {
		i = len(c.answers)
		c.byAddr[from] = i
		c.answers = append(c.answers, announce.Answer{
			Node: announce.Node{Addr: from, ID: id}, Took: time.Since(started),
		})
	}
	change(&c.answers[i])
}

func (c *collector) addPeers(from netip.AddrPort, values []krpc.NodeAddr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range values[:min(len(values), maxNodePeers)] {
		peer := addrPortOf(v.UDP())
		if len(c.peers) < maxPeers && usablePeer(from, peer) && !slices.Contains(c.peers, peer) {
			c.peers = append(c.peers, peer)
		}
	}
}

// lookup returns what was gathered.
func (c *collector) lookup(end found) *announce.Lookup {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &announce.Lookup{
		Answers: c.answers, Peers: c.peers, Asked: end.asked, Answered: len(c.answers), Took: time.Since(c.start),
	}
	for _, n := range end.closest {
		if i, ok := c.byAddr[n.addr]; ok {
			l.Closest = append(l.Closest, c.answers[i].Node)
		}
	}
	return l
}
