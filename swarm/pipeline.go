package swarm

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"github.com/anacrolix/torrent"
	pp "github.com/anacrolix/torrent/peer_protocol"
)

// Left to itself the library (v1.61.0) asks a peer for blocks only when it waits for none, for twice as
// many as it asked for last, and up to a thousand; and it sends what it was asked for in no order. So a
// link rests for a round trip after each batch, and the first piece of 15 MB may be the last to come,
// whatever its priority: who indexes a pack while it comes in has nothing to do until the end. It also
// looks what to ask for at each have message, and if it waits for enough already, it forgets that it ever
// asked for more than one block. And of a peer that it has just met it asks for one block, then two, then
// four: a link of 100 Mbit/s and 20 ms is full after half a second.
//
// So each connection here has as many blocks under way as come in a tenth of a second and two round
// trips; the library is made to ask for more when half of them have come, and does not hear before which
// pieces the peer has got meanwhile. What makes it ask is a suggested piece (BEP 6), which the wire puts
// between two messages of the peer (see [wire.Read]). A peer that is the only one to be asked is asked at
// once for all that there is room for (see [peerConn.fill]).
const (
	// firstPipeline is how many blocks may be under way until the rate is known, and at any rate at
	// which they come within a second.
	firstPipeline = 64
	// minPipeline is the least that may.
	minPipeline = 16
	// pipelineQueue is how much more may be under way than the link holds, as time.
	pipelineQueue = 100 * time.Millisecond
	// pipelineSpan is how long the rate is measured at a time.
	pipelineSpan = 200 * time.Millisecond
	// probeTime is how long a block may take whose round trip is measured.
	probeTime = 3 * time.Second
	// defaultReqq is how many requests a peer accepts that does not say (as the library has it).
	defaultReqq = 250
)

// A pipeline is what one peer was asked for and has not sent, and what it has. It is used with the
// library's lock held.
type pipeline struct {
	peak   *int // the library's; nil if it is not known
	under  int  // blocks under way
	high   int  // of them when the last were asked for
	limit  int  // of them, 0 until the rate is known
	reqq   int  // that the peer accepts
	filled bool // the library may ask for all that there is room for
	nudged bool // the library was told to ask for more, and has not asked since

	since  time.Time // when blocks began to be counted
	blocks int

	probe torrent.Request
	sent  time.Time     // when probe was asked for; zero: no probe is under way
	rtt   time.Duration // the shortest that a probe took

	all  bool   // the peer said that it has everything, and the library heard that
	has  []bool // else the pieces that it said it has
	held bool   // the library was not told of all of them
	last bool   // all but the last piece were told
}

// accepts notes how many requests a peer accepts, 0 if it does not say, and returns how many are to be
// made at first.
func (q *pipeline) accepts(reqq int) int {
	if reqq <= 0 {
		reqq = defaultReqq
	}
	q.reqq = min(reqq, maxOutstanding)
	return min(q.reqq, firstPipeline)
}

// asked notes a request.
func (q *pipeline) asked(r torrent.Request, now time.Time) {
	q.under++
	q.high, q.nudged = q.under, false
	if now.Sub(q.sent) > probeTime { // or there is none
		q.probe, q.sent = r, now
	}
}

// peakOf finds where the library (v1.61.0) keeps how many blocks it asked a peer for last: it never has
// more than twice as many under way. The field is not exported, and nothing exported sets it; without it,
// the blocks come later. TestRoundTrips sees if it has gone.
func peakOf(c *torrent.PeerConn) *int {
	f := reflect.ValueOf(c).Elem().FieldByName("peakRequests")
	if !f.CanAddr() || f.Kind() != reflect.Int {
		return nil
	}
	return (*int)(f.Addr().UnsafePointer())
}

// fill lets the library ask for as many blocks as may be under way, when it looks what to ask for, or has
// begun to ask. Where others are asked as well, it stays as careful as it is.
func (p *peerConn) fill() {
	q := &p.pipeline
	if q.filled = q.peak != nil && p.entry.requests.Load() == int64(q.under); !q.filled {
		return
	}
	*q.peak = (cmp.Or(q.limit, firstPipeline) + 1) / 2
}

// ended notes that a request is no longer under way, and reports whether the library is to be told to
// ask for more. It asks by itself when none is.
func (q *pipeline) ended() bool {
	q.under--
	if q.nudged || !q.low() || q.under == 0 && !q.held {
		return false
	}
	q.nudged = true
	return true
}

// low reports whether it is time to ask for more. While more than ever may be under way, that is later if
// the library asks for twice what it asked for last: that is then more.
func (q *pipeline) low() bool {
	if q.high < q.limit && !q.filled {
		return q.under <= q.high/4
	}
	return q.under <= q.high/2
}

// hold notes that the library was not told of something. It may have been told to ask for more before, and
// have found nothing.
func (q *pipeline) hold() { q.held, q.nudged = true, false }

// came notes a block that was wanted, and returns how many may be under way from now on; 0 is as many as
// before.
func (q *pipeline) came(r torrent.Request, now time.Time) int {
	if r == q.probe && !q.sent.IsZero() {
		if took := now.Sub(q.sent); q.rtt == 0 || took < q.rtt {
			q.rtt = took
		}
		q.sent = time.Time{}
	}
	if q.since.IsZero() {
		q.since = now
		return 0
	}
	q.blocks++
	span := now.Sub(q.since)
	if span < pipelineSpan {
		return 0
	}
	rate := float64(q.blocks) / span.Seconds()
	q.since, q.blocks = now, 0
	enough := int(rate * (pipelineQueue + 2*q.rtt).Seconds())
	q.limit = min(q.reqq, max(enough, minPipeline, min(firstPipeline, int(rate))))
	return q.limit
}

// onRequest and onRequestEnd are called by the library for each block that it asks for, and when it
// no longer waits for it.
func (n *Node) onRequest(ev torrent.PeerRequestEvent) {
	if p := n.countRequest(ev, 1); p != nil {
		p.pipeline.asked(ev.Request, time.Now())
		p.fill() // it has begun to ask
	}
}

func (n *Node) onRequestEnd(ev torrent.PeerRequestEvent) {
	if p := n.countRequest(ev, -1); p != nil && p.pipeline.ended() && p.nudgeable() {
		p.wire.nudge()
	}
}

// countRequest returns the connection that a request is of; nil if it is not known.
func (n *Node) countRequest(ev torrent.PeerRequestEvent, d int64) *peerConn {
	if e := n.entry(infoHashOf(ev.Peer.Torrent())); e != nil {
		e.requests.Add(d)
	}
	if c, ok := ev.Peer.TryAsPeerConn(); ok {
		return n.peerConn(c)
	}
	return nil
}

// nudgeable reports whether the library can be made to ask a peer for more.
func (p *peerConn) nudgeable() bool {
	return p.wire != nil && p.wire.in.plain.Load() && p.conn.PeerExtensionBytes.SupportsFast()
}

// pace sets how many blocks a peer may be asked for, now that one has come.
func (p *peerConn) pace(m *pp.Message) {
	r := torrent.Request{Index: m.Index, ChunkSpec: torrent.ChunkSpec{Begin: m.Begin, Length: pp.Integer(len(m.Piece))}}
	if limit := p.pipeline.came(r, time.Now()); limit > 0 {
		p.conn.PeerMaxRequests = limit
	}
}

// hear notes what a peer says that it has, as the first thing.
//
// Of a peer that has everything the library does not note that each piece is more available. Those that
// it has a part of seem so later, and are then asked for last. So it hears of all pieces but one, and then
// of that one.
func (p *peerConn) hear(m *pp.Message, pieces []bool) {
	q, info := &p.pipeline, p.entry.store.currentInfo()
	if m.Type == pp.HaveAll && (info == nil || !p.nudgeable()) {
		q.all = true
		return
	}
	q.has = slices.Clone(pieces)
	if info != nil && p.nudgeable() {
		q.held = true
		p.tellHeld(m)
	}
}

// judgeHave holds have messages back until there is room for requests, and then makes one bitfield of
// them.
func (p *peerConn) judgeHave(m *pp.Message) messageVerdict {
	q := &p.pipeline
	if q.all {
		return pass
	}
	if n := int(m.Index) + 1; len(q.has) < n {
		q.has = append(q.has, make([]bool, n-len(q.has))...)
	}
	if q.has[m.Index] {
		return drop
	}
	q.has[m.Index] = true
	if !q.low() && p.nudgeable() {
		q.hold()
		return drop
	}
	p.tellHeld(m)
	return pass
}

// judgeSuggestion allows those that a nudge put there.
func (p *peerConn) judgeSuggestion(m *pp.Message) messageVerdict {
	if p.wire == nil || !p.wire.nudged() {
		return drop
	}
	p.tellHeld(m)
	return pass
}

// tellHeld makes a message one of all pieces that a peer has, if the library was not told of some.
func (p *peerConn) tellHeld(m *pp.Message) {
	q, info := &p.pipeline, p.entry.store.currentInfo()
	p.fill() // it will look what to ask for
	if !q.held {
		return
	}
	if q.last {
		*m = pp.Message{Type: pp.Have, Index: pp.Integer(info.Pieces() - 1)}
		q.held, q.last = false, false
		return
	}
	has := make([]bool, bitfieldBits(info.Pieces()))
	copy(has, q.has)
	if q.held = !slices.Contains(has[:info.Pieces()], false); q.held {
		has[info.Pieces()-1], q.last = false, true
		p.wire.nudge()
	}
	*m = pp.Message{Type: pp.Bitfield, Bitfield: has}
}
