package swarm

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/anacrolix/torrent"
	"github.com/anacrolix/torrent/bencode"
	pp "github.com/anacrolix/torrent/peer_protocol"
)

// The wire guard stands between the peers and anacrolix/torrent, as the DHT guard stands between
// the nodes and anacrolix/dht. In v1.61.0 any peer can end the process with one message:
//
//   - ut_metadata for a negative piece (slice bounds);
//   - a piece message that reaches over the end of its piece ("write overflows piece");
//   - ut_holepunch from a peer that never said that it has it (an explicit panic, holepunch.go);
//   - hashes, or hash request before the metadata is known (nil pointer, or an explicit panic);
//   - bitfield, have all and have none in turn, or have far out of range (availability counts go
//     wrong, which panics when the torrent is closed).
//
// It also takes any metadata for that of the torrent, whatever their hash, if they parse; and it
// keeps every extension name it has ever heard in a table. So each message is looked at here first,
// in the library's ReadMessage callback, and what the library must not see becomes a keep-alive.
// ut_metadata is ours altogether (metadata.go).

const (
	maxExtendedHandshakes = 16 // a connection; only the first is passed on
	maxHolepunches        = 32 // a connection; each can make us dial somewhere
	maxPeerVersion        = 64 // bytes of a peer's software name
	maxOutstanding        = 2000
)

// peerConn is what we know about one connection. All but good is used with the library's lock held,
// which it holds in every callback.
type peerConn struct {
	node  *Node
	conn  *torrent.PeerConn
	wire  *wire // beneath conn; nil if it is not known
	entry *entry
	addr  netip.AddrPort // as connected; the port is not the peer's own if it called us
	good  atomic.Int64   // blocks in pieces that proved right

	dial         netip.AddrPort // where it can be called, port 0 if not known; also under node.mu
	availability bool           // it has said what it has
	handshakes   int
	holepunches  int
	punches      bool // it has ut_holepunch
	pipeline     pipeline
	answered     int  // metadata requests
	met          bool // its DHT node
	metadata     metadataPeer
	pex          gossip
}

// onPeerAdded is called by the library when a connection belongs to a torrent.
func (n *Node) onPeerAdded(c *torrent.PeerConn) {
	p := &peerConn{node: n, conn: c, pipeline: pipeline{peak: peakOf(c)}}
	if a, err := netip.ParseAddrPort(c.RemoteAddr.String()); err == nil {
		p.addr = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		p.dial = netip.AddrPortFrom(p.addr.Addr(), 0)
	}
	if c.Discovery != torrent.PeerSourceIncoming {
		p.dial = p.addr
	}
	n.mu.Lock()
	p.entry = n.entries[infoHashOf(c.Torrent())]
	n.conns[c] = p
	key := newWireKey(infoHashOf(c.Torrent()), c.Network, c.RemoteAddr.String())
	p.wire = n.wires[key]
	delete(n.wires, key)
	welcome := p.welcome(time.Now())
	if welcome && !n.closed {
		n.beginShow(p)
	}
	n.mu.Unlock()
	if !welcome {
		go p.hangUp() // not here: the library holds its lock
	}
}

// hangUp ends a connection from beneath: the library then forgets it in one step. Of one that is
// closed by its own method, and not gone yet when the metadata comes, the library counts the pieces
// for ever, and panics when the torrent is closed.
func (p *peerConn) hangUp() {
	if p.wire != nil {
		p.wire.Close()
		return
	}
	p.conn.Close()
}

// onPeerClosed is called by the library when a connection has ended.
func (n *Node) onPeerClosed(p *torrent.Peer) {
	c, ok := p.TryAsPeerConn()
	if !ok {
		return
	}
	n.mu.Lock()
	q := n.conns[c]
	delete(n.conns, c)
	joined := q != nil && q.entry != nil
	if joined {
		q.entry.leave(q, time.Now())
	}
	n.mu.Unlock()
	if joined {
		q.entry.claims.remove(q)
		q.entry.superseed.end(q)
	}
}

func (n *Node) peerConn(c *torrent.PeerConn) *peerConn {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conns[c]
}

// onMessage is called by the library for each message, before it looks at it.
func (n *Node) onMessage(c *torrent.PeerConn, m *pp.Message) {
	p := n.peerConn(c)
	if p == nil || p.entry == nil {
		*m = pp.Message{Keepalive: true}
		return
	}
	switch p.judgeMessage(m) {
	case drop:
		*m = pp.Message{Keepalive: true}
	case hangUp:
		*m = pp.Message{Keepalive: true}
		n.log.Debug("peer broke the protocol", "peer", p.addr, "infohash", p.entry.hash)
		go p.hangUp()
	}
}

// onBlock is called by the library for each block that it will keep.
func (n *Node) onBlock(ev torrent.PeerMessageEvent) {
	c, ok := ev.Peer.TryAsPeerConn()
	if !ok {
		return
	}
	if p := n.peerConn(c); p != nil && p.entry != nil {
		m := ev.Message
		p.entry.store.blame.received(int(m.Index), int(m.Begin/blockLength), p, m.Piece)
		p.pace(m)
	}
}

type messageVerdict int

const (
	pass messageVerdict = iota
	drop
	hangUp
)

// judgeMessage decides whether the library may see a message, and may rewrite it.
func (p *peerConn) judgeMessage(m *pp.Message) messageVerdict {
	if m.Keepalive {
		return pass
	}
	switch m.Type {
	case pp.Choke, pp.Unchoke:
		return pass
	case pp.Interested, pp.NotInterested:
		p.entry.superseed.interest(p, m.Type == pp.Interested)
		return pass
	case pp.Bitfield, pp.HaveAll, pp.HaveNone, pp.Have:
		return p.judgeAvailability(m)
	case pp.Request, pp.Cancel, pp.Reject, pp.Piece:
		return p.judgeBlock(m)
	case pp.Extended:
		return p.judgeExtended(m)
	case pp.Port:
		p.node.meet(p, m.Port)
		return drop
	case pp.Suggest:
		return p.judgeSuggestion(m)
	default:
		// Allowed fast: not used. Hashes, hash request, hash reject: version 2.
		return drop
	}
}

// judgeAvailability allows a peer to say once, and first of all, what it has (BEP 3, BEP 6), and
// then what it gets.
func (p *peerConn) judgeAvailability(m *pp.Message) messageVerdict {
	info := p.entry.store.currentInfo()
	if m.Type == pp.Have {
		p.availability = true
		if int64(m.Index) >= p.pieces() {
			return hangUp
		}
		p.entry.superseed.have(p, info, []int{int(m.Index)}, time.Now())
		return p.judgeHave(m)
	}
	if p.availability {
		return drop
	}
	p.availability = true
	switch m.Type {
	case pp.HaveAll:
		pieces := 0
		if info != nil {
			pieces = info.Pieces()
		}
		p.entry.superseed.haveAll(p, pieces)
		p.hear(m, slices.Repeat([]bool{true}, pieces))
	case pp.Bitfield:
		if info != nil && !rightBitfield(m.Bitfield, info.Pieces()) {
			return hangUp
		}
		if info == nil {
			p.entry.claims.add(p, m.Bitfield)
		}
		var have []int
		for i, ok := range m.Bitfield {
			if ok && int64(i) < p.pieces() {
				have = append(have, i)
			}
		}
		p.entry.superseed.have(p, info, have, time.Now())
		p.hear(m, m.Bitfield)
	}
	return pass
}

// rightBitfield reports whether a bitfield is as long as it must be, with no bit set behind the last
// piece (BEP 3).
func rightBitfield(bits []bool, pieces int) bool {
	return len(bits) == bitfieldBits(pieces) && !slices.Contains(bits[pieces:], true)
}

// pieces is the number of pieces there are, or can be while the metadata is unknown.
func (p *peerConn) pieces() int64 {
	if info := p.entry.store.currentInfo(); info != nil {
		return int64(info.Pieces())
	}
	return MaxInfoBytes / 20
}

// judgeBlock allows only what lies within a piece; and data only as whole blocks, since that is all
// we ask for.
func (p *peerConn) judgeBlock(m *pp.Message) messageVerdict {
	info := p.entry.store.currentInfo()
	if info == nil {
		return drop // it cannot be an answer, and we have nothing to give
	}
	if int64(m.Index) >= int64(info.Pieces()) {
		return hangUp
	}
	_, length := info.pieceBounds(int(m.Index))
	begin := int64(m.Begin)
	if begin >= length {
		return hangUp
	}
	if m.Type == pp.Piece {
		if begin%blockLength != 0 || int64(len(m.Piece)) != min(blockLength, length-begin) {
			return hangUp
		}
		return pass
	}
	if m.Length == 0 || int64(m.Length) > length-begin {
		return hangUp
	}
	if m.Type == pp.Request {
		p.entry.superseed.asked(p, int(m.Index), time.Now())
	}
	return pass
}

// judgeExtended handles the extension protocol (BEP 10): the handshake is replaced by one of our
// writing, ut_metadata is answered here, and only the extensions that we offer are passed on.
func (p *peerConn) judgeExtended(m *pp.Message) messageVerdict {
	if m.ExtendedID == pp.HandshakeExtendedID {
		return p.judgeHandshake(m)
	}
	name, _, err := p.conn.LocalLtepProtocolMap.LookupId(m.ExtendedID)
	if err != nil {
		return drop
	}
	switch name {
	case pp.ExtensionNameMetadata:
		return p.onMetadata(m.ExtendedPayload)
	case pp.ExtensionNamePex:
		return p.judgePex(m.ExtendedPayload)
	case extensionHolepunch:
		return p.judgePunch(m.ExtendedPayload)
	default:
		return drop
	}
}

// extendedHandshake is what we read of, and pass on of, an extended handshake.
type extendedHandshake struct {
	Encryption   int            `bencode:"e"`
	M            map[string]int `bencode:"m"`
	MetadataSize int64          `bencode:"metadata_size,omitempty"`
	Port         int            `bencode:"p,omitempty"`
	Reqq         int            `bencode:"reqq,omitempty"`
	Version      string         `bencode:"v,omitempty"`
}

func (p *peerConn) judgeHandshake(m *pp.Message) messageVerdict {
	if p.handshakes++; p.handshakes > maxExtendedHandshakes {
		return hangUp
	}
	if p.handshakes > 1 {
		return drop // allowed by BEP 10; the library would count the peer twice
	}
	var in extendedHandshake
	if err := bencode.Unmarshal(m.ExtendedPayload, &in); err != nil {
		return hangUp
	}
	out := extendedHandshake{
		M:       make(map[string]int),
		Version: printable(in.Version),
		Reqq:    p.pipeline.accepts(in.Reqq),
	}
	if in.Encryption == 1 {
		out.Encryption = 1
	}
	for _, name := range []string{pp.ExtensionNameMetadata, string(pp.ExtensionNamePex), extensionHolepunch} {
		if id := in.M[name]; 0 < id && id < 256 {
			out.M[name] = id
		}
	}
	if 0 < in.Port && in.Port < 1<<16 {
		out.Port = in.Port
		if !p.callable(uint16(in.Port)) {
			return hangUp
		}
	}
	if out.M[string(pp.ExtensionNamePex)] != 0 {
		p.startGossip(out.Version)
	}
	p.punches = out.M[extensionHolepunch] != 0
	p.metadata.offered(p, out.M[pp.ExtensionNameMetadata] != 0, in.MetadataSize)
	b, err := bencode.Marshal(out)
	if err != nil {
		return hangUp
	}
	m.ExtendedPayload = b
	return pass
}

// callable notes the port that a peer listens on, and reports whether the peer is welcome.
func (p *peerConn) callable(port uint16) bool {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	if p.dial.Port() == 0 && p.dial.IsValid() {
		p.dial = netip.AddrPortFrom(p.dial.Addr(), port)
	}
	return p.welcome(time.Now())
}

// printable cuts a peer's idea of its name down to what may be logged.
func printable(s string) string {
	if len(s) > maxPeerVersion {
		s = s[:maxPeerVersion]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
}

// ban implements judge: it ends all connections with the peer and keeps it away.
func (n *Node) ban(p *peerConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if n.bans.add(keysOf(p.dial, p.conn.PeerID), now.Add(banTime)) {
		n.log.Info("peer sent wrong data", "peer", p.addr, "infohash", p.entry.hash)
		n.banned.Add(1)
	}
	for _, q := range n.conns {
		if q == p || !q.welcome(now) {
			go q.hangUp() // not here: the caller may hold locks that the library's lock waits for
		}
	}
}

// suspend implements judge: it ends the peer's connections for this torrent. To come back, it has
// to be called.
func (n *Node) suspend(p *peerConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	p.entry.suspended.add(keysOf(p.dial, p.conn.PeerID), now.Add(suspendTime))
	p.entry.know(p.dial)
	for _, q := range n.conns {
		if q == p || q.entry == p.entry && !q.welcome(now) {
			go q.hangUp()
		}
	}
}

// readmit implements judge.
func (n *Node) readmit(p *peerConn) {
	n.mu.Lock()
	p.entry.suspended.remove(keysOf(p.dial, p.conn.PeerID))
	n.mu.Unlock()
	n.spawn(func() { n.redial(p.entry) })
}

// welcome reports whether a peer is neither banned nor suspended. It is called with node.mu held.
func (p *peerConn) welcome(now time.Time) bool {
	keys := keysOf(p.dial, p.conn.PeerID)
	return p.entry != nil && !p.node.bans.match(keys, now) && !p.entry.suspended.match(keys, now)
}
