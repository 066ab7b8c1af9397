package swarm

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/anacrolix/dht/v2/krpc"
	peer_store "github.com/anacrolix/dht/v2/peer-store"
)

// What we keep of announce_peer. Clients announce every 15 to 30 minutes.
const (
	peerLife      = 45 * time.Minute
	maxSwarms     = 4096
	maxSwarmPeers = 200 // in one swarm
	maxHostPeers  = 4   // of one address in one swarm: several users behind one router, not a flood
	maxPeersGiven = 50  // in one answer: 8 bytes each, with the rest below one Ethernet frame
)

// peerStore is a bounded peer_store.Interface whose peers expire. (The
// library's InMemory keeps one peer per address for ever and, in v2.24.0,
// gives garbage out.)
type peerStore struct {
	mu     sync.Mutex
	swarms map[peer_store.InfoHash]map[netip.AddrPort]time.Time // when each peer expires
}

func newPeerStore() *peerStore {
	return &peerStore{swarms: map[peer_store.InfoHash]map[netip.AddrPort]time.Time{}}
}

// AddPeer remembers that a peer serves ih. When a bound is reached the new
// peer displaces the one that would expire first; a new swarm displaces some other.
func (p *peerStore) AddPeer(ih peer_store.InfoHash, a krpc.NodeAddr) {
	peer := addrPortOf(a.UDP())
	if !peer.Addr().Is4() || a.Port <= 0 || a.Port > 65535 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	swarm := p.swarms[ih]
	if swarm == nil {
		if len(p.swarms) >= maxSwarms {
			p.makeRoom(now)
		}
		swarm = map[netip.AddrPort]time.Time{}
		p.swarms[ih] = swarm
	}
	if _, known := swarm[peer]; !known {
		displace(swarm, maxSwarmPeers, func(netip.AddrPort) bool { return true })
		if !peer.Addr().IsLoopback() {
			displace(swarm, maxHostPeers, func(q netip.AddrPort) bool { return q.Addr() == peer.Addr() })
		}
	}
	swarm[peer] = now.Add(peerLife)
}

// displace deletes the peer that expires first of those in the group, if the
// group has limit peers or more.
func displace(swarm map[netip.AddrPort]time.Time, limit int, inGroup func(netip.AddrPort) bool) {
	var first netip.AddrPort
	size := 0
	for peer, expires := range swarm {
		if !inGroup(peer) {
			continue
		}
		if size == 0 || expires.Before(swarm[first]) {
			first = peer
		}
		size++
	}
	if size >= limit {
		delete(swarm, first)
	}
}

// makeRoom forgets all expired peers, or one swarm if that frees none.
func (p *peerStore) makeRoom(now time.Time) {
	for ih, swarm := range p.swarms {
		forgetExpired(swarm, now)
		if len(swarm) == 0 {
			delete(p.swarms, ih)
		}
	}
	for ih := range p.swarms {
		if len(p.swarms) < maxSwarms {
			return
		}
		delete(p.swarms, ih)
	}
}

func forgetExpired(swarm map[netip.AddrPort]time.Time, now time.Time) {
	for peer, expires := range swarm {
		if !now.Before(expires) {
			delete(swarm, peer)
		}
	}
}

// GetPeers returns up to maxPeersGiven peers that serve ih, drawn at random so that
// a large swarm's load spreads.
func (p *peerStore) GetPeers(ih peer_store.InfoHash) []krpc.NodeAddr {
	p.mu.Lock()
	defer p.mu.Unlock()
	swarm := p.swarms[ih]
	forgetExpired(swarm, time.Now())
	if len(swarm) == 0 {
		delete(p.swarms, ih)
		return nil
	}
	peers := make([]krpc.NodeAddr, 0, len(swarm))
	for peer := range swarm {
		peers = append(peers, krpc.NodeAddr{IP: peer.Addr().AsSlice(), Port: int(peer.Port())})
	}
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	return peers[:min(len(peers), maxPeersGiven)]
}
