package swarm

import (
	"slices"
	"sync"
	"time"
)

// Super-seeding (BEP 16), so that N readers cost a weak origin little more than one copy. Left to
// themselves, readers that begin at the same time ask a lone seeder for the same pieces, since all
// that they see of it is that it has everything. So while nobody else has it all, the seeder shows
// each reader only some pieces, each to another one, and a few more as these are taken. The readers
// get the rest from each other, and rarest first is then a matter of who was shown what.
//
// It must cost nobody anything:
//
//   - A reader that is alone sees everything once it has taken a piece quickly, or after half a
//     second, and so does everybody who comes when the other peers together hold a second copy.
//   - Each reader is shown pieces that it lacks, as many as it takes in about a second, so that the
//     uplink is used as well as without. When all pieces were shown to somebody, those follow that
//     nobody has yet, then the rarest ones; but each only once those to whom it was shown have had
//     time to get it and to pass it on, or to a reader to whom nothing comes.
//   - A reader that does not want what it is shown, or takes none of it, soon sees everything: it
//     reads a part, or it waits for something.
const (
	// firstWindow is how many bytes a reader is shown ahead of what it has taken, to begin with.
	firstWindow = 128 << 10
	// minWindow is the least of it. At least two pieces are shown as well.
	minWindow = 64 << 10
	// maxWindow is enough for 1 Gbit/s over 100 ms.
	maxWindow = 16 << 20
	// quickTake and slowTake: the window grows while pieces are taken sooner than the one after
	// they were shown, and shrinks when it takes longer than the other.
	quickTake = 300 * time.Millisecond
	slowTake  = 900 * time.Millisecond
	// company is how long a reader that is alone waits for others to come.
	company = 500 * time.Millisecond
	// uninterested and patience are how long a reader is given to want, and to take, what it is
	// shown.
	uninterested = 2 * time.Second
	patience     = 5 * time.Second
	// smallest is how long a torrent is of which readers see only a part: less costs little more
	// than the wait for it.
	smallest = 64 << 10
	// spread is how long a piece that was shown to one reader is not shown to others, to begin with
	// and at least; else it is longer than it nearly always takes until the reader has it.
	spread = 500 * time.Millisecond
)

// superseed is what is known of the peers of one torrent, and which pieces each of them is shown.
type superseed struct {
	mu      sync.Mutex
	holders []int         // by piece: peers that have it
	pending []int         // by piece: readers that were shown it or asked for it, and lack it
	shownAt []time.Time   // by piece: when a reader was last shown it or asked for it
	took    time.Duration // until a reader has a piece that it was shown, on average
	varies  time.Duration // by how much that varies
	lacked  int           // pieces without holders
	peers   map[*peerConn]*viewer
}

// viewer is one peer.
type viewer struct {
	has        []bool // nil: nothing
	all        bool   // has everything
	count      int    // of has
	interested bool

	shown   []bool // nil: everything
	open    map[int]*shownPiece
	waiting int   // pieces of open that were not sent whole
	window  int64 // bytes that may be waiting
	began   time.Time
	moved   time.Time // when it last wanted or took something
	show    func(pieces []int)
}

// shownPiece is one that was shown to a reader, or asked for by one.
type shownPiece struct {
	since time.Time
	sent  int64
}

// grow makes room for the pieces of a torrent.
func (o *superseed) grow(pieces int) {
	n := pieces - len(o.holders)
	if n <= 0 {
		return
	}
	all := 0
	for _, a := range o.peers {
		if a.all {
			all++
		}
	}
	o.holders = append(o.holders, slices.Repeat([]int{all}, n)...)
	o.pending = append(o.pending, make([]int, n)...)
	o.shownAt = append(o.shownAt, make([]time.Time, n)...)
	if all == 0 {
		o.lacked += n
	}
}

func (o *superseed) peer(p *peerConn) *viewer {
	a := o.peers[p]
	if a == nil {
		a = &viewer{open: make(map[int]*shownPiece)}
		if o.peers == nil {
			o.peers = make(map[*peerConn]*viewer)
		}
		o.peers[p] = a
	}
	return a
}

// begin takes up a peer of a complete torrent, and reports whether it is to be shown only some
// pieces, which are then given to show.
func (o *superseed) begin(p *peerConn, info *Info, show func([]int), now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.grow(info.Pieces())
	a := o.peer(p)
	if o.lacked == 0 || info.length <= smallest {
		return false
	}
	a.shown, a.show, a.window = make([]bool, info.Pieces()), show, firstWindow
	a.began, a.moved = now, now
	o.fill(a, info, now)
	return true
}

// readers counts the peers that lack something.
func (o *superseed) readers(info *Info) (n int) {
	for _, a := range o.peers {
		if !a.complete(info) {
			n++
		}
	}
	return n
}

func (a *viewer) complete(info *Info) bool {
	return a.all || info != nil && a.count == info.Pieces()
}

func (a *viewer) hasPiece(i int) bool { return a.all || i < len(a.has) && a.has[i] }

// sated reports whether a peer has everything.
func (o *superseed) sated(p *peerConn, info *Info) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.peers[p]
	return a != nil && a.complete(info)
}

// end forgets a peer.
func (o *superseed) end(p *peerConn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.peers[p]
	if a == nil {
		return
	}
	delete(o.peers, p)
	for i := range a.open {
		o.pending[i]--
	}
	for i := range o.holders {
		if a.hasPiece(i) {
			o.drop(i)
		}
	}
}

func (o *superseed) drop(i int) {
	if o.holders[i]--; o.holders[i] == 0 {
		o.lacked++
	}
}

// have notes that a peer has some pieces: one in a have message, several in a bitfield, or all.
func (o *superseed) have(p *peerConn, info *Info, pieces []int, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.peer(p)
	for _, i := range pieces {
		if f := a.open[i]; f != nil {
			o.arrived(now.Sub(f.since))
		}
		o.gain(a, i)
	}
	a.moved = now
	if a.shown != nil && info != nil {
		o.fill(a, info, now)
	}
}

// arrived notes how long it took until a reader had a piece that it was shown.
func (o *superseed) arrived(d time.Duration) {
	o.varies += ((d - o.took).Abs() - o.varies) / 4
	o.took += (d - o.took) / 8
}

// wait is how long a piece that was shown to one reader is not shown to others: as TCP waits for an answer
// (RFC 6298), but no longer than patience, whatever readers do.
func (o *superseed) wait() time.Duration { return min(max(o.took+4*o.varies, spread), patience) }

func (o *superseed) haveAll(p *peerConn, pieces int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.grow(pieces)
	a := o.peer(p)
	for i := range o.holders {
		o.gain(a, i)
	}
	a.all = true
}

func (o *superseed) gain(a *viewer, i int) {
	if a.hasPiece(i) {
		return
	}
	o.grow(i + 1)
	if n := len(a.has); n <= i {
		a.has = append(a.has, make([]bool, len(o.holders)-n)...)
	}
	a.has[i] = true
	a.count++
	if o.holders[i]++; o.holders[i] == 1 {
		o.lacked--
	}
	if f := a.open[i]; f != nil {
		o.close(a, i, f)
	}
}

func (o *superseed) close(a *viewer, i int, f *shownPiece) {
	delete(a.open, i)
	o.pending[i]--
	if f.sent >= 0 {
		a.waiting--
	}
}

// asked notes that a peer requests a piece.
func (o *superseed) asked(p *peerConn, i int, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.peers[p]
	if a == nil || i >= len(o.pending) || a.hasPiece(i) || a.open[i] != nil {
		return
	}
	o.open(a, i, now)
}

// open notes that a reader will get a piece from us.
func (o *superseed) open(a *viewer, i int, now time.Time) {
	a.open[i] = &shownPiece{since: now}
	a.waiting++
	o.pending[i]++
	o.shownAt[i] = now
}

func (o *superseed) interest(p *peerConn, interested bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.peers[p]; a != nil {
		a.interested = interested
	}
}

// busy notes that a peer is still at the metadata.
func (o *superseed) busy(p *peerConn, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.peers[p]; a != nil {
		a.moved = now
	}
}

// sent notes that a block of a piece went out to a peer, and shows it more once the piece is whole.
func (o *superseed) sent(p *peerConn, info *Info, piece int, n int64, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.peers[p]
	if a == nil || a.shown == nil {
		return
	}
	a.moved = now
	f := a.open[piece]
	if f == nil || f.sent < 0 {
		return
	}
	_, length := info.pieceBounds(piece)
	if f.sent += n; f.sent < length {
		return
	}
	f.sent = -1
	a.waiting--
	switch took := now.Sub(f.since); {
	case took < quickTake:
		if o.readers(info) <= 1 {
			a.showAll() // who begins at the same time is here by now
			return
		}
		a.window = min(a.window+length, maxWindow)
	case took > slowTake:
		a.window = max(a.window-length, minWindow)
	}
	o.fill(a, info, now)
}

// check shows everything to a reader that is alone, or does not take what it is shown, and reports
// whether it sees only a part.
func (o *superseed) check(p *peerConn, info *Info, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.peers[p]
	if a == nil || a.shown == nil {
		return false
	}
	idle := now.Sub(a.moved)
	alone := o.readers(info) <= 1 && now.Sub(a.began) >= company
	if !alone && idle < patience && (a.interested || idle < uninterested) {
		o.fill(a, info, now)
		return true
	}
	a.showAll()
	return false
}

func (a *viewer) showAll() {
	var rest []int
	for i, shown := range a.shown {
		if !shown {
			rest = append(rest, i)
		}
	}
	a.shown = nil
	a.show(rest)
}

// fill shows a reader as many pieces as fit into its window, once it is half empty: some clients
// (the library) ask for much at a time only when they hear of much at a time.
func (o *superseed) fill(a *viewer, info *Info, now time.Time) {
	if a.waiting >= 2 && int64(a.waiting)*info.pieceLength > a.window/2 {
		return
	}
	again := o.again(a, now)
	var fresh []int
	for a.waiting < 2 || int64(a.waiting+1)*info.pieceLength <= a.window {
		i := o.choose(a, again)
		if i < 0 {
			break
		}
		a.shown[i] = true
		o.open(a, i, now)
		fresh = append(fresh, i)
	}
	if len(fresh) > 0 {
		a.show(fresh)
	}
}

// again returns until when pieces must have been shown to others to be shown to a reader: not if it waits
// for what it was shown, and all if nothing comes to it.
func (o *superseed) again(a *viewer, now time.Time) time.Time {
	wait := o.wait()
	switch {
	case now.Sub(a.moved) >= wait:
		return now
	case len(a.open) > 0:
		return time.Time{}
	}
	return now.Add(-wait)
}

// choose picks the next piece to show: one that nobody has, was shown or asked for, in order; then, of
// those that were shown until again and may no longer come from others, one that nobody has, and of these
// that which fewest wait for, the last one, since it will be the last that they get; then the rarest. It
// returns -1 if there is none.
func (o *superseed) choose(a *viewer, again time.Time) int {
	best := -1
	for i, shown := range a.shown {
		if shown || a.hasPiece(i) {
			continue
		}
		if o.holders[i] == 0 && o.pending[i] == 0 {
			return i
		}
		if o.shownAt[i].After(again) {
			continue
		}
		if best < 0 || o.holders[i] < o.holders[best] ||
			o.holders[i] == o.holders[best] && o.pending[i] <= o.pending[best] {
			best = i
		}
	}
	return best
}
