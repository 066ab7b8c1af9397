package swarm

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/anacrolix/torrent"

	"github.com/gitpeer/gitpeer/refs"
)

// maxKnownPeers bounds the addresses that are kept and redialled for one torrent.
const maxKnownPeers = 500

// satedTime is how long a peer that had everything is not called.
const satedTime = 5 * time.Minute

// AddPeers gives addresses at which a torrent may be found, and reports how many of them are new.
// They are dialled now and, while the torrent is incomplete, again every few seconds. A torrent
// that the node does not have is ignored.
func (n *Node) AddPeers(hash refs.InfoHash, peers []netip.AddrPort) int {
	e := n.entry(hash)
	if e == nil {
		return 0
	}
	var others, fresh []netip.AddrPort
	for _, a := range peers {
		if a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port()); !n.isSelf(a) {
			others = append(others, a)
		}
	}
	n.mu.Lock()
	for _, a := range others {
		if e.know(a) {
			fresh = append(fresh, a)
		}
	}
	n.mu.Unlock()
	n.dial(e, fresh)
	return len(fresh)
}

// know notes an address and reports whether it is new. It is called with Node.mu held.
func (e *entry) know(a netip.AddrPort) bool {
	if !dialable(a) || e.known[a] || len(e.known) >= maxKnownPeers {
		return false
	}
	if e.known == nil {
		e.known = make(map[netip.AddrPort]bool)
	}
	e.known[a] = true
	return true
}

// leave notes the address of a peer whose connection has ended, if neither end has need of it. It is called
// with Node.mu held.
func (e *entry) leave(p *peerConn, now time.Time) {
	if e.loading != nil || p.dial.Port() == 0 || !e.superseed.sated(p, e.store.currentInfo()) {
		return
	}
	maps.DeleteFunc(e.sated, func(_ netip.AddrPort, until time.Time) bool { return !now.Before(until) })
	if e.sated == nil {
		e.sated = make(map[netip.AddrPort]time.Time)
	}
	if len(e.sated) < maxKnownPeers {
		e.sated[p.dial] = now.Add(satedTime)
	}
}

// dialable refuses what is not the address of one host.
func dialable(a netip.AddrPort) bool {
	ip := a.Addr()
	return a.Port() != 0 && ip.IsValid() && !ip.IsUnspecified() && !ip.IsMulticast() && ip.Zone() == ""
}

// dial connects a torrent to addresses, except to ourselves, to whom is kept away, to whom there is a
// connection (of two, either end may drop the one that has come up to speed), and of a complete one, to
// those that had everything, too: each such connection would end at once, and tell of more of them.
func (n *Node) dial(e *entry, peers []netip.AddrPort) {
	now := time.Now()
	var infos []torrent.PeerInfo
	for _, a := range n.strangers(e, peers) {
		if keys := keysOf(a, [20]byte{}); !n.isSelf(a) && !n.bans.match(keys, now) && !e.suspended.match(keys, now) {
			infos = append(infos, torrent.PeerInfo{Addr: peerAddr{a}, Source: torrent.PeerSourceDirect})
		}
	}
	if len(infos) > 0 {
		e.with(func(t *torrent.Torrent) { t.AddPeers(infos) })
	}
}

// strangers returns those of some addresses to which there is no connection and is to be one, and where
// their hosts, if there is none to them at all, were heard from.
func (n *Node) strangers(e *entry, peers []netip.AddrPort) (unknown []netip.AddrPort) {
	connected, hosts := make(map[netip.AddrPort]bool), make(map[netip.Addr]bool)
	now := time.Now()
	n.mu.Lock()
	for a, until := range e.sated {
		connected[a] = e.loading == nil && now.Before(until)
	}
	for _, p := range n.conns {
		if p.entry == e {
			connected[p.dial], hosts[p.dial.Addr()] = true, true
		}
	}
	n.mu.Unlock()
	for _, a := range peers {
		if connected[a] {
			continue
		}
		unknown = append(unknown, a)
		if other, ok := n.sockets.heard.from(a.Addr(), now); ok && other != a && !hosts[a.Addr()] {
			unknown = append(unknown, other)
		}
	}
	return unknown
}

// redial tries the known peers that are not connected.
func (n *Node) redial(e *entry) { n.dial(e, n.knownPeers(e)) }

// pending is how many peers of a torrent wait until others have been tried.
func (e *entry) pending() (peers int) {
	e.with(func(t *torrent.Torrent) { peers = t.Stats().PendingPeers })
	return peers
}

func (n *Node) knownPeers(e *entry) []netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.SortedFunc(maps.Keys(e.known), netip.AddrPort.Compare)
}

// peersOf returns the connections of a torrent.
func (n *Node) peersOf(e *entry) []*peerConn {
	n.mu.Lock()
	defer n.mu.Unlock()
	var peers []*peerConn
	for _, p := range n.conns {
		if p.entry == e {
			peers = append(peers, p)
		}
	}
	return peers
}

// retryMetadata asks all peers of a torrent for its metadata that are not about to answer.
func (n *Node) retryMetadata(e *entry) {
	for _, p := range n.peersOf(e) {
		p.metadata.retry(p)
	}
}

// nudge gets a download going again that the library has forgotten. v1.61.0 does so in two ways:
//
//   - A connection's writer looks whether there is something to write, and only then begins to
//     listen for news. What comes in between waits for the next keep-alive. A message from us wakes
//     the writer here, and the answer to it the writer there.
//   - After a piece has failed, peers with a cancelled request are not asked for it, and when the
//     cancellation is acknowledged they are not either. If nothing is requested of anybody,
//     forbidding the download and allowing it again makes each connection look what is missing.
func (n *Node) nudge(e *entry) {
	n.wakeWriters(e)
	if e.requests.Load() == 0 {
		e.with(func(t *torrent.Torrent) {
			t.DisallowDataDownload()
			t.AllowDataDownload()
		})
	}
}

// wakeWriters sends each peer of a torrent something that it answers. The first requests for data are
// often what a writer does not hear of: they follow at once on other news, while it waits for the
// library's lock. So where an answer is short it is asked for then, too, and not only by nudge.
func (n *Node) wakeWriters(e *entry) {
	for _, p := range n.peersOf(e) {
		go p.requestMetadata(0)
	}
}

// smallInfo is up to how many bytes of metadata are such an answer: those of a torrent of some pieces.
const smallInfo = 256

// peerAddr is a net.Addr whose string the library can parse.
type peerAddr struct{ netip.AddrPort }

func (peerAddr) Network() string { return "tcp" }
