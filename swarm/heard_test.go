package swarm

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/anacrolix/torrent"
)

// A host can be answered at the port it was heard from last, for a while.
func TestHeard(t *testing.T) {
	var h heard
	now := time.Now()
	host := netip.MustParseAddr("203.0.113.7")
	if a, ok := h.from(host, now); ok {
		t.Errorf("heard from %v, who has sent nothing", a)
	}
	h.note(netip.AddrPortFrom(host, 40000), now.Add(-time.Second))
	h.note(netip.MustParseAddrPort("[::ffff:203.0.113.7]:40001"), now)
	if a, ok := h.from(host, now.Add(heardFor-1)); !ok || a != netip.AddrPortFrom(host, 40001) {
		t.Errorf("%v (%v), want port 40001", a, ok)
	}
	if a, ok := h.from(host, now.Add(heardFor)); ok {
		t.Errorf("%v after %v", a, heardFor)
	}
}

// Only hosts on the Internet are noted, and only so many.
func TestHeardBounds(t *testing.T) {
	var h heard
	now := time.Now()
	for _, near := range []string{"127.0.0.1:1", "192.168.1.7:1", "100.64.0.1:1", "[2001:db8::1]:1"} {
		a := netip.MustParseAddrPort(near)
		h.note(a, now)
		if _, ok := h.from(a.Addr(), now); ok {
			t.Errorf("%v was noted", a)
		}
	}
	for i := range 3 * maxHeard {
		h.note(netip.MustParseAddrPort(fmt.Sprintf("203.0.%d.%d:1", i/256, i%256)), now)
	}
	if len(h.hosts) != maxHeard {
		t.Errorf("%d hosts are noted, want %d", len(h.hosts), maxHeard)
	}
	last := netip.AddrFrom4([4]byte{203, 0, (3*maxHeard - 1) / 256, (3*maxHeard - 1) % 256})
	if _, ok := h.from(last, now); !ok {
		t.Error("the last one is not noted")
	}
}

// A peer is dialled where it was heard from, too, unless there is a connection.
func TestStrangers(t *testing.T) {
	n := newNode(t)
	e := &entry{}
	known, other := netip.MustParseAddrPort("203.0.113.7:6881"), netip.MustParseAddrPort("203.0.113.8:6881")
	heard := netip.MustParseAddrPort("203.0.113.7:40000")
	both := []netip.AddrPort{known, other}
	check := func(what string, want ...netip.AddrPort) {
		t.Helper()
		if got := n.strangers(e, both); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	connect := func(a netip.AddrPort) (end func()) {
		c := new(torrent.PeerConn)
		n.mu.Lock()
		n.conns[c] = &peerConn{entry: e, dial: a}
		n.mu.Unlock()
		return func() { n.mu.Lock(); delete(n.conns, c); n.mu.Unlock() }
	}
	check("nobody was heard", known, other)
	n.sockets.heard.note(known, time.Now())
	check("heard from where it was announced", known, other)
	n.sockets.heard.note(heard, time.Now())
	check("heard from another port", known, heard, other)
	end := connect(known)
	check("connected", other)
	end()
	end = connect(heard)
	check("connected at the other port", known, other)
	end()
	end = connect(netip.AddrPortFrom(known.Addr(), 0))
	check("called by it", known, other)
	end()
}
