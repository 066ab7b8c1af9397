package swarm

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// crowd is a network for walks alone: each node names the eight nodes nearest
// to the target of those that it knows.
type crowd struct {
	nodes  []contact
	knows  map[netip.AddrPort][]contact
	delay  func(netip.AddrPort) time.Duration
	silent map[netip.AddrPort]bool
}

func newCrowd(size int) *crowd {
	dice := rand.New(rand.NewPCG(1, 2))
	c := &crowd{knows: map[netip.AddrPort][]contact{}, silent: map[netip.AddrPort]bool{}}
	for i := range size {
		n := contact{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 6881)}
		for k := range n.id {
			n.id[k] = byte(dice.Uint32())
		}
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes {
		byDistance := slices.Clone(c.nodes)
		sortByDistance(byDistance, n.id)
		known := slices.Clone(byDistance[1:17])
		for range 48 {
			known = append(known, c.nodes[dice.IntN(size)])
		}
		c.knows[n.addr] = known
	}
	return c
}

func sortByDistance(nodes []contact, target NodeID) {
	slices.SortFunc(nodes, func(a, b contact) int {
		da, db := distance(a.id, target), distance(b.id, target)
		return bytes.Compare(da[:], db[:])
	})
}

func (c *crowd) id(addr netip.AddrPort) NodeID {
	return c.nodes[slices.IndexFunc(c.nodes, func(n contact) bool { return n.addr == addr })].id
}

func (c *crowd) ask(target NodeID) askFunc {
	return func(ctx context.Context, to netip.AddrPort, answer func(reply)) {
		if c.delay != nil {
			select {
			case <-time.After(c.delay(to)):
			case <-ctx.Done():
				return
			}
		}
		if c.silent[to] {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			return
		}
		known := slices.Clone(c.knows[to])
		sortByDistance(known, target)
		answer(reply{id: c.id(to), nodes: known[:8]})
	}
}

func (c *crowd) closest(target NodeID) []contact {
	nodes := slices.DeleteFunc(slices.Clone(c.nodes), func(n contact) bool { return c.silent[n.addr] })
	sortByDistance(nodes, target)
	return nodes[:closest]
}

// missing returns the ranks of the nodes that are wanted and not in got.
func missing(got, want []contact) (ranks []int) {
	for i, c := range want {
		if !slices.Contains(got, c) {
			ranks = append(ranks, i)
		}
	}
	return ranks
}

func TestWalkFindsTheClosest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(600)
		c.delay = func(netip.AddrPort) time.Duration { return 50 * time.Millisecond }
		d := &DHT{}
		for _, n := range newCrowd(20).nodes {
			target := n.id
			target[1] ^= 0xff
			begin := time.Now()
			f := d.walk(t.Context(), target, closest, c.nodes[:3], c.ask(target))
			// Nodes name eight others, so the outer ones of twenty can be missed.
			if missed := missing(f.closest, c.closest(target)); len(missed) > 5 || len(missed) > 0 && missed[0] < 8 {
				t.Errorf("of the 20 nodes closest to %v numbers %v are missing", target, missed)
			}
			if took := time.Since(begin); f.asked > 80 || took > 600*time.Millisecond {
				t.Errorf("asked %d nodes in %v, want some 40 in 0.3 s", f.asked, took)
			}
		}
	})
}

// A search for the peers of a torrent ends at fewer nodes, and costs less.
func TestWalkToFewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(600)
		c.delay = func(netip.AddrPort) time.Duration { return 50 * time.Millisecond }
		d, target := &DHT{}, NodeID{7: 0x77}
		far := d.walk(t.Context(), target, closest, c.nodes[:3], c.ask(target))
		near := d.walk(t.Context(), target, closestPeers, c.nodes[:3], c.ask(target))
		if missed := missing(near.closest, c.closest(target)[:closestPeers]); len(near.closest) != closestPeers || len(missed) > 0 {
			t.Errorf("of the %d closest nodes numbers %v are missing in %d", closestPeers, missed, len(near.closest))
		}
		if near.asked > far.asked*2/3 {
			t.Errorf("asked %d nodes for %d, %d for %d", near.asked, closestPeers, far.asked, closest)
		}
	})
}

// With half of the nodes dead a walk must not wait a second for each dozen of
// them.
func TestWalkPassesDeadNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(600)
		c.delay = func(netip.AddrPort) time.Duration { return 50 * time.Millisecond }
		for _, n := range c.nodes[300:] {
			c.silent[n.addr] = true
		}
		d, target := &DHT{}, NodeID{7: 0x77}
		begin := time.Now()
		f := d.walk(t.Context(), target, closest, c.nodes[:3], c.ask(target))
		// The dead are named too, which leaves four living ones in an answer.
		if missed := missing(f.closest, c.closest(target)); len(missed) > 8 || len(missed) > 0 && missed[0] < 2 {
			t.Errorf("of the 20 closest nodes numbers %v are missing", missed)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %v, want below 5s", took)
		}
	})
}

// A node that has answered one question and is slow with the other holds the
// walk up for slowAfter, not for the time-out.
func TestWalkDoesNotWaitForSecondAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(100)
		d, target := &DHT{}, NodeID{7: 0x77}
		ask := c.ask(target)
		begin := time.Now()
		d.walk(t.Context(), target, closest, c.nodes[:3], func(ctx context.Context, to netip.AddrPort, answer func(reply)) {
			ask(ctx, to, answer)
			<-ctx.Done()
		})
		if took := time.Since(begin); took != slowAfter {
			t.Errorf("it took %v, want %v", took, slowAfter)
		}
	})
}

func TestWalkEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(100)
		c.delay = func(netip.AddrPort) time.Duration { return 50 * time.Millisecond }
		ctx, cancel := context.WithTimeout(t.Context(), 120*time.Millisecond)
		defer cancel()
		d, target := &DHT{}, NodeID{7: 0x77}
		begin := time.Now()
		f := d.walk(ctx, target, closest, c.nodes[:3], c.ask(target))
		if took := time.Since(begin); took != 120*time.Millisecond || f.answered < 3 {
			t.Errorf("%d answers after %v, want some after 120ms", f.answered, took)
		}
	})
}

func TestWalkBelievesLittle(t *testing.T) {
	here := netip.MustParseAddrPort("198.51.100.1:6881")
	self := NodeID{1}
	told := []contact{
		{id: NodeID{2}, addr: netip.MustParseAddrPort("127.0.0.1:22")},
		{id: NodeID{3}, addr: netip.MustParseAddrPort("192.168.0.1:53")},
		{id: NodeID{4}, addr: netip.MustParseAddrPort("203.0.113.1:0")},
		{id: NodeID{5}, addr: netip.MustParseAddrPort("[2001:db8::1]:6881")},
		{addr: netip.MustParseAddrPort("203.0.113.2:6881")}, // no id
		{id: self, addr: netip.MustParseAddrPort("203.0.113.3:6881")},
		{id: NodeID{6}},
		{id: NodeID{7}, addr: netip.MustParseAddrPort("203.0.113.4:6881")},
		{id: NodeID{8}, addr: netip.MustParseAddrPort("203.0.113.4:6881")}, // same address
	}
	for port := range 20 { // one host, many ports
		told = append(told, contact{id: NodeID{9, byte(port)}, addr: netip.AddrPortFrom(netip.MustParseAddr("203.0.113.5"), uint16(port+1))})
	}
	var flood []contact // more than one answer may name
	for i := range 100 {
		flood = append(flood, contact{id: NodeID{10}, addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 112, byte(i)}), 1)})
	}
	d := &DHT{saved: savedTable{id: self}}
	asked := map[netip.Addr]int{}
	var floods int
	mu := make(chan struct{}, 1)
	f := d.walk(t.Context(), NodeID{}, closest, []contact{{addr: here}}, func(_ context.Context, to netip.AddrPort, answer func(reply)) {
		mu <- struct{}{}
		defer func() { <-mu }()
		asked[to.Addr()]++
		switch {
		case to == here:
			answer(reply{id: NodeID{0xff}, nodes: told})
		case to.Addr() == netip.MustParseAddr("203.0.113.4"):
			answer(reply{id: NodeID{7}, nodes: flood})
		case to.Addr() == netip.MustParseAddr("203.0.113.5"):
			answer(reply{id: NodeID{9, byte(to.Port())}})
		default:
			floods++
		}
	})
	if floods != maxTold {
		t.Errorf("%d nodes of one long answer were asked, want %d", floods, maxTold)
	}
	host := netip.MustParseAddr("203.0.113.5")
	if asked[host] != maxPerHost {
		t.Errorf("%d nodes on one host were asked, want %d", asked[host], maxPerHost)
	}
	if asked[netip.MustParseAddr("203.0.113.4")] != 1 {
		t.Errorf("one address was asked %d times, want once", asked[netip.MustParseAddr("203.0.113.4")])
	}
	for _, a := range []string{"127.0.0.1", "192.168.0.1", "203.0.113.1", "2001:db8::1", "203.0.113.2", "203.0.113.3"} {
		if asked[netip.MustParseAddr(a)] != 0 {
			t.Errorf("%s was asked, want not", a)
		}
	}
	if n := len(slices.DeleteFunc(slices.Clone(f.closest), func(c contact) bool { return c.addr.Addr() != host })); n != 1 {
		t.Errorf("%d of the closest are on one host, want 1", n)
	}
}

func TestMayPoint(t *testing.T) {
	for _, c := range []struct {
		teller, told string
		want         bool
	}{
		{"198.51.100.1:1", "203.0.113.1:6881", true},
		{"198.51.100.1:1", "10.0.0.1:6881", false},
		{"198.51.100.1:1", "100.64.0.1:6881", false},
		{"198.51.100.1:1", "169.254.0.1:6881", false},
		{"198.51.100.1:1", "127.0.0.1:6881", false},
		{"10.0.0.1:1", "10.0.0.2:6881", true},
		{"10.0.0.1:1", "203.0.113.1:6881", true},
		{"10.0.0.1:1", "127.0.0.1:6881", false},
		{"127.0.0.1:1", "127.0.0.1:6881", true},
		{"127.0.0.1:1", "10.0.0.1:6881", true},
		{"127.0.0.1:1", "0.1.2.3:6881", false},
		{"127.0.0.1:1", "255.255.255.255:6881", false},
		{"127.0.0.1:1", "224.0.0.1:6881", false},
		{"127.0.0.1:1", "127.0.0.1:0", false},
		{"127.0.0.1:1", "[::1]:6881", false},
	} {
		if got := mayPoint(netip.MustParseAddrPort(c.teller), netip.MustParseAddrPort(c.told)); got != c.want {
			t.Errorf("mayPoint(%s, %s) = %v, want %v", c.teller, c.told, got, c.want)
		}
	}
	for peer, want := range map[string]bool{
		"[2001:db8::1]:1": true, "[2001:db8::1]:0": false, "[::1]:1": false, "[fe80::1]:1": false,
		"[fd00::1]:1": false, "203.0.113.1:1": true, "127.0.0.1:1": false,
	} {
		if got := usablePeer(netip.MustParseAddrPort("198.51.100.1:1"), netip.MustParseAddrPort(peer)); got != want {
			t.Errorf("usablePeer(%s) = %v, want %v", peer, got, want)
		}
	}
}

func TestAddrVotes(t *testing.T) {
	saw, lie := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.66")
	voter := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}) }
	v := &addrVotes{}
	for i := range minVotes - 1 {
		v.add(voter(i), saw)
		v.add(voter(0), saw) // one address, one vote
	}
	if _, ok := v.winner(); ok {
		t.Errorf("%d votes win, want %d at least", minVotes-1, minVotes)
	}
	v.add(netip.MustParseAddr("10.0.0.1"), saw)           // not from the Internet
	v.add(voter(100), netip.MustParseAddr("192.168.0.1")) // not an Internet address
	v.add(voter(101), netip.MustParseAddr("127.0.0.1"))   // nor this
	if _, ok := v.winner(); ok {
		t.Error("votes of private addresses count")
	}
	v.add(voter(50), saw)
	if got, ok := v.winner(); !ok || got != saw {
		t.Errorf("winner = %v, %v; want %v", got, ok, saw)
	}
	for i := range 5 {
		v.add(voter(200+i), lie)
	}
	if _, ok := v.winner(); ok {
		t.Error("an address wins with less than two thirds")
	}
	for i := range 10 * maxVotes {
		v.add(voter(1000+i), lie)
	}
	if len(v.votes) > maxVotes {
		t.Errorf("%d votes kept, want %d at most", len(v.votes), maxVotes)
	}
}
