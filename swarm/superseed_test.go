package swarm

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// shownTo is a seeder of 128 pieces, and what it shows to whom.
type shownTo struct {
	superseed
	info *Info
	now  time.Time
	list map[*peerConn][]int
}

func newShownTo(t *testing.T) *shownTo {
	t.Helper()
	s := &shownTo{info: pseudo{51, 4 << 20}.info(t), now: time.Unix(1_800_000_000, 0), list: map[*peerConn][]int{}}
	if s.info.Pieces() != 128 || s.info.PieceLength() != 32<<10 {
		t.Fatalf("%d pieces of %d bytes, want 128 of 32 KiB", s.info.Pieces(), s.info.PieceLength())
	}
	return s
}

// join has a reader come.
func (s *shownTo) join(t *testing.T) *peerConn {
	t.Helper()
	p := new(peerConn)
	if !s.begin(p, s.info, func(pieces []int) { s.list[p] = append(s.list[p], pieces...) }, s.now) {
		t.Fatal("a reader is shown everything though nobody else has anything")
	}
	return p
}

// take sends a reader whole pieces.
func (s *shownTo) take(p *peerConn, pieces ...int) {
	for _, i := range pieces {
		s.sent(p, s.info, i, blockLength, s.now)
		s.sent(p, s.info, i, s.info.PieceLength()-blockLength, s.now)
	}
}

func pieces(from, to int) (list []int) {
	for i := from; i < to; i++ {
		list = append(list, i)
	}
	return list
}

func (s *shownTo) want(t *testing.T, p *peerConn, what string, want []int) {
	t.Helper()
	if !slices.Equal(s.list[p], want) {
		t.Errorf("%s: shown are %v, want %v", what, s.list[p], want)
	}
}

// Each reader is shown other pieces, more of them only as it takes some, and those that nobody has
// been shown come first.
func TestSuperseedShowsToEachOther(t *testing.T) {
	s := newShownTo(t)
	a, b := s.join(t), s.join(t)
	s.want(t, a, "the first reader", pieces(0, 4)) // firstWindow
	s.want(t, b, "the second reader", pieces(4, 8))
	s.sent(a, s.info, 0, blockLength, s.now)
	s.sent(a, s.info, 1, blockLength, s.now)
	s.want(t, a, "halves of two pieces taken", pieces(0, 4))
	s.now = s.now.Add(slowTake) // neither soon nor late
	s.sent(a, s.info, 0, blockLength, s.now)
	s.want(t, a, "one of four taken", pieces(0, 4))
	s.sent(a, s.info, 1, blockLength, s.now)
	s.want(t, a, "two of four taken", append(pieces(0, 4), 8, 9))
	// What a reader has got from others is not shown to it, nor what another one asks for by itself.
	s.have(b, s.info, []int{10, 11}, s.now)
	s.asked(b, 12, s.now)
	s.take(a, 2, 3)
	s.want(t, a, "when others have some", append(pieces(0, 4), 8, 9, 13, 14))
	// The other reader has what was shown to the first one: that makes room for more.
	s.have(a, s.info, []int{8, 9, 13, 14}, s.now)
	s.want(t, a, "four had", append(pieces(0, 4), 8, 9, 13, 14, 15, 16, 17, 18))
}

// When every piece was shown to somebody, those follow that nobody has got, of these the ones that
// fewest wait for; and then the rarest.
func TestSuperseedChooses(t *testing.T) {
	s := newShownTo(t)
	a, b, c := s.join(t), s.join(t), s.join(t)
	n := s.info.Pieces()
	all := s.peers[a]
	for i := range n {
		s.asked(b, i, s.now)
	}
	s.asked(c, 99, s.now)
	if got := s.choose(all, s.now); got != n-1 {
		t.Errorf("all are waited for by one: chosen is %d, want the last", got)
	}
	for i := range n {
		if i != 99 && i != 40 {
			s.asked(c, i, s.now)
		}
	}
	if got := s.choose(all, s.now); got != 40 {
		t.Errorf("chosen is %d, want 40, which fewest wait for", got)
	}
	for i := range n {
		if i != 70 {
			s.gain(s.peers[b], i)
		}
	}
	if got := s.choose(all, s.now); got != 70 {
		t.Errorf("chosen is %d, want 70, which nobody has", got)
	}
	s.gain(s.peers[b], 70)
	for i := range n {
		if i != 50 {
			s.gain(s.peers[c], i)
		}
	}
	if got := s.choose(all, s.now); got != 50 {
		t.Errorf("chosen is %d, want 50, the rarest", got)
	}
	all.all = true
	if got := s.choose(all, s.now); got != -1 {
		t.Errorf("for a reader that has everything %d is chosen", got)
	}
}

// What was shown to one reader is shown to others only when that one has had time to get it and to pass
// it on, or to one to whom nothing comes; who waits is looked at again and again.
func TestSuperseedWaits(t *testing.T) {
	const tick = time.Millisecond
	s := newShownTo(t)
	a, b := s.join(t), s.join(t)
	n := s.info.Pieces()
	for i := range n {
		s.asked(b, i, s.now)
	}
	s.interest(a, true)
	s.take(a, 0, 1, 2, 3)
	s.want(t, a, "all was shown to others just now", pieces(0, 4))
	s.now = s.now.Add(spread - tick)
	s.check(a, s.info, s.now)
	s.want(t, a, "not long after", pieces(0, 4))
	s.now = s.now.Add(tick)
	s.check(a, s.info, s.now)
	if got := len(s.list[a]); got <= 4 {
		t.Errorf("after a while %d pieces are shown, want more than 4", got)
	}

	// Pieces take a second until b has them: others are shown those of b that later.
	s.now = s.now.Add(time.Second - spread)
	s.have(b, s.info, pieces(4, 100), s.now)
	if w := s.wait(); w < time.Second || w > 1100*time.Millisecond {
		t.Fatalf("pieces that take a second are shown to others after %v", w)
	}
	x, y := s.peers[a], s.peers[b]
	for i := range n {
		s.shownAt[i] = s.now
	}
	waits := x.open
	for _, c := range []struct {
		after, moved time.Duration // of s.now
		open         map[int]*shownPiece
		shown        bool
	}{
		{s.wait() - tick, s.wait() - tick, nil, false},
		{s.wait() - tick, 0, nil, false},
		{s.wait(), s.wait(), nil, true},
		{s.wait(), s.wait(), waits, false},
		{s.wait(), 0, waits, true},
	} {
		x.moved, x.open = s.now.Add(c.moved), c.open
		if got := s.choose(x, s.again(x, s.now.Add(c.after))); got >= 0 != c.shown {
			t.Errorf("%v after all was shown, %v after something came, a reader that waits for %d pieces is shown %d", c.after, c.after-c.moved, len(c.open), got)
		}
	}
	// All was shown just now, and for as long nothing has come to b.
	x.moved, y.moved = s.now, s.now.Add(-s.wait())
	if i, j := s.choose(x, s.again(x, s.now)), s.choose(y, s.again(y, s.now)); i >= 0 || j < 0 {
		t.Errorf("a reader to whom something comes is shown %d, one to whom nothing comes %d", i, j)
	}
	if s.arrived(time.Hour); s.wait() != patience {
		t.Errorf("after a piece that took an hour others wait %v, want %v", s.wait(), patience)
	}
}

// Of a torrent that is small everybody sees everything.
func TestSuperseedSmall(t *testing.T) {
	for size, part := range map[int64]bool{smallest: false, smallest + 1: true} {
		var o superseed
		if got := o.begin(new(peerConn), pseudo{51, size}.info(t), func([]int) {}, time.Now()); got != part {
			t.Errorf("of %d bytes a reader sees only a part: %v, want %v", size, got, part)
		}
	}
}

// Who is alone, does not want what it is shown, or does not take it, sees everything, once.
func TestSuperseedStarvesNobody(t *testing.T) {
	const slack = time.Millisecond
	for name, c := range map[string]struct {
		others int
		before func(s *shownTo, p *peerConn)
		after  time.Duration
	}{
		"alone":           {0, func(*shownTo, *peerConn) {}, company},
		"not interested":  {1, func(*shownTo, *peerConn) {}, uninterested},
		"takes nothing":   {1, func(s *shownTo, p *peerConn) { s.interest(p, true) }, patience},
		"others are done": {1, func(s *shownTo, _ *peerConn) { s.complete() }, company},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShownTo(t)
			p := s.join(t)
			for range c.others {
				s.join(t)
			}
			c.before(s, p)
			if !s.check(p, s.info, s.now.Add(c.after-slack)) {
				t.Errorf("it sees everything sooner than after %v", c.after)
			}
			shown := len(s.list[p])
			if s.check(p, s.info, s.now.Add(c.after)) || len(s.list[p]) != s.info.Pieces() {
				t.Errorf("after %v it is shown %d pieces, before that %d", c.after, len(s.list[p]), shown)
			}
			if s.check(p, s.info, s.now.Add(time.Hour)) || len(s.list[p]) != s.info.Pieces() {
				t.Error("it is shown pieces again")
			}
		})
	}
	// Who is still at the metadata has time, and who takes something begins anew.
	s := newShownTo(t)
	p, _ := s.join(t), s.join(t)
	s.interest(p, true)
	for range 3 {
		s.now = s.now.Add(patience - slack)
		s.busy(p, s.now)
		if !s.check(p, s.info, s.now.Add(patience-slack)) {
			t.Error("it sees everything while it is at the metadata")
		}
		s.now = s.now.Add(patience - slack)
		s.sent(p, s.info, 0, 1, s.now)
		if !s.check(p, s.info, s.now.Add(patience-slack)) {
			t.Error("it sees everything while it takes something")
		}
	}
}

// complete has all readers but the first leave.
func (s *shownTo) complete() {
	for p := range s.peers {
		if s.list[p][0] != 0 {
			s.haveAll(p, s.info.Pieces())
		}
	}
}

// Who comes when the other peers hold a second copy sees everything, and after one of these has gone
// that no longer holds.
func TestSuperseedSecondCopy(t *testing.T) {
	s := newShownTo(t)
	a, b := new(peerConn), new(peerConn)
	s.have(a, s.info, pieces(0, 100), s.now)
	s.have(b, s.info, pieces(90, 127), s.now)
	s.end(s.join(t)) // piece 127 is missing
	s.have(b, s.info, []int{127}, s.now)
	if s.begin(new(peerConn), s.info, func([]int) {}, s.now) {
		t.Error("the others hold everything, and a reader is shown a part")
	}
	s.end(a)
	c := s.join(t)
	s.haveAll(new(peerConn), s.info.Pieces())
	if s.begin(new(peerConn), s.info, func([]int) {}, s.now) {
		t.Error("another seed is there, and a reader is shown a part")
	}
	s.end(c)
	s.end(c) // which is gone
}

// A reader that takes quickly is shown more ahead, up to a bound, and one that is slow less.
func TestSuperseedWindow(t *testing.T) {
	s := newShownTo(t)
	slow, quick := s.join(t), s.join(t)
	s.now = s.now.Add(slowTake + 1)
	s.take(slow, 0, 1, 2, 3)
	if w := s.peers[slow].window; w != minWindow {
		t.Errorf("window of a slow reader: %d, want %d", w, minWindow)
	}
	for range 40 {
		s.takeNext(quick)
	}
	if s.peers[quick].shown == nil || s.peers[quick].window < 8*firstWindow {
		t.Errorf("a quick reader in company sees everything, or its window is %d, want more than %d and a part", s.peers[quick].window, 8*firstWindow)
	}
	s.end(slow)
	if s.takeNext(quick); s.peers[quick].shown != nil {
		t.Error("a quick reader that is alone sees only a part")
	}
	s.end(quick)
	alone := s.join(t)
	s.now = s.now.Add(quickTake)
	s.take(alone, 0)
	if s.peers[alone].shown == nil {
		t.Error("a reader that is alone sees everything before it has taken anything quickly")
	}
}

// takeNext sends a reader, at once, a piece that it was shown and has not been sent.
func (s *shownTo) takeNext(p *peerConn) {
	for i, f := range s.peers[p].open {
		if f.sent >= 0 {
			f.since = s.now
			s.take(p, i)
			return
		}
	}
}

// Whatever happens in whatever order, the counts are those of the peers.
func TestSuperseedCounts(t *testing.T) {
	for seed := range uint64(20) {
		s := newShownTo(t)
		s.info = pseudo{52, 10 * 32 << 10}.info(t)
		rng := rand.New(rand.NewPCG(seed, 1))
		var peers []*peerConn
		for range 500 {
			if len(peers) == 0 || rng.IntN(20) == 0 {
				p := new(peerConn)
				s.begin(p, s.info, func([]int) {}, s.now)
				peers = append(peers, p)
			}
			at := rng.IntN(len(peers))
			p, i := peers[at], rng.IntN(s.info.Pieces())
			s.now = s.now.Add(time.Duration(rng.IntN(700)) * time.Millisecond)
			switch rng.IntN(12) {
			case 0:
				s.end(p)
				peers = slices.Delete(peers, at, at+1)
			case 1:
				s.haveAll(p, s.info.Pieces())
			case 2, 3:
				s.have(p, s.info, []int{i, rng.IntN(s.info.Pieces())}, s.now)
			case 4, 5:
				s.asked(p, i, s.now)
			case 6:
				s.check(p, s.info, s.now)
			default:
				s.sent(p, s.info, i, blockLength, s.now)
			}
			s.count(t)
		}
	}
}

// count holds the counts against the peers.
func (s *shownTo) count(t *testing.T) {
	t.Helper()
	lacked := 0
	for i := range s.holders {
		holders, pending := 0, 0
		for _, a := range s.peers {
			if a.hasPiece(i) {
				holders++
			}
			if a.open[i] != nil {
				pending++
			}
		}
		if holders == 0 {
			lacked++
		}
		if s.holders[i] != holders || s.pending[i] != pending {
			t.Fatalf("piece %d: %d holders and %d pending, want %d and %d", i, s.holders[i], s.pending[i], holders, pending)
		}
	}
	if s.lacked != lacked {
		t.Fatalf("%d pieces lacked, want %d", s.lacked, lacked)
	}
	for _, a := range s.peers {
		waiting := 0
		for _, f := range a.open {
			if f.sent >= 0 {
				waiting++
			}
		}
		if a.waiting != waiting {
			t.Fatalf("%d waiting, want %d", a.waiting, waiting)
		}
	}
}
