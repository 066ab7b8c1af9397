package swarm

import "sync"

// claims are what peers say of the number of pieces before it is known: the bitfields of those that
// come before the metadata.
type claims struct {
	mu   sync.Mutex // innermost
	said map[*peerConn]claim
}

// claim is the length of a bitfield, and how many pieces there must be by it at least.
type claim struct{ bits, pieces int }

func (c *claims) add(p *peerConn, bits []bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said == nil {
		c.said = make(map[*peerConn]claim)
	}
	said := claim{bits: len(bits)}
	for i, set := range bits {
		if set {
			said.pieces = i + 1
		}
	}
	c.said[p] = said
}

func (c *claims) remove(p *peerConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.said, p)
}

// disproved gives, once, the peers that were wrong.
func (c *claims) disproved(pieces int) (wrong []*peerConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, said := range c.said {
		if said.bits != bitfieldBits(pieces) || said.pieces > pieces {
			wrong = append(wrong, p)
		}
	}
	c.said = nil
	return wrong
}

// bitfieldBits is the length of a bitfield: whole bytes (BEP 3).
func bitfieldBits(pieces int) int { return (pieces + 7) / 8 * 8 }

// hangUpLiars ends the connections with peers whose bitfields were wrong. It is called when the
// library knows the metadata.
func (n *Node) hangUpLiars(e *entry, info *Info) {
	for _, p := range e.claims.disproved(info.Pieces()) {
		n.log.Debug("peer broke the protocol", "peer", p.addr, "infohash", e.hash)
		p.hangUp()
	}
}
