package swarm

import (
	"hash/maphash"
	"slices"
	"sync"
)

// maxAttempts is how many failed attempts at a piece are remembered. The second one already leads
// to a trial with a single sender, so more are seen only when senders come and go.
const maxAttempts = 4

// A blame finds out who sent the wrong bytes when a piece does not match its hash.
//
//   - If one peer sent all of it, that peer is guilty.
//   - If several did, the fingerprints of their blocks are kept. Once the piece is right, whoever
//     sent another block than the right one is guilty.
//   - If a piece fails twice, all senders but the best are suspended, so that the next attempt has
//     a single sender, and one of the two rules above applies. Then the others may come back.
//
// So each guilty peer costs at most three times the pieces that it has a part in at one time. The
// library has such a scheme too, but it bans IP addresses, and on loopback or behind one router
// that hits the honest peers as well; it bans for ever; and it never resolves a piece that two
// senders spoil each time.
type blame struct {
	judge judge

	mu     sync.Mutex
	pieces map[int]*evidence
}

// A judge carries out what blame finds.
type judge interface {
	ban(p *peerConn)
	suspend(p *peerConn)
	readmit(p *peerConn)
}

// evidence is what is known about one incomplete piece.
type evidence struct {
	current []sentBlock   // by block number, the attempt under way
	failed  [][]sentBlock // earlier attempts, at most maxAttempts
	waiting []*peerConn   // suspended until it is clear who is guilty
}

type sentBlock struct {
	from *peerConn // nil: the block came from the file, of an earlier run
	sum  uint64
}

// blockSeed makes fingerprints unpredictable, so that nobody can prepare a wrong block with a right
// one.
var blockSeed = maphash.MakeSeed()

func newBlame(j judge) *blame {
	return &blame{judge: j, pieces: make(map[int]*evidence)}
}

// received notes that a block of an incomplete piece came in.
func (b *blame) received(piece, block int, from *peerConn, data []byte) {
	sum := maphash.Bytes(blockSeed, data)
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.pieces[piece]
	if e == nil {
		e = new(evidence)
		b.pieces[piece] = e
	}
	for len(e.current) <= block {
		e.current = append(e.current, sentBlock{})
	}
	e.current[block] = sentBlock{from, sum}
}

// check begins the verification of a piece.
func (b *blame) check(piece int) *pieceCheck {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := &pieceCheck{blame: b, piece: piece}
	if e := b.pieces[piece]; e != nil && len(e.failed) > 0 {
		c.block = func(_ int, data []byte) {
			c.sums = append(c.sums, maphash.Bytes(blockSeed, data))
		}
	}
	return c
}

// settle uses the right content of a piece, which did not come from peers, to find out who sent wrong
// blocks of it before.
func (b *blame) settle(piece int, data []byte) {
	c := b.check(piece)
	for n := 0; c.block != nil && len(data) > 0; n++ {
		size := min(len(data), blockLength)
		c.block(n, data[:size])
		data = data[size:]
	}
	c.passed()
}

// pieceCheck is one verification of one piece: all blocks, then passed or failed.
type pieceCheck struct {
	blame *blame
	piece int
	sums  []uint64
	block func(n int, data []byte) // nil if nobody needs to know the blocks
}

// passed bans who sent wrong blocks in earlier attempts, and forgets the piece.
func (c *pieceCheck) passed() {
	guilty := make(map[*peerConn]bool)
	var waiting []*peerConn
	c.blame.mu.Lock()
	e := c.blame.pieces[c.piece]
	delete(c.blame.pieces, c.piece)
	if e != nil {
		waiting = e.waiting
		for _, attempt := range e.failed {
			for n, s := range attempt {
				if s.from != nil && n < len(c.sums) && s.sum != c.sums[n] {
					guilty[s.from] = true
				}
			}
		}
		for _, s := range e.current {
			if s.from != nil {
				s.from.good.Add(1)
			}
		}
	}
	c.blame.mu.Unlock()
	for p := range guilty {
		c.blame.judge.ban(p)
	}
	for _, p := range waiting {
		c.blame.judge.readmit(p)
	}
}

// failed bans the sender of the piece if there was only one, and else prepares to find out.
func (c *pieceCheck) failed() {
	senders := make(map[*peerConn]bool)
	c.blame.mu.Lock()
	e := c.blame.pieces[c.piece]
	if e == nil { // nobody sent it: the file changed under us
		c.blame.mu.Unlock()
		return
	}
	var best *peerConn
	current := e.current
	for _, s := range current {
		if s.from == nil {
			continue
		}
		senders[s.from] = true
		if best == nil || s.from.good.Load() > best.good.Load() {
			best = s.from
		}
	}
	e.current = nil
	var waiting []*peerConn
	if len(senders) == 1 {
		waiting, e.waiting = e.waiting, nil
	} else {
		trial := len(e.failed) > 0
		if len(e.failed) < maxAttempts {
			e.failed = append(e.failed, current)
		}
		for p := range senders {
			if trial && p != best {
				e.waiting = append(e.waiting, p)
			}
		}
	}
	suspended := slices.Clone(e.waiting)
	c.blame.mu.Unlock()

	if len(senders) == 1 {
		c.blame.judge.ban(best)
	}
	for _, p := range suspended {
		c.blame.judge.suspend(p)
	}
	for _, p := range waiting {
		c.blame.judge.readmit(p)
	}
}
