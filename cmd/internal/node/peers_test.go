package node

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
)

func TestMet(t *testing.T) {
	at := time.Now()
	a, b := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")
	for name, c := range map[string]struct {
		peers []netip.AddrPort
		age   time.Duration
		want  int
	}{
		"lately":              {[]netip.AddrPort{a, b}, meetAgain, 2},
		"nobody":              {nil, 0, 0},
		"too long ago":        {[]netip.AddrPort{a}, meetAgain + 1, 0},
		"the clock went back": {[]netip.AddrPort{a}, -time.Second, 0},
	} {
		var m mirror
		m.meet(c.peers, at)
		if got := m.met(at.Add(c.age)); len(got) != c.want {
			t.Errorf("%s: met %v, want %d", name, got, c.want)
		}
	}
	if got := distinct([]netip.AddrPort{b, a}, nil, []netip.AddrPort{a, b, a}); !slices.Equal(got, []netip.AddrPort{b, a}) {
		t.Errorf("distinct = %v", got)
	}
}

func TestAgreed(t *testing.T) {
	at := time.Now()
	first, second := &announce.Item{Seq: 1}, &announce.Item{Seq: 2}
	for name, c := range map[string]struct {
		seen glimpse
		age  time.Duration
		want int
	}{
		"just now":       {glimpse{first, at, 7}, time.Second, 7},
		"long ago":       {glimpse{first, at, 7}, maxFresh, 0},
		"another one":    {glimpse{second, at, 7}, time.Second, 0},
		"told, not seen": {glimpse{item: first}, time.Second, 0},
		"nothing":        {},
	} {
		m := mirror{glimpse: c.seen}
		if got := m.agreed(first, at.Add(c.age)); got != c.want {
			t.Errorf("%s: agreed %d, want %d", name, got, c.want)
		}
	}
}

func TestShare(t *testing.T) {
	if small, large := share(refs.Pack{Bytes: largePack - 1}), share(refs.Pack{Bytes: largePack}); small != 1 || large*4 != prefetch {
		t.Errorf("places %d and %d of %d", small, large, prefetch)
	}
}

// TestLookupAsksForPeersOnce: who was at the rendezvous lately asks the DHT for
// the record alone, until whom it met there proves of no use.
func TestLookupAsksForPeersOnce(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	a, err := refs.ParseAddress(alice.publish(work).URL)
	if err != nil {
		t.Fatal(err)
	}
	s, err := swarm.Listen(t.Context(), swarm.Config{Listen: "127.0.0.1:0", Bootstrap: net.Bootstrap()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	f := &fetching{progress: func(Progress) {}, node: &Node{ctx: t.Context(), swarm: s, config: &config{}, home: Home{Data: t.TempDir()}}, mirror: &mirror{addr: a}}
	// asked reports whether a lookup asked for peers, too.
	asked := func() bool {
		t.Helper()
		before := f.mirror.meeting.when
		r, err := f.lookup(t.Context(), time.Now())
		if err != nil || r.Agreed == 0 {
			t.Fatalf("lookup = %+v, %v", r, err)
		}
		return f.mirror.meeting.when != before
	}
	if !asked() || asked() {
		t.Error("not the first lookup alone asked for peers")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.newSwarm(&announce.Resolution{}).snapshot(ctx, &state{Record: &refs.Record{InfoHash: refs.InfoHash{1}}}); err == nil {
		t.Error("a snapshot that nobody has was fetched")
	}
	if !asked() {
		t.Error("those of before were of no use, and nobody was asked for others")
	}
}
