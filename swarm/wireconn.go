package swarm

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anacrolix/torrent"
	pp "github.com/anacrolix/torrent/peer_protocol"

	"github.com/gitpeer/gitpeer/refs"
)

// A wire is a connection as the library sees it. What the library writes passes through, but for a
// reader that is to see only some pieces of a complete torrent (see [superseed]) "I have everything"
// becomes "nothing", and have messages follow. One that we obfuscated (MSE) passes unchanged; of those that came to us the door has taken it off.
type wire struct {
	net.Conn
	node   *Node
	once   sync.Once
	closed chan struct{}
	in     incoming

	turn   chan struct{} // holds a token while somebody writes, or looks at what follows
	mode   wireMode
	head   []byte // begin of the handshake or of the current message, as far as it is looked at
	rest   int64  // bytes of the current message that are still to come
	hidden bool   // they are a bitfield that is not to be seen
	blocks []writtenBlock
	haves  haves

	// Of a reader that sees only some pieces.
	peer *peerConn
	info *Info

	shows sync.Mutex // innermost
	queue []int      // pieces to show
	wake  chan struct{}
}

type wireMode int

const (
	wireHandshake wireMode = iota
	wirePlain              // handshake written, nothing else yet
	wireHiding             // availability not written yet
	wireShowing            // pieces may be shown
	wireRaw                // everything passes
)

type writtenBlock struct {
	piece int
	size  int64
}

const (
	handshakeBytes = 68
	// showInterval is how often a reader is looked at that sees only some pieces.
	showInterval = 250 * time.Millisecond
)

// wireKey finds the wire of a connection that the library reports.
type wireKey struct {
	hash    refs.InfoHash
	network string // "tcp" or "udp"
	remote  netip.AddrPort
}

func newWireKey(hash refs.InfoHash, network, remote string) wireKey {
	a, _ := netip.ParseAddrPort(remote)
	return wireKey{hash, strings.TrimRight(network, "46"), netip.AddrPortFrom(a.Addr().Unmap(), a.Port())}
}

func (n *Node) newWire(c net.Conn) *wire {
	return &wire{Conn: c, node: n, closed: make(chan struct{}), turn: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
}

// wireDialer makes wires of the connections that it dials.
type wireDialer struct {
	torrent.Dialer
	node *Node
}

func (d wireDialer) Dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := d.Dialer.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return d.node.newWire(c), nil
}

// wireListener makes wires of the connections that it accepts.
type wireListener struct {
	net.Listener
	node *Node
}

func (l wireListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.node.newWire(c), nil
}

// beginShow is called when a connection belongs to a torrent, before anything but the handshake is
// written. It is called with Node.mu held.
func (n *Node) beginShow(p *peerConn) {
	w, info := p.wire, p.entry.store.currentInfo()
	if w == nil || p.entry.loading != nil || info == nil {
		return
	}
	if !p.entry.superseed.begin(p, info, w.show, time.Now()) {
		return
	}
	w.turn <- struct{}{}
	defer func() { <-w.turn }()
	w.peer, w.info, w.mode = p, info, wireHiding
	n.work.Go(w.run)
}

// Close implements net.Conn.
func (w *wire) Close() error {
	w.once.Do(func() { close(w.closed) })
	w.node.mu.Lock()
	for key, other := range w.node.wires {
		if other == w {
			delete(w.node.wires, key)
		}
	}
	w.node.mu.Unlock()
	return w.Conn.Close()
}

// Write implements net.Conn.
func (w *wire) Write(b []byte) (int, error) {
	w.turn <- struct{}{}
	defer func() { <-w.turn }()
	if w.mode == wireRaw {
		return w.writeRaw(b)
	}
	n, err := w.Conn.Write(w.look(b))
	if err != nil {
		return n, err
	}
	if len(w.blocks) > 0 {
		now := time.Now()
		for _, k := range w.blocks {
			w.peer.entry.superseed.sent(w.peer, w.info, k.piece, k.size, now)
		}
		w.blocks = w.blocks[:0]
	}
	return n, w.flush()
}

// look follows what is written and returns what is to be written instead, of the same length.
func (w *wire) look(b []byte) []byte {
	if w.mode == wireHiding || w.hidden {
		b = slices.Clone(b) // the caller's bytes must not change
	}
	for rest := b; len(rest) > 0 && w.mode != wireRaw; {
		if w.mode == wireHandshake {
			rest = w.handshake(rest)
			continue
		}
		if w.mode == wirePlain {
			w.mode = wireRaw
			break
		}
		if w.rest > 0 {
			n := min(w.rest, int64(len(rest)))
			if w.hidden {
				clear(rest[:n])
			}
			w.rest, rest = w.rest-n, rest[n:]
			w.hidden = w.hidden && w.rest > 0
			continue
		}
		rest = w.message(rest)
	}
	return b
}

// handshake takes a part of the handshake and returns what follows it.
func (w *wire) handshake(b []byte) []byte {
	n := min(handshakeBytes-len(w.head), len(b))
	w.head = append(w.head, b[:n]...)
	k := min(len(w.head), len(protocolHeader))
	switch {
	case string(w.head[:k]) != protocolHeader[:k]:
		w.mode = wireRaw
	case len(w.head) == handshakeBytes:
		w.mode = wirePlain
		key := newWireKey(refs.InfoHash(w.head[28:48]), w.RemoteAddr().Network(), w.RemoteAddr().String())
		w.head = w.head[:0]
		w.node.mu.Lock()
		w.node.wires[key] = w
		w.node.mu.Unlock()
	}
	return b[n:]
}

// message takes the next bytes of a message's head, changes what says that we have everything, and
// returns what follows.
func (w *wire) message(b []byte) []byte {
	n := 1
	w.head = append(w.head, b[0])
	if len(w.head) < 4 {
		return b[n:]
	}
	length := int64(binary.BigEndian.Uint32(w.head))
	switch {
	case length == 0:
		w.head = w.head[:0]
	case len(w.head) == 5:
		w.rest = length - 1
		switch kind := pp.MessageType(w.head[4]); {
		case kind == pp.Piece && length > 9:
			w.rest = 0 // its head is longer
			return b[n:]
		case kind == pp.HaveAll && w.mode == wireHiding:
			b[0] = byte(pp.HaveNone)
			w.mode = wireShowing
		case kind == pp.Bitfield && w.mode == wireHiding:
			w.hidden, w.mode = w.rest > 0, wireShowing
		}
		w.head = w.head[:0]
	case len(w.head) == 13:
		w.blocks = append(w.blocks, writtenBlock{int(binary.BigEndian.Uint32(w.head[5:])), length - 9})
		w.rest = length - 9
		w.head = w.head[:0]
	}
	return b[n:]
}

// show queues pieces that the peer is to be told of.
func (w *wire) show(pieces []int) {
	w.shows.Lock()
	w.queue = append(w.queue, pieces...)
	w.shows.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// flush writes have messages for the queued pieces, if that is possible now. It is called with the turn
// taken.
func (w *wire) flush() error {
	if w.mode != wireShowing || w.rest > 0 || len(w.head) > 0 {
		return nil
	}
	w.shows.Lock()
	pieces := w.queue
	w.queue = nil
	w.shows.Unlock()
	if len(pieces) == 0 {
		return nil
	}
	b := make([]byte, 0, 9*len(pieces))
	for _, i := range pieces {
		b = append(b, 0, 0, 0, 5, byte(pp.Have))
		b = binary.BigEndian.AppendUint32(b, uint32(i))
	}
	_, err := w.Conn.Write(b)
	return err
}

// run shows pieces when nothing else is written, and looks after the reader until it sees all.
func (w *wire) run() {
	tick := time.NewTicker(showInterval)
	defer tick.Stop()
	for part := true; part; {
		select {
		case <-w.closed:
			return
		case <-w.wake:
		case <-tick.C:
			part = w.peer.entry.superseed.check(w.peer, w.info, time.Now())
		}
		w.turn <- struct{}{}
		w.flush()
		if !part && w.mode == wireShowing && w.rest == 0 && len(w.head) == 0 {
			w.mode = wireRaw
		}
		<-w.turn
	}
}
