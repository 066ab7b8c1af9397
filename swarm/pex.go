package swarm

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/anacrolix/torrent/bencode"
	pp "github.com/anacrolix/torrent/peer_protocol"
)

// Peer exchange (BEP 11) at once. The library tells a new peer once whom it is connected to, and
// then says nothing for a minute, which the rule for strangers is. Readers that begin together would
// not hear of each other until they are done. So nodes of our kind tell each other of new peers soon
// after they know them, and less and less often. Everybody else gets what the library sends.
const (
	clientVersion = "gitpeer" // in our extended handshake

	firstGossip = 100 * time.Millisecond
	lastGossip  = time.Minute
	// gossipJitter is how long a node waits at most before it dials whom it was told of.
	gossipJitter = time.Second
	// maxPexPeers bounds the addresses in one message (BEP 11), and maxPexTotal those that are
	// dialled because one connection named them.
	maxPexPeers = 50
	maxPexTotal = 500
	// pexRest is how long the library must not hear of the next message: it would hang up.
	pexRest = 50 * time.Second
)

// gossip is the state of peer exchange on one connection; under Node.mu.
type gossip struct {
	told  map[netip.AddrPort]bool // by us
	heard int                     // addresses taken
	last  time.Time               // message that the library saw
}

// pexMessage is what we read and write of a message.
type pexMessage struct {
	Added string `bencode:"added"`
	Flags string `bencode:"added.f,omitempty"`
}

// startGossip begins to tell a peer of our kind about the others.
func (p *peerConn) startGossip(version string) {
	if strings.HasPrefix(version, clientVersion) {
		time.AfterFunc(firstGossip, func() { p.gossip(firstGossip) })
	}
}

// gossip tells the peer of those it was not told of, and comes back after twice the time.
func (p *peerConn) gossip(wait time.Duration) {
	n := p.node
	var added, flags []byte
	n.mu.Lock()
	_, connected := n.conns[p.conn]
	for _, q := range n.conns {
		a := q.dial
		if q.entry != p.entry || q == p || a == p.dial || !a.Addr().Is4() || a.Port() == 0 ||
			p.pex.told[a] || len(flags) == maxPexPeers || !usablePeer(p.addr, a) {
			continue
		}
		if p.pex.told == nil {
			p.pex.told = make(map[netip.AddrPort]bool)
		}
		p.pex.told[a] = true
		added, flags = append(added, compactAddr(a)...), append(flags, 0)
	}
	closed := n.closed
	n.mu.Unlock()
	if !connected || closed {
		return
	}
	if len(flags) > 0 {
		if b, err := bencode.Marshal(pexMessage{string(added), string(flags)}); err == nil {
			p.conn.WriteExtendedMessage(pp.ExtensionNamePex, b)
		}
	}
	wait = min(2*wait, lastGossip)
	time.AfterFunc(wait, func() { p.gossip(wait) })
}

func compactAddr(a netip.AddrPort) []byte {
	ip := a.Addr().As4()
	return append(ip[:], byte(a.Port()>>8), byte(a.Port()))
}

// judgePex takes the addresses of a message, and lets the library see one a minute: it notes there
// who can introduce us to whom (BEP 55).
func (p *peerConn) judgePex(payload []byte) messageVerdict {
	var msg pexMessage
	if err := bencode.Unmarshal(payload, &msg); err != nil || len(msg.Added)%6 != 0 {
		return hangUp
	}
	var peers []netip.AddrPort
	for b := []byte(msg.Added); len(b) > 0 && len(peers) < maxPexPeers; b = b[6:] {
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), uint16(b[4])<<8|uint16(b[5]))
		if usablePeer(p.addr, a) {
			peers = append(peers, a)
		}
	}
	p.node.mu.Lock()
	peers = peers[:min(len(peers), maxPexTotal-p.pex.heard)]
	p.pex.heard += len(peers)
	now := time.Now()
	rest := now.Sub(p.pex.last) < pexRest
	if !rest {
		p.pex.last = now
	}
	p.node.mu.Unlock()
	// Two that dial each other at the same moment may both give up, so that moment is random.
	time.AfterFunc(rand.N(gossipJitter), func() { p.node.dial(p.entry, peers) })
	if rest {
		return drop
	}
	return pass
}
