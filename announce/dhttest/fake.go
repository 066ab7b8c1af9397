package dhttest

import (
	"bytes"
	"context"
	"crypto/sha1"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/keys"
)

// What the nodes of a [Fake] do as real ones do.
const (
	// ItemLife is how long a node keeps an item after the last put (BEP 44).
	ItemLife = 2 * time.Hour
	// PeerLife is how long a node keeps a peer after its last announce.
	PeerLife = 30 * time.Minute
)

// closest is how many nodes a lookup ends at (BEP 5 says 8; k-rpc and
// mainline take 20).
const closest = 20

// Fault is how a node of a [Fake] misbehaves; faults add up.
type Fault uint

const (
	// Down: it neither hears nor says anything.
	Down Fault = 1 << iota
	// LosePut: puts get lost on the way there. Failed, and not stored.
	LosePut
	// LoseReply: the answers to puts get lost. Failed, yet stored.
	LoseReply
	// Forget: it says that it stored an item, and does not. It forgets what
	// it had as well. (torrent clients with a DHT of their own do this.)
	Forget
	// Freeze: it says that it stored an item, and goes on serving the first
	// one it ever had.
	Freeze
	// Refuse: it answers puts with error 201.
	Refuse
	// ClaimNewer: it answers puts with error 302, whatever it holds.
	ClaimNewer
	// RefuseEqual: it answers a put of what it holds with error 302, as
	// bittorrent-dht does, which the asker must recognise as harmless.
	RefuseEqual
	// TakeEqual: it lets an item replace another one of the same seq, as
	// libtorrent does.
	TakeEqual
	// Garble: its items have a bad signature.
	Garble
	// NoToken: it accepts no writes.
	NoToken
	// NoPeersToken: it accepts no announcements.
	NoPeersToken
)

// A Fake is a DHT in memory. Its methods and those of its clients may be
// called concurrently.
type Fake struct {
	mu    sync.Mutex
	nodes []*node
}

type node struct {
	addr  netip.AddrPort
	id    [20]byte
	fault Fault
	items map[announce.Target]held
	peers map[announce.Target]map[netip.AddrPort]time.Time
}

type held struct {
	item *announce.Item
	at   time.Time
}

// New returns a DHT of n nodes.
func New(n int) *Fake {
	f := &Fake{}
	for i := range n {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 6881)
		f.nodes = append(f.nodes, &node{addr: addr, id: sha1.Sum([]byte(addr.String()))})
		f.nodes[i].restart()
	}
	return f
}

// Restart makes all nodes forget all items and peers. Faults remain.
func (f *Fake) Restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.nodes {
		n.restart()
	}
}

func (n *node) restart() {
	n.items = map[announce.Target]held{}
	n.peers = map[announce.Target]map[netip.AddrPort]time.Time{}
}

// Fail sets the fault of the n nodes closest to t, after the first skip of
// them. Fault 0 mends them.
func (f *Fake) Fail(t announce.Target, skip, n int, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	near := f.near(t)
	skip = min(skip, len(near))
	for _, n := range near[skip:min(skip+n, len(near))] {
		n.fault = fault
	}
}

// FailAll sets the fault of all nodes.
func (f *Fake) FailAll(fault Fault) { f.Fail(announce.Target{}, 0, len(f.nodes), fault) }

// Plant puts an item on the n nodes closest to its target, after the first
// skip of them, whatever they hold and whatever the item is.
func (f *Fake) Plant(i *announce.Item, skip, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	near := f.near(i.Target())
	for _, node := range near[skip:min(skip+n, len(near))] {
		node.items[i.Target()] = held{i, time.Now()}
	}
}

// Holders returns how many nodes hold exactly i.
func (f *Fake) Holders(i *announce.Item) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, node := range f.nodes {
		if h := node.get(i.Target()); h != nil && h.Equal(i) {
			n++
		}
	}
	return n
}

// near returns the nodes, the closest to t first. The caller holds f.mu.
func (f *Fake) near(t announce.Target) []*node {
	near := slices.Clone(f.nodes)
	slices.SortFunc(near, func(a, b *node) int {
		for i := range t {
			if a.id[i] != b.id[i] {
				return int(a.id[i]^t[i]) - int(b.id[i]^t[i])
			}
		}
		return 0
	})
	return near
}

func (n *node) is(f Fault) bool { return n.fault&f != 0 }

func (n *node) get(t announce.Target) *announce.Item {
	h, ok := n.items[t]
	if !ok || time.Since(h.at) >= ItemLife {
		return nil
	}
	return h.item
}

func (n *node) token(t announce.Target) string { return fmt.Sprintf("%x %s", n.id[:4], t) }

// put is what BEP 44 has a node do, and what its fault changes of it.
func (n *node) put(token string, i *announce.Item) (announce.Status, int) {
	old := n.get(i.Target())
	if n.is(Forget) {
		delete(n.items, i.Target())
	}
	switch {
	case n.is(Down | LosePut):
		return announce.Silent, 0
	case n.is(ClaimNewer):
		return announce.Newer, 302
	case n.is(Refuse):
		return announce.Refused, 201
	case token != n.token(i.Target()):
		return announce.Refused, 203
	case len(i.Value) > announce.MaxValue:
		return announce.Refused, 205
	case len(i.Salt) > announce.MaxSalt:
		return announce.Refused, 207
	case i.Verify() != nil:
		return announce.Refused, 206
	case n.is(Forget), n.is(Freeze) && old != nil:
		return announce.Stored, 0
	case old != nil && old.Seq == i.Seq && bytes.Equal(old.Value, i.Value) && n.is(RefuseEqual):
		return announce.Same, 302
	case old != nil && old.Seq > i.Seq,
		old != nil && old.Seq == i.Seq && !bytes.Equal(old.Value, i.Value) && !n.is(TakeEqual):
		return announce.Newer, 302
	}
	n.items[i.Target()] = held{i, time.Now()}
	return announce.Stored, 0
}

func (n *node) answer(t announce.Target) announce.Answer {
	a := announce.Answer{Node: announce.Node{Addr: n.addr, ID: n.id}, Item: n.get(t)}
	if !n.is(NoToken) {
		a.ItemToken = n.token(t)
	}
	if !n.is(NoToken | NoPeersToken) {
		a.PeersToken = n.token(t)
	}
	if a.Item != nil && n.is(Garble) {
		a.Item, a.Invalid = nil, true
	}
	return a
}

func (n *node) swarm(t announce.Target) (peers []netip.AddrPort) {
	for p, at := range n.peers[t] {
		if time.Since(at) < PeerLife {
			peers = append(peers, p)
		}
	}
	slices.SortFunc(peers, netip.AddrPort.Compare)
	return peers
}

// A Client is a DHT node of a [Fake] as announce uses it. It stores nothing
// itself.
type Client struct {
	f    *Fake
	addr netip.Addr

	mu      sync.Mutex
	offline bool
	latency time.Duration
	before  func(call string)
}

// Client returns a client whose address is addr.
func (f *Fake) Client(addr netip.Addr) *Client { return &Client{f: f, addr: addr} }

// Disconnect cuts the client off: it hears no node any more.
func (c *Client) Disconnect() { c.set(func() { c.offline = true }) }

// Connect undoes Disconnect.
func (c *Client) Connect() { c.set(func() { c.offline = false }) }

// SetLatency makes every call last d, or until its context ends.
func (c *Client) SetLatency(d time.Duration) { c.set(func() { c.latency = d }) }

// Before has fn called before each call, with "Lookup", "Store" or
// "Announce": the place to force a race. fn may use the client.
func (c *Client) Before(fn func(call string)) { c.set(func() { c.before = fn }) }

func (c *Client) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// enter does what comes before each call, and reports whether the client is
// connected.
func (c *Client) enter(ctx context.Context, call string) (online bool, err error) {
	c.mu.Lock()
	before := c.before
	c.mu.Unlock()
	if before != nil {
		before(call)
	}
	c.mu.Lock()
	latency := c.latency
	c.mu.Unlock()
	if latency > 0 {
		select {
		case <-time.After(latency):
		case <-ctx.Done():
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.offline, ctx.Err()
}

// Lookup implements announce.DHT.
func (c *Client) Lookup(ctx context.Context, key keys.ID, salt []byte) (*announce.Lookup, error) {
	start := time.Now()
	l := &announce.Lookup{}
	online, err := c.enter(ctx, "Lookup")
	if err != nil {
		return l, err
	}
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	t := announce.TargetOf(key, salt)
	seen := map[netip.AddrPort]bool{}
	for _, n := range c.f.near(t) {
		if l.Asked++; !online || n.is(Down) {
			continue
		}
		a := n.answer(t)
		l.Answers = append(l.Answers, a)
		l.Closest = append(l.Closest, a.Node)
		for _, p := range n.swarm(t) {
			if !seen[p] {
				seen[p] = true
				l.Peers = append(l.Peers, p)
			}
		}
		if len(l.Closest) == closest {
			break
		}
	}
	l.Answered = len(l.Answers)
	l.Took = time.Since(start)
	if l.Answered == 0 {
		return l, announce.ErrNoNodes
	}
	return l, nil
}

// Store implements announce.DHT.
func (c *Client) Store(ctx context.Context, nodes []announce.Node, i *announce.Item) ([]announce.Outcome, error) {
	if err := i.Verify(); err != nil {
		return nil, err
	}
	outcomes := make([]announce.Outcome, len(nodes))
	for k, n := range nodes {
		outcomes[k].Node = n
	}
	online, err := c.enter(ctx, "Store")
	if err != nil || !online {
		return outcomes, err
	}
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	for k := range outcomes {
		o := &outcomes[k]
		n := c.f.at(o.Node.Addr)
		if n == nil {
			continue
		}
		o.Status, o.Code = n.put(o.Node.ItemToken, i)
		if o.Code != 0 {
			o.Message = o.Status.String()
		}
		if n.is(LoseReply) {
			o.Status, o.Code, o.Message = announce.Silent, 0, ""
		}
	}
	return outcomes, nil
}

// Announce implements announce.DHT.
func (c *Client) Announce(ctx context.Context, nodes []announce.Node, t announce.Target, port uint16) (accepted int, err error) {
	online, err := c.enter(ctx, "Announce")
	if err != nil || !online {
		return 0, err
	}
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	for _, to := range nodes {
		n := c.f.at(to.Addr)
		if n == nil || n.is(Down) || to.PeersToken != n.token(t) {
			continue
		}
		if n.peers[t] == nil {
			n.peers[t] = map[netip.AddrPort]time.Time{}
		}
		n.peers[t][netip.AddrPortFrom(c.addr, port)] = time.Now()
		accepted++
	}
	return accepted, nil
}

// at returns the node with the address. The caller holds f.mu.
func (f *Fake) at(addr netip.AddrPort) *node {
	for _, n := range f.nodes {
		if n.addr == addr {
			return n
		}
	}
	return nil
}
