package swarm

import (
	"net/netip"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// A reader is called when it is first heard of, and then less and less often, but once a minute.
func TestToCall(t *testing.T) {
	var k call
	reader := []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:6881")}
	start := time.Now()
	var at []time.Duration
	for now := start; now.Before(start.Add(4 * time.Minute)); now = now.Add(time.Second) {
		if len(k.toCall(reader, now)) > 0 {
			at = append(at, now.Sub(start))
		}
	}
	if len(at) < 5 || at[0] != 0 || at[1] != callEvery || at[len(at)-1]-at[len(at)-2] != lastCall {
		t.Errorf("called at %v", at)
	}
}

// The torrents are asked about in turn, each at its own time.
func TestCallTurns(t *testing.T) {
	n := newNode(t)
	n.CallReaders([]refs.InfoHash{{1}, {2}})
	now := time.Now().Add(time.Hour) // the node's own loop has asked by now
	first, second := n.calls.next(now), n.calls.next(now)
	if first == nil || second == nil || first == second {
		t.Fatalf("asked about %v and %v", first, second)
	}
	if k := n.calls.next(now.Add(callEvery - 1)); k != nil {
		t.Error("asked too soon")
	}
	if k := n.calls.next(now.Add(callEvery)); k == nil {
		t.Error("not asked again")
	}
	n.CallReaders([]refs.InfoHash{{3}, {2}})
	if k := n.calls.next(now.Add(1)); k == nil || k.hash != (refs.InfoHash{3}) {
		t.Errorf("a new list gave %v", k)
	}
}

// Whoever listens on loopback, or was called from outside, need not call.
func TestUnreachable(t *testing.T) {
	n := newNode(t)
	if n.unreachable() {
		t.Error("a node on loopback looks for readers")
	}
	n.reachedBy(netip.MustParseAddrPort("192.168.1.7:1000"))
	if n.calls.reached {
		t.Error("a neighbour proves that the router forwards")
	}
	n.reachedBy(netip.MustParseAddrPort("203.0.113.1:1000"))
	if !n.calls.reached {
		t.Error("a call from outside does not count")
	}
}
