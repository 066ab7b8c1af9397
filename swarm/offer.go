package swarm

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// A torrent costs the library some 20 KB while nobody wants it, and every one is looked at again
// and again. Of most that a node seeds, nobody wants anything most of the time. So a torrent can be
// offered: the node knows that it could open it, announces it, and loads it into the library when a
// peer comes for it (admit.go), or one is found in the DHT. When all have gone, it is unloaded.
const (
	// offerIdle is how long a loaded torrent may be without a connection: enough for who found
	// us through one peer to be dialled and for a reader's next pack.
	offerIdle = 30 * time.Second
	// idleInterval is how often that is looked at.
	idleInterval = 5 * time.Second
	// maxIdle is how many torrents without a connection may be loaded: strangers can have them
	// loaded by a handshake each.
	maxIdle = 256
)

// A Source is the bytes of a torrent, for several readers at once.
type Source interface {
	io.ReaderAt
	io.Closer
}

// An opener opens an offered torrent.
type opener func() (*Info, Source, error)

// An offer is a torrent that can be loaded.
type offer struct {
	hash     refs.InfoHash
	openers  []*opener // of all who offer it, the one in use first; under Node.ops
	schedule *schedule // under Node.mu
	entry    *entry    // nil while it is not loaded; under Node.mu
	source   Source    // of a loaded torrent; under Node.ops
	idle     time.Time // since when a loaded one has had no connection; under Node.mu
	sent     int64     // in earlier loads; under Node.mu
}

// Offer makes a torrent available to peers, as [Node.Seed] does, without having it in memory: open
// is called when somebody wants it, perhaps often, and what it returns is closed when nobody has
// wanted it for a while. Its bytes are taken to be right.
//
// The torrent is announced in the DHT at a random moment within some time, 0 for at once, and then
// again and again; one that is in use already, when its turn comes.
//
// Several may offer one torrent; each Seed has to be closed. One that is there already, seeded or
// fetched, continues without losing a connection and
// reads from what open returns. The error is [ErrBusy] while a [Download] of it is incomplete,
// [ErrClosed], or that of open.
func (n *Node) Offer(hash refs.InfoHash, within time.Duration, open func() (*Info, Source, error)) (*Seed, error) {
	n.ops.Lock()
	defer n.ops.Unlock()
	n.mu.Lock()
	closed, o := n.closed, n.offers[hash]
	n.mu.Unlock()
	op := (*opener)(&open)
	switch {
	case closed:
		return nil, ErrClosed
	case o != nil:
		o.openers = append(o.openers, op)
		return &Seed{node: n, offer: o, opener: op}, nil
	}
	o = &offer{hash: hash, openers: []*opener{op}, schedule: later(hash, within)}
	if e := n.entry(hash); e != nil {
		if n.busy(e) {
			return nil, ErrBusy
		}
		_, src, err := o.load()
		if err != nil {
			return nil, err
		}
		e.store.replace(src)
		e.users++
		o.entry, o.source, o.schedule = e, src, e.schedule
	}
	n.mu.Lock()
	n.offers[hash] = o
	n.mu.Unlock()
	n.wakeUp()
	return &Seed{node: n, offer: o, opener: op}, nil
}

// load opens what is offered.
func (o *offer) load() (*Info, Source, error) {
	info, src, err := (*o.openers[0])()
	if err != nil {
		return nil, nil, err
	}
	if info.hash != o.hash {
		src.Close()
		return nil, nil, fmt.Errorf("swarm: opening torrent %s gave %s", o.hash, info.hash)
	}
	return info, src, nil
}

// rouse makes sure that the library knows a torrent, if this node has it, and reports that.
func (n *Node) rouse(hash refs.InfoHash) bool {
	n.mu.Lock()
	o, e := n.offers[hash], n.entries[hash]
	if o != nil && e != nil {
		o.idle = time.Now() // who comes now must find it
	}
	n.mu.Unlock()
	if e != nil || o == nil {
		return e != nil
	}
	n.ops.Lock()
	defer n.ops.Unlock()
	return n.rouseLocked(hash)
}

// rouseLocked is rouse with the lock ops held.
func (n *Node) rouseLocked(hash refs.InfoHash) bool {
	n.mu.Lock()
	o, e, idle := n.offers[hash], n.entries[hash], n.idleOffers()
	n.mu.Unlock()
	if e != nil || o == nil {
		return e != nil
	}
	if len(idle) >= maxIdle {
		n.unload(idle[0])
	}
	info, src, err := o.load()
	if err != nil {
		n.log.Warn("cannot serve torrent", "infohash", hash, "error", err)
		return false
	}
	e, err = n.add(newEntry(hash, newSeedStore(info, src), o.schedule), info.bytes)
	if err != nil {
		src.Close()
		return false
	}
	o.source = src
	n.mu.Lock()
	defer n.mu.Unlock()
	o.entry, o.idle = e, time.Now()
	return true
}

// idleOffers lists the loaded offers that have no connection, the longest idle first, and notes of
// the others that they are not. It is called with the lock mu held.
func (n *Node) idleOffers() []*offer {
	connected := make(map[*entry]bool, len(n.conns))
	for _, p := range n.conns {
		connected[p.entry] = true
	}
	var idle []*offer
	now := time.Now()
	for _, e := range n.entries {
		o := n.offers[e.hash]
		if o == nil || o.entry != e {
			continue
		}
		if connected[e] {
			o.idle = now
			continue
		}
		idle = append(idle, o)
		for i := len(idle) - 1; i > 0 && idle[i].idle.Before(idle[i-1].idle); i-- {
			idle[i], idle[i-1] = idle[i-1], idle[i]
		}
	}
	return idle
}

// unload takes an offer out of the library, unless somebody else uses the torrent. The lock ops is
// held.
func (n *Node) unload(o *offer) {
	n.mu.Lock()
	e := o.entry
	n.mu.Unlock()
	if e == nil || e.users > 1 {
		return
	}
	sent := n.TorrentStats(o.hash).Sent
	n.mu.Lock()
	o.sent, o.entry = sent, nil
	n.mu.Unlock()
	n.releaseLocked(e)
	o.closeSource(n)
}

// closeSource closes what was opened. The lock ops is held.
func (o *offer) closeSource(n *Node) {
	if o.source == nil {
		return
	}
	if err := o.source.Close(); err != nil {
		n.log.Warn("closing a torrent", "infohash", o.hash, "error", err)
	}
	o.source = nil
}

// idleLoop unloads what nobody wants any more, until the node ends.
func (n *Node) idleLoop() {
	tick := time.NewTicker(idleInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			n.unloadIdle(time.Now().Add(-offerIdle))
		case <-n.ctx.Done():
			return
		}
	}
}

// unloadIdle unloads the offers that have been idle since a time.
func (n *Node) unloadIdle(since time.Time) {
	n.ops.Lock()
	defer n.ops.Unlock()
	n.mu.Lock()
	idle := slices.DeleteFunc(n.idleOffers(), func(o *offer) bool { return !o.idle.Before(since) })
	n.mu.Unlock()
	for _, o := range idle {
		n.unload(o)
	}
}

// withdraw ends what one of its openers offers. Where there are others, they take over.
func (n *Node) withdraw(o *offer, op *opener) {
	n.ops.Lock()
	defer n.ops.Unlock()
	i := slices.Index(o.openers, op)
	o.openers = slices.Delete(o.openers, i, i+1)
	n.mu.Lock()
	e := o.entry
	n.mu.Unlock()
	if len(o.openers) > 0 && (e == nil || i != 0) {
		return
	}
	if len(o.openers) > 0 {
		if _, src, err := o.load(); err == nil {
			e.store.replace(src)
			o.closeSource(n)
			o.source = src
			return
		}
	}
	n.mu.Lock()
	o.entry = nil
	if len(o.openers) == 0 && n.offers[o.hash] == o {
		delete(n.offers, o.hash)
	}
	n.mu.Unlock()
	if e != nil {
		n.releaseLocked(e)
	}
	o.closeSource(n)
}

// hashes gives the torrents that the node has, loaded or not.
func (n *Node) hashes(yield func(refs.InfoHash) bool) {
	n.mu.Lock()
	list := make([]refs.InfoHash, 0, len(n.entries)+len(n.offers))
	for h := range n.entries {
		list = append(list, h)
	}
	for h, o := range n.offers {
		if o.entry == nil {
			list = append(list, h)
		}
	}
	n.mu.Unlock()
	for _, h := range list {
		if !yield(h) {
			return
		}
	}
}
