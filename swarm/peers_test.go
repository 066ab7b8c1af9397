package swarm

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

func TestNextDue(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	at := func(s time.Duration) *schedule { return &schedule{due: now.Add(s)} }
	early := &entry{hash: refs.InfoHash{1}, schedule: at(-2 * time.Second)}
	late := &entry{hash: refs.InfoHash{2}, schedule: at(-time.Second)}
	download := &entry{hash: refs.InfoHash{3}, schedule: at(-time.Millisecond), loading: &Download{}}
	soon := &entry{hash: refs.InfoHash{4}, schedule: at(time.Minute), loading: &Download{}}
	n := &Node{entries: make(map[refs.InfoHash]*entry)}
	for _, e := range []*entry{early, late, download, soon} {
		n.entries[e.hash] = e
	}
	for i, want := range []struct {
		s     *schedule
		pause time.Duration
		step  time.Duration
	}{
		{download.schedule, 0, 0},
		{early.schedule, 0, 0},
		{nil, announceSpacing, 0}, // the other seed has to wait
		{late.schedule, 0, announceSpacing},
		{nil, time.Minute - announceSpacing, 0},
		{soon.schedule, 0, time.Minute},
		{nil, announceInterval, 0}, // all are under way
	} {
		now = now.Add(want.step)
		if s, pause := n.nextDue(now); s != want.s || pause != want.pause {
			t.Errorf("%d: nextDue = %v, %v, want %v, %v", i, s, pause, want.s, want.pause)
		}
	}
}

func TestPause(t *testing.T) {
	var s schedule
	for i, want := range []time.Duration{firstSearch, 2 * firstSearch, 4 * firstSearch, 8 * firstSearch, 16 * firstSearch, lastSearch, lastSearch} {
		if got := s.pause(true, true); got != want {
			t.Errorf("search %d: pause %v, want %v", i, got, want)
		}
	}
	if got := s.pause(false, true); got < announceInterval || got > peerLife {
		t.Errorf("seed: pause %v", got)
	}
	if a, b := s.pause(false, false), s.pause(false, false); a != announceRetry || b != 2*announceRetry {
		t.Errorf("no node: pauses %v, %v", a, b)
	}
}

func TestAddPeers(t *testing.T) {
	n := newNode(t)
	info := seed(t, n, pseudo{1, 1000})
	var peers []netip.AddrPort
	for _, s := range []string{
		"127.0.0.1:9", "127.0.0.1:9", "[::ffff:127.0.0.1]:9", // one
		"127.0.0.1:0", "0.0.0.0:1", "224.0.0.1:1", "[fe80::1%lo]:1", // none
	} {
		peers = append(peers, netip.MustParseAddrPort(s))
	}
	peers = append(peers, netip.AddrPort{})
	if got := n.AddPeers(info.InfoHash(), peers); got != 1 {
		t.Errorf("AddPeers = %d, want 1", got)
	}
	if got := n.AddPeers(refs.InfoHash{1}, peers); got != 0 {
		t.Errorf("AddPeers of an unknown torrent = %d", got)
	}
	for i := range uint16(2 * maxKnownPeers) {
		n.AddPeers(info.InfoHash(), []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 10+i)})
	}
	if got := len(n.knownPeers(n.entry(info.InfoHash()))); got != maxKnownPeers {
		t.Errorf("%d peers are known, want %d", got, maxKnownPeers)
	}
}

func TestBans(t *testing.T) {
	b := newBans()
	now := time.Now()
	host := netip.MustParseAddrPort("192.0.2.1:5")
	local := netip.MustParseAddrPort("127.0.0.1:5")
	id := [20]byte{1}
	if !b.add(keysOf(host, id), now.Add(time.Minute)) || b.add(keysOf(host, id), now.Add(time.Minute)) {
		t.Error("add does not say what is new")
	}
	b.add(keysOf(local, id), now.Add(time.Minute))
	for _, test := range []struct {
		dial string
		id   [20]byte
		at   time.Duration
		want bool
	}{
		{"192.0.2.1:5", id, 0, true},
		{"192.0.2.1:6", [20]byte{2}, 0, true}, // an address is one peer
		{"[::ffff:192.0.2.1]:6", id, 0, true},
		{"192.0.2.2:5", id, 0, false},
		{"127.0.0.1:5", [20]byte{2}, 0, true},
		{"127.0.0.1:6", id, 0, true},
		{"127.0.0.1:6", [20]byte{2}, 0, false}, // except on loopback
		{"127.0.0.1:0", [20]byte{}, 0, false},
		{"192.0.2.1:5", id, time.Minute, false}, // and not for ever
	} {
		if got := b.match(keysOf(netip.MustParseAddrPort(test.dial), test.id), now.Add(test.at)); got != test.want {
			t.Errorf("match(%s, %d) after %v = %v", test.dial, test.id[0], test.at, got)
		}
	}
	for i := range uint32(maxBans + 10) {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		b.add(keysOf(netip.AddrPortFrom(a, 1), id), now.Add(time.Duration(i)*time.Second))
	}
	if n := b.NumRanges(); n > maxBans {
		t.Errorf("%d bans", n)
	}
	if _, ok := b.Lookup([]byte{10, 0, 39, 16}); !ok {
		t.Error("the longest ban was evicted")
	}
}

// The announce loop, or whoever has peers, may come upon a torrent that is just being added.
func TestAddPeersWhileAdding(t *testing.T) {
	n := newNode(t)
	info := pseudo{1, 1000}.info(t)
	stop := make(chan struct{})
	var adders sync.WaitGroup
	for i := range uint16(2) {
		adders.Go(func() {
			for port := uint16(1); ; port++ {
				select {
				case <-stop:
					return
				default:
					n.AddPeers(info.InfoHash(), []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), 2*port+i)})
				}
			}
		})
	}
	for range 300 {
		s, err := n.Seed(info, pseudo{1, 1000})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	close(stop)
	adders.Wait()
}
