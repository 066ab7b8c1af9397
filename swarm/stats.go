package swarm

import (
	"net/netip"

	"github.com/anacrolix/torrent"

	"github.com/gitpeer/gitpeer/refs"
)

// PublicAddr returns the address at which others can reach the node, as far as it knows: the one
// it listens on, or, where that is all of the computer's, the one that DHT nodes saw its packets
// come from, with the port it listens on. Until enough of them have said so there is none.
func (n *Node) PublicAddr() (netip.AddrPort, bool) {
	listen := n.Addr()
	if !listen.Addr().IsUnspecified() {
		return listen, true
	}
	seen, ok := n.dht.votes.winner()
	return netip.AddrPortFrom(seen, listen.Port()), ok
}

// TorrentStats is what the node has done for one torrent.
type TorrentStats struct {
	Sent     int64 // bytes of data, since the torrent was added
	Received int64 // likewise
	Peers    int   // connected now
}

// TorrentStats returns the statistics of a torrent, zero if the node does not have it.
func (n *Node) TorrentStats(hash refs.InfoHash) (s TorrentStats) {
	e := n.entry(hash)
	if e == nil {
		return s
	}
	e.with(func(t *torrent.Torrent) {
		stats := t.Stats()
		s.Sent, s.Received = stats.BytesWrittenData.Int64(), stats.BytesReadUsefulData.Int64()
		s.Peers = stats.ActivePeers
	})
	return s
}
