package swarm

import (
	"net/netip"

	"github.com/anacrolix/torrent"

	"github.com/gitpeer/gitpeer/refs"
)

// PublicAddr returns the address at which others can reach the node, as far as it knows: the one
// it listens on, or, where that is all of the computer's, the one at which its router forwards, or
// the one that DHT nodes saw its packets come from, with the port it listens on. Until enough of them
// have said so there is none.
func (n *Node) PublicAddr() (netip.AddrPort, bool) {
	listen := n.Addr()
	if mapped := n.mappedAddr(); mapped.IsValid() && publicAddr(mapped.Addr()) {
		return mapped, true
	}
	if !listen.Addr().IsUnspecified() {
		return listen, true
	}
	seen, ok := n.dht.votes.winner()
	return netip.AddrPortFrom(seen, n.AnnouncePort()), ok
}

// isSelf reports whether an address is our own, as far as we know.
func (n *Node) isSelf(a netip.AddrPort) bool {
	if a == n.Addr() {
		return true
	}
	public, ok := n.PublicAddr()
	return ok && a == public
}

// TorrentStats is what the node has done for one torrent.
type TorrentStats struct {
	Sent     int64 // bytes of data, since the torrent was seeded, offered or fetched
	Received int64 // likewise, in the library now
	Peers    int   // connected now
}

// TorrentStats returns the statistics of a torrent, zero if the node does not have it.
func (n *Node) TorrentStats(hash refs.InfoHash) (s TorrentStats) {
	n.mu.Lock()
	e := n.entries[hash]
	if o := n.offers[hash]; o != nil {
		s.Sent = o.sent
	}
	n.mu.Unlock()
	if e == nil {
		return s
	}
	e.with(func(t *torrent.Torrent) {
		stats := t.Stats()
		s.Sent, s.Received = s.Sent+stats.BytesWrittenData.Int64(), stats.BytesReadUsefulData.Int64()
		s.Peers = stats.ActivePeers
	})
	return s
}
