package announce

import "net/netip"

// MaxPeers bounds the peers of a [Resolution]. A torrent client talks to some
// dozens at once; the rest is what a liar among the DHT nodes could add.
const MaxPeers = 200

// mergePeers returns the distinct usable addresses of lists, normalised, in
// order, at most MaxPeers.
func mergePeers(lists ...[]netip.AddrPort) []netip.AddrPort {
	var peers []netip.AddrPort
	seen := map[netip.AddrPort]bool{}
	for _, list := range lists {
		for _, p := range list {
			p, ok := normalPeer(p)
			if !ok || seen[p] {
				continue
			}
			if len(peers) == MaxPeers {
				return peers
			}
			seen[p] = true
			peers = append(peers, p)
		}
	}
	return peers
}

// normalPeer unmaps IPv4 from IPv6, drops the zone (it means nothing away
// from the computer that wrote it) and refuses what nobody can connect to.
// Loopback and private addresses stay: a test network and an office have
// nothing else.
func normalPeer(p netip.AddrPort) (netip.AddrPort, bool) {
	a := p.Addr().Unmap().WithZone("")
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || p.Port() == 0 ||
		a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a, p.Port()), true
}
