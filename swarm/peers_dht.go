package swarm

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/anacrolix/dht/v2/krpc"
	"github.com/anacrolix/torrent"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/refs"
)

// The peers of a repository meet at its rendezvous (announce). Each torrent is announced under its
// infohash as well: that is where clients of others look for it. The library could do that, but
// with the wrong port behind a wrapper, one goroutine a torrent, and no second try for a quarter of
// an hour when there was no network. Here one goroutine goes through the torrents as they fall due.
const (
	// announceInterval is well below the 45 minutes for which nodes keep a peer.
	announceInterval = 25 * time.Minute
	// AnnounceLater is how long the first announcement of a seed may wait that others have, too:
	// what was fetched came from somebody, and at the rendezvous its new holder is known at once.
	// So a short fetch costs no announcement, and many packs no burst of them.
	AnnounceLater = 5 * time.Minute
	// searchAfter is when a download that was given peers asks the DHT for more: over a link with
	// a round trip of 300 ms they have had time to send a small torrent.
	searchAfter = 1500 * time.Millisecond
	// firstSearch and lastSearch are how soon a download looks for peers again.
	firstSearch = 10 * time.Second
	lastSearch  = 5 * time.Minute
	// announceRetry is how soon a seed tries again when no DHT node answered.
	announceRetry = 30 * time.Second
	// announceSpacing keeps the announcing of many seeds to a third of what the DHT may send, so
	// that records are not kept waiting: 3,000 torrents fit into one interval.
	announceSpacing = 500 * time.Millisecond
	// parallelAnnounces is how many torrents walk through the DHT at once.
	parallelAnnounces = 4
	// announceTime bounds one walk and the announcing after it.
	announceTime = 30 * time.Second
)

// schedule is when a torrent is due to be looked up and announced; under Node.mu.
type schedule struct {
	hash    refs.InfoHash
	due     time.Time
	running bool
	wait    time.Duration // of a download, the current pause
	nodes   int           // DHT nodes that answered the last search
	done    bool          // it was announced, or that was tried
}

// later is the schedule of a torrent whose first announcement comes at a random moment within some
// time, 0 for at once.
func later(hash refs.InfoHash, within time.Duration) *schedule {
	s := &schedule{hash: hash}
	if within > 0 {
		s.due = time.Now().Add(rand.N(within))
	}
	return s
}

// announceLoop announces torrents as they fall due, until ctx ends.
func (n *Node) announceLoop(ctx context.Context) {
	slots := make(chan struct{}, parallelAnnounces)
	for {
		s, pause := n.nextDue(time.Now())
		if s == nil {
			t := time.NewTimer(pause)
			select {
			case <-t.C:
			case <-n.wake:
			case <-ctx.Done():
			}
			t.Stop()
			if ctx.Err() != nil {
				return
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		n.work.Go(func() {
			defer func() { <-slots }()
			n.announce(ctx, s)
		})
	}
}

// A turn is a torrent whose announcement may be due.
type turn struct {
	*schedule
	loading bool // it is incomplete
}

// turns gives all torrents that are not being announced. It is called with Node.mu held.
func (n *Node) turns(yield func(turn) bool) {
	for _, e := range n.entries {
		if !e.schedule.running && !yield(turn{e.schedule, e.loading != nil}) {
			return
		}
	}
	for _, o := range n.offers {
		if o.entry == nil && n.entries[o.hash] == nil && !o.schedule.running && !yield(turn{o.schedule, false}) {
			return
		}
	}
}

// nextDue takes the torrent that is due longest, a download before a seed; or says how long none is.
func (n *Node) nextDue(now time.Time) (*schedule, time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var first turn
	for t := range n.turns {
		if first.schedule == nil || t.before(first, now) {
			first = t
		}
	}
	if first.schedule == nil {
		return nil, announceInterval
	}
	due := first.due
	if !first.loading && due.Before(n.nextSeed) {
		due = n.nextSeed
	}
	if due.After(now) {
		return nil, due.Sub(now)
	}
	if !first.loading {
		n.nextSeed = now.Add(announceSpacing)
	}
	first.running = true
	return first.schedule, 0
}

// before reports whether t comes before u: what is due before what is not, then downloads before
// seeds, then by time.
func (t turn) before(u turn, now time.Time) bool {
	tDue, uDue := !t.due.After(now), !u.due.After(now)
	switch {
	case tDue != uDue:
		return tDue
	case tDue && t.loading != u.loading:
		return t.loading
	default:
		return t.due.Before(u.due)
	}
}

// announce looks a torrent up in the DHT, takes the peers found there, and announces it.
func (n *Node) announce(ctx context.Context, s *schedule) {
	ctx, cancel := context.WithTimeout(ctx, announceTime)
	defer cancel()
	target := announce.Target(s.hash)
	found, err := n.dht.FindPeers(ctx, target)
	accepted := 0
	if found != nil {
		n.foundPeers(s.hash, found.Peers)
		if err == nil {
			accepted, err = n.dht.Announce(ctx, found.Closest, target, n.AnnouncePort())
		}
	}
	n.log.Debug("announced torrent", "infohash", s.hash, "nodes", accepted, "err", err)

	n.mu.Lock()
	defer n.mu.Unlock()
	s.running, s.done = false, true
	if found != nil {
		s.nodes = found.Answered
	}
	e := n.entries[s.hash]
	s.due = time.Now().Add(s.pause(e != nil && e.loading != nil, accepted > 0))
	n.wakeUp()
}

// foundPeers dials the peers of a torrent.
func (n *Node) foundPeers(hash refs.InfoHash, peers []netip.AddrPort) {
	if n.rouseFor(hash, peers) {
		n.AddPeers(hash, peers)
	}
}

// rouseFor reports whether a torrent has other peers than ourselves and is loaded. One that is only
// offered is loaded for them: where nobody can call us, we have to call.
func (n *Node) rouseFor(hash refs.InfoHash, peers []netip.AddrPort) bool {
	return slices.ContainsFunc(peers, func(a netip.AddrPort) bool { return !n.isSelf(a) }) && n.rouse(hash)
}

// pause is how long a torrent can wait for its next announcement.
func (s *schedule) pause(incomplete, announced bool) time.Duration {
	switch {
	case incomplete:
		s.wait = min(max(firstSearch, 2*s.wait), lastSearch)
		return s.wait
	case !announced:
		s.wait = min(max(announceRetry, 2*s.wait), announceInterval)
		return s.wait
	default:
		s.wait = 0
		return announceInterval + rand.N(announceInterval/5)
	}
}

// wakeUp makes the announce loop look again.
func (n *Node) wakeUp() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// searched returns how many DHT nodes answered the last search for a torrent.
func (n *Node) searched(e *entry) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return e.schedule.nodes
}

// meet makes the acquaintance of the DHT node of a peer, which said its port (BEP 5).
func (n *Node) meet(p *peerConn, port uint16) {
	if p.met || port == 0 || !p.addr.IsValid() {
		return
	}
	p.met = true
	n.spawn(func() {
		ctx, cancel := context.WithTimeout(n.ctx, announceTime)
		defer cancel()
		n.dht.Meet(ctx, netip.AddrPortFrom(p.addr.Addr(), port))
	})
}

// dhtPort is all that the library knows of the DHT: its port, to tell the peers.
type dhtPort struct{ addr netip.AddrPort }

var _ torrent.DhtServer = dhtPort{}

func (d dhtPort) Addr() net.Addr            { return net.UDPAddrFromAddrPort(d.addr) }
func (dhtPort) ID() (id [20]byte)           { return id }
func (dhtPort) Stats() any                  { return nil }
func (dhtPort) WriteStatus(io.Writer)       {}
func (dhtPort) AddNode(krpc.NodeInfo) error { return nil }
func (dhtPort) Ping(*net.UDPAddr)           {}
func (dhtPort) Announce([20]byte, int, bool) (torrent.DhtAnnounce, error) {
	return nil, errors.New("swarm: the library does not announce")
}
