package swarm

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/anacrolix/dht/v2/krpc"
)

// Bounds of one walk through the DHT.
const (
	// closest is how many nodes a walk converges on, and so how many hold a
	// record: of 20 copies all but a few percent have one left after two days
	// without republishing; of 8, a third are gone.
	closest = 20
	// closestPeers is how many nodes hold the peers of a torrent, and so how many
	// a search for them converges on: 8 is the k of BEP 5, and peers are announced
	// again twice an hour. Of a search and an announcement with 20, three
	// fifths would be for nothing.
	closestPeers = 8
	// parallel is how many nodes are asked at once (α), or as many as are looked
	// for. On a table that is half dead, 3 takes three times as long.
	parallel = 12
	// slowAfter is when a node that has not answered yet gives its place
	// among the parallel ones to another.
	slowAfter = 400 * time.Millisecond
	// maxAsked ends a walk that others try to keep going with endless lists
	// of ever closer nodes. Honest ones take 20 to 90.
	maxAsked = 300
	// maxTold is how many nodes of one answer are taken up; 8 is usual, 20 the
	// most that any implementation sends.
	maxTold = 32
	// maxPerHost is how many nodes at one Internet address are taken up. It
	// bounds what can be aimed at a host; it is not 1, or one lie about the port
	// of an honest node would hide it.
	maxPerHost = 8
)

// contact is a node that one can ask; its id is zero if not known yet.
type contact savedNode

// reply is what a node answered: its id and the nodes that it names.
type reply struct {
	id    NodeID
	nodes []contact
}

// askFunc asks one node whatever the walk is for and calls answer for each
// answer, from one goroutine at a time. It returns when ctx ends.
type askFunc func(ctx context.Context, to netip.AddrPort, answer func(reply))

// found is how a walk ended.
type found struct {
	closest         []contact // that answered, nearest first, one per Internet address
	asked, answered int
}

// walk is the state of one iterative lookup. One goroutine owns it.
type walk struct {
	self   NodeID
	target NodeID
	count  int // nodes to converge on
	ask    askFunc

	queue    []*step // not asked yet, the most promising first
	steps    map[netip.AddrPort]*step
	hosts    map[netip.Addr]int // nodes taken up per Internet address
	answered []*step            // by distance
	busy     int                // nodes that hold one of the parallel places
	asked    int
	events   chan event
}

// step is one node on the way.
type step struct {
	contact
	distance NodeID // zero while the id is unknown: such nodes are asked first
	state    stepState
	slow     bool
	done     bool
}

type stepState int

const (
	waiting stepState = iota
	asking
	answering // has answered at least once
)

// event is what a goroutine that asks has to tell.
type event struct {
	from *step
	kind eventKind
	reply
}

type eventKind int

const (
	answered eventKind = iota
	slowed
	ended
)

// walk goes from start towards target, asking each node with ask, until the
// count closest nodes it has heard of have answered or timed out. All that ask
// started has returned when it returns.
func (d *DHT) walk(ctx context.Context, target NodeID, count int, start []contact, ask askFunc) (f found) {
	defer func(caller context.Context) {
		if caller.Err() == nil {
			d.patience.walked(f, time.Now())
		}
	}(ctx)
	ctx, cancel := context.WithCancel(ctx)
	w := &walk{
		self: d.saved.id, target: target, count: count, ask: ask,
		steps: map[netip.AddrPort]*step{}, hosts: map[netip.Addr]int{},
		// Room for every event there can be, so that no sender waits after the end.
		events: make(chan event, maxAsked*4),
	}
	for _, c := range start {
		w.take(c)
	}
	var running sync.WaitGroup
	for w.next(ctx, &running) {
		select {
		case e := <-w.events:
			w.handle(e)
		case <-ctx.Done():
			cancel()
			running.Wait()
			return w.result()
		}
	}
	cancel()
	running.Wait()
	return w.result()
}

// take puts a contact on the queue if it is new.
func (w *walk) take(c contact) {
	if _, known := w.steps[c.addr]; known || c.id == w.self || !c.addr.IsValid() {
		return
	}
	if scopeOf(c.addr.Addr()) == 0 {
		if w.hosts[c.addr.Addr()] >= maxPerHost {
			return
		}
		w.hosts[c.addr.Addr()]++
	}
	s := &step{contact: c}
	if c.id != (NodeID{}) {
		s.distance = distance(c.id, w.target)
	}
	w.steps[c.addr] = s
	i, _ := slices.BinarySearchFunc(w.queue, s, nearer)
	w.queue = slices.Insert(w.queue, i, s)
}

// next starts as many questions as there are places for and reports whether
// there is something to wait for.
func (w *walk) next(ctx context.Context, running *sync.WaitGroup) bool {
	for w.busy < min(parallel, w.count) && w.asked < maxAsked && len(w.queue) > 0 && w.wanted(w.queue[0]) && ctx.Err() == nil {
		s := w.queue[0]
		w.queue = w.queue[1:]
		w.start(ctx, s, running)
	}
	for _, s := range w.steps {
		if w.pending(s) {
			return true
		}
	}
	return false
}

// wanted reports whether s may still belong to the closest.
func (w *walk) wanted(s *step) bool {
	return len(w.answered) < w.count || bytes.Compare(s.distance[:], w.answered[w.count-1].distance[:]) < 0
}

// pending reports whether the walk should wait for s: not for a second answer
// of a node that has given one and is slow with the other, nor for a node that
// is too far away by now.
func (w *walk) pending(s *step) bool {
	switch {
	case s.state == waiting || s.done:
		return false
	case s.state == answering && s.slow:
		return false
	}
	return s.state == answering || w.wanted(s)
}

func (w *walk) start(ctx context.Context, s *step, running *sync.WaitGroup) {
	s.state = asking
	w.asked++
	w.busy++
	running.Go(func() {
		slow := time.AfterFunc(slowAfter, func() { w.events <- event{from: s, kind: slowed} })
		defer slow.Stop()
		w.ask(ctx, s.addr, func(r reply) { w.events <- event{from: s, kind: answered, reply: r} })
		w.events <- event{from: s, kind: ended}
	})
}

func (w *walk) handle(e event) {
	s := e.from
	holdsPlace := s.state == asking && !s.slow && !s.done
	switch e.kind {
	case slowed:
		s.slow = true
	case ended:
		s.done = true
	case answered:
		if s.state != answering {
			s.state = answering
			s.id = e.id // its own word counts, not what others said
			s.distance = distance(e.id, w.target)
			i, _ := slices.BinarySearchFunc(w.answered, s, nearer)
			w.answered = slices.Insert(w.answered, i, s)
		}
		for i, c := range e.nodes {
			if i == maxTold {
				break
			}
			if c.id != (NodeID{}) && mayPoint(s.addr, c.addr) {
				w.take(c)
			}
		}
	}
	if holdsPlace {
		w.busy--
	}
}

func (w *walk) result() found {
	f := found{asked: w.asked, answered: len(w.answered)}
	hosts := map[netip.Addr]bool{}
	for _, s := range w.answered {
		host := s.addr.Addr()
		if len(f.closest) == w.count {
			break
		}
		if scopeOf(host) == 0 && hosts[host] {
			continue // one host, one copy
		}
		hosts[host] = true
		f.closest = append(f.closest, s.contact)
	}
	return f
}

func nearer(a, b *step) int { return bytes.Compare(a.distance[:], b.distance[:]) }

func distance(a, b NodeID) (d NodeID) {
	for i := range d {
		d[i] = a[i] ^ b[i]
	}
	return d
}

// contactsIn returns the nodes that an answer names. IPv4 addresses mapped
// into IPv6, as unrepaired nodes send them, become IPv4 ones.
func contactsIn(r *krpc.Return) []contact {
	var out []contact
	r.ForAllNodes(func(n krpc.NodeInfo) {
		ip, _ := netip.AddrFromSlice(n.Addr.IP)
		out = append(out, contact{id: NodeID(n.ID), addr: netip.AddrPortFrom(ip.Unmap(), uint16(n.Addr.Port))})
	})
	return out
}
