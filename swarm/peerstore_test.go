package swarm

import (
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anacrolix/dht/v2/krpc"
	peer_store "github.com/anacrolix/dht/v2/peer-store"
)

func peer(a, b, c, d byte, port int) krpc.NodeAddr {
	return krpc.NodeAddr{IP: net.IPv4(a, b, c, d), Port: port}
}

func has(peers []krpc.NodeAddr, want krpc.NodeAddr) bool {
	return slices.ContainsFunc(peers, func(p krpc.NodeAddr) bool { return p.Equal(want) })
}

func TestPeerStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ih := newPeerStore(), peer_store.InfoHash{1}
		good := peer(192, 0, 2, 1, 6881)
		s.AddPeer(ih, good)
		s.AddPeer(ih, good)
		s.AddPeer(ih, peer(192, 0, 2, 1, 0))
		s.AddPeer(ih, peer(192, 0, 2, 1, 65536))
		s.AddPeer(ih, krpc.NodeAddr{IP: net.ParseIP("2001:db8::1"), Port: 1})
		s.AddPeer(ih, krpc.NodeAddr{Port: 1})
		got := s.GetPeers(ih)
		if len(got) != 1 || !got[0].Equal(good) || len(got[0].IP) != 4 {
			t.Errorf("GetPeers = %v, want [%v] with 4 bytes", got, good)
		}
		if got := s.GetPeers(peer_store.InfoHash{2}); len(got) != 0 {
			t.Errorf("GetPeers of another swarm = %v", got)
		}
		time.Sleep(peerLife / 2)
		s.AddPeer(ih, good) // renewed
		time.Sleep(peerLife - time.Second)
		if got := s.GetPeers(ih); len(got) != 1 {
			t.Errorf("GetPeers before expiry = %v", got)
		}
		time.Sleep(time.Second)
		if got := s.GetPeers(ih); len(got) != 0 || len(s.swarms) != 0 {
			t.Errorf("GetPeers after expiry = %v, %d swarms left", got, len(s.swarms))
		}
	})
}

func TestPeerStoreIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ih := newPeerStore(), peer_store.InfoHash{1}
		first := peer(10, 0, 0, 0, 1)
		for i := range maxSwarmPeers + 10 {
			s.AddPeer(ih, peer(10, 0, byte(i>>8), byte(i), 1))
			time.Sleep(time.Second)
		}
		if n := len(s.swarms[ih]); n != maxSwarmPeers {
			t.Errorf("a swarm has %d peers, want %d", n, maxSwarmPeers)
		}
		given := s.GetPeers(ih)
		if len(given) != maxPeersGiven || has(given, first) {
			t.Errorf("%d peers given, the first among them: %v; want %d without it", len(given), has(given, first), maxPeersGiven)
		}
		flood := peer_store.InfoHash{2}
		s.AddPeer(flood, peer(192, 0, 2, 2, 1))
		for port := range 1000 { // one host with many ports displaces only itself
			s.AddPeer(flood, peer(192, 0, 2, 1, port+1))
		}
		if got := s.GetPeers(flood); len(got) != maxHostPeers+1 || !has(got, peer(192, 0, 2, 2, 1)) {
			t.Errorf("after a flood of one host: %v", got)
		}
		for i := range maxSwarms + 100 {
			s.AddPeer(peer_store.InfoHash{3, byte(i >> 8), byte(i)}, first)
		}
		if len(s.swarms) != maxSwarms {
			t.Errorf("%d swarms, want %d", len(s.swarms), maxSwarms)
		}
	})
}
