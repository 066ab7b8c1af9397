package swarm

import (
	"net/netip"
	"sync"
)

// addrVotes collects what other nodes say our address is (BEP 42 "ip").
type addrVotes struct {
	mu    sync.Mutex
	votes map[netip.Addr]netip.Addr // voter's address → what it saw
}

// Voting: a liar has one vote per address that answers our queries; the
// oldest votes go when there are too many.
const (
	maxVotes = 256
	minVotes = 8 // agreeing voters before an address is believed
)

func (v *addrVotes) add(voter, saw netip.Addr) {
	if !saw.IsGlobalUnicast() || saw.IsPrivate() || !voter.IsGlobalUnicast() || voter.IsPrivate() {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.votes == nil || len(v.votes) >= maxVotes {
		v.votes = map[netip.Addr]netip.Addr{}
	}
	v.votes[voter] = saw
}

// winner returns the address that two thirds of at least minVotes voters saw.
func (v *addrVotes) winner() (netip.Addr, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	count := map[netip.Addr]int{}
	for _, saw := range v.votes {
		count[saw]++
	}
	for saw, n := range count {
		if n >= minVotes && 3*n >= 2*len(v.votes) {
			return saw, true
		}
	}
	return netip.Addr{}, false
}

// mayPoint reports whether a node at teller may send us to told. A node on
// the Internet that names loopback or private addresses would have us send
// packets into our own networks.
func mayPoint(teller, told netip.AddrPort) bool {
	a := told.Addr()
	if !a.Is4() || told.Port() == 0 || a.IsUnspecified() || a.IsMulticast() || a.As4()[0] == 0 || a.As4()[0] >= 240 {
		return false
	}
	return scopeOf(teller.Addr()) >= scopeOf(a)
}

// scopeOf ranks addresses by how near they must be: 0 anywhere, 1 in one
// private network or on one link (RFC 1918, 3927, 6598), 2 on one host.
func scopeOf(a netip.Addr) int {
	switch {
	case a.IsLoopback():
		return 2
	case a.IsPrivate(), a.IsLinkLocalUnicast(), a.As4()[0] == 100 && a.As4()[1]&0xc0 == 64:
		return 1
	}
	return 0
}

// usablePeer is mayPoint for peers, which may have IPv6 addresses too.
func usablePeer(teller, peer netip.AddrPort) bool {
	if peer.Addr().Is6() {
		return peer.Port() != 0 && peer.Addr().IsGlobalUnicast() && !peer.Addr().IsPrivate()
	}
	return mayPoint(teller, peer)
}
