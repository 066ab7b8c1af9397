package swarm

import (
	"io"
	"sync"
)

// A Seed keeps a complete torrent available to peers.
type Seed struct {
	node   *Node
	entry  *entry // or
	offer  *offer
	opener *opener
	once   sync.Once
}

// Seed serves the bytes that info describes, read from r at any time and by several goroutines.
// They are taken to be right: nothing is hashed, so that a node with thousands of packs starts at
// once; wrong bytes cost the reputation among the peers. Nothing is opened, mapped or cached here.
//
// A torrent that is seeded already, or was fetched, continues without losing a connection, and
// reads from r from now on: when Seed returns, the earlier source is not used any more. Each Seed
// has to be closed, the last one ends the seeding. The error is [ErrBusy] while a [Download] of the
// same torrent is incomplete, or [ErrClosed].
func (n *Node) Seed(info *Info, r io.ReaderAt) (*Seed, error) {
	n.ops.Lock()
	defer n.ops.Unlock()
	if e := n.entry(info.hash); e != nil {
		if n.busy(e) {
			return nil, ErrBusy
		}
		e.store.replace(r)
		e.users++
		return &Seed{node: n, entry: e}, nil
	}
	e, err := n.add(newEntry(info.hash, newSeedStore(info, r), later(info.hash, 0)), info.bytes)
	if err != nil {
		return nil, err
	}
	return &Seed{node: n, entry: e}, nil
}

// Close ends the seeding, if no other Seed or Download of the same torrent is open.
func (s *Seed) Close() error {
	s.once.Do(func() {
		if s.offer != nil {
			s.node.withdraw(s.offer, s.opener)
		} else {
			s.node.release(s.entry)
		}
	})
	return nil
}
