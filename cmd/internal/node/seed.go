package node

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
)

// A seeding is what the swarm serves of one mirror.
type seeding struct {
	later time.Duration // within which a torrent is announced first: what the user publishes at once

	mu        sync.Mutex // guards what follows
	torrents  map[refs.InfoHash]*swarm.Seed
	snapshots map[uint64]refs.InfoHash // of which torrents are parcels, by number
	tally     tally                    // Sent without that of torrents
	stored    tally
}

// A packSource is a pack as the swarm reads it.
type packSource struct {
	*packView
	io.Closer
}

// drop stops serving a torrent and keeps count of what was sent of it. The
// caller holds mu.
func (s *seeding) drop(n *Node, ih refs.InfoHash) error {
	s.tally.Sent += n.swarm.TorrentStats(ih).Sent
	t := s.torrents[ih]
	delete(s.torrents, ih)
	return t.Close()
}

// seeding gives the one seeding of a mirror.
func (n *Node) seeding(m *mirror) *seeding {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.seeds[m.addr]
	if s == nil {
		later := swarm.AnnounceLater
		if n.own(m.addr) {
			later = 0
		}
		t := m.loadTally()
		s = &seeding{later: later, torrents: map[refs.InfoHash]*swarm.Seed{}, snapshots: map[uint64]refs.InfoHash{}, tally: t, stored: t}
		n.seeds[m.addr] = s
	}
	return s
}

// seed serves what the accepted snapshot of a mirror lists and the newest
// snapshots themselves, stops serving what is no longer listed, and keeps the
// record alive in the DHT. The policy is asked first, also about others: room
// for this one may have to be made.
func (n *Node) seed(m *mirror) error {
	if m.current() == nil {
		return nil
	}
	return n.judgeAll(m)
}

// serveMirror does for one mirror what the policy has decided.
func (n *Node) serveMirror(m *mirror) error {
	return errors.Join(n.seedTorrents(m), n.keep(m))
}

// seedTorrents is serveMirror without the DHT.
func (n *Node) seedTorrents(m *mirror) error {
	s := n.seeding(m)
	s.mu.Lock()
	defer s.mu.Unlock()
	want := map[refs.InfoHash]bool{}
	if n.stoppedBy(m.addr) == "" {
		if err := n.seedListed(m, s, want); err != nil {
			return err
		}
	}
	var errs []error
	for ih := range s.torrents {
		if !want[ih] {
			errs = append(errs, s.drop(n, ih))
		}
	}
	return errors.Join(errs...)
}

// seedMade is seedTorrents when the newest snapshot was made here: its torrent
// is known.
func (n *Node) seedMade(m *mirror, ih refs.InfoHash) error {
	s := n.seeding(m)
	s.mu.Lock()
	s.snapshots[m.current().Snapshot.Number] = ih
	s.mu.Unlock()
	return n.seedTorrents(m)
}

// seedListed serves packs and snapshots and notes which.
func (n *Node) seedListed(m *mirror, s *seeding, want map[refs.InfoHash]bool) error {
	for _, line := range m.current().Snapshot.Packs {
		p := m.pack(line.InfoHash)
		if p == nil {
			continue // a reader does not have the packs that it had no need of
		}
		want[line.InfoHash] = true
		if err := n.seedHint(m, s, p, want); err != nil {
			return err
		}
		if s.torrents[line.InfoHash] != nil {
			continue
		}
		seed, err := n.swarm.Offer(line.InfoHash, s.later, func() (*swarm.Info, swarm.Source, error) {
			view, file := m.view(p)
			return p.Info, packSource{view, file}, nil
		})
		if err != nil {
			return fmt.Errorf("seed pack %s: %w", line.InfoHash, err)
		}
		s.torrents[line.InfoHash] = seed
	}
	for ih := range s.torrents {
		if m.pack(ih) != nil {
			want[ih] = true // until it is tidied away: somebody may be in the middle of it
		}
	}
	return n.seedSnapshots(m, s, want)
}

// seedHint serves the hint of a pack, if it has one and it is not lost.
func (n *Node) seedHint(m *mirror, s *seeding, p *packFile, want map[refs.InfoHash]bool) error {
	if p.Hint == nil {
		return nil
	}
	fi, err := os.Stat(m.hintPath(p))
	if err != nil || fi.Size() != p.Hint.Length() {
		return nil
	}
	ih := p.Hint.InfoHash()
	want[ih] = true
	if s.torrents[ih] != nil {
		return nil
	}
	seed, err := n.swarm.Offer(ih, s.later, func() (*swarm.Info, swarm.Source, error) {
		return p.Hint, &lazyFile{path: m.hintPath(p)}, nil
	})
	if err != nil {
		return fmt.Errorf("seed hint %s: %w", ih, err)
	}
	s.torrents[ih] = seed
	return nil
}

// seedSnapshots serves the newest snapshots.
func (n *Node) seedSnapshots(m *mirror, s *seeding, want map[refs.InfoHash]bool) error {
	newest := m.current().Snapshot.Number
	for number := newest; number > 0 && number+keepSnapshots > newest; number-- {
		ih, ok := s.snapshots[number]
		if ok && s.torrents[ih] != nil {
			want[ih] = true
			continue
		}
		if !ok {
			p, err := m.parcel(number)
			if err != nil {
				// Others have it; what is damaged, the next fetch sees to.
				if !absent(err) {
					n.log.Warn("a snapshot is not seeded", "repository", m.addr.String(), "number", number, "error", err)
				}
				continue
			}
			ih = p.Info.InfoHash()
			if err := p.Close(); err != nil {
				return err
			}
		}
		want[ih], s.snapshots[number] = true, ih
		seed, err := n.swarm.Offer(ih, s.later, func() (*swarm.Info, swarm.Source, error) {
			p, err := m.parcel(number)
			if err != nil {
				return nil, nil, err
			}
			return p.Info, p, nil
		})
		if err != nil {
			return fmt.Errorf("seed snapshot %d: %w", number, err)
		}
		s.torrents[ih] = seed
	}
	maps.DeleteFunc(s.snapshots, func(number uint64, _ refs.InfoHash) bool { return number+keepSnapshots <= newest })
	return nil
}

// keep has the keeper republish the mirror's record, and renew it if it is our
// own, and announce this node at the rendezvous.
func (n *Node) keep(m *mirror) error {
	item := m.current().Item
	keep := announce.Keep{Address: m.addr, Item: item, Held: m.agreed(item, time.Now())}
	if n.stoppedBy(m.addr) == "" {
		keep.Port = n.swarm.AnnouncePort()
	}
	if n.own(m.addr) {
		// A key that nobody unlocked since the node started cannot renew; the
		// record's bytes are put again all the same, until it expires.
		if s, err := n.signer(Credentials{AgentSocket: os.Getenv("SSH_AUTH_SOCK")}); err == nil {
			keep.Signer = s
		}
	}
	return n.keeper.Set(keep)
}

// callReaders tells the swarm with which torrents readers begin, the newest
// snapshots: for what we publish first, then for what changed last. It follows
// whatever changes one of the mirrors' records, or what is served of them.
func (n *Node) callReaders() {
	id, hasID := n.identity() // reads a file
	own := func(m *mirror) bool { return hasID && id == m.addr.Publisher }
	n.mu.Lock()
	mirrors := slices.Collect(maps.Values(n.mirrors))
	n.mu.Unlock()
	mirrors = slices.DeleteFunc(mirrors, func(m *mirror) bool { return m.current() == nil || n.stoppedBy(m.addr) != "" })
	slices.SortStableFunc(mirrors, func(a, b *mirror) int {
		if mine := own(a); mine != own(b) {
			if mine {
				return -1
			}
			return 1
		}
		return b.current().Record.Signed.Compare(a.current().Record.Signed)
	})
	var first []refs.InfoHash
	for _, m := range mirrors {
		first = append(first, m.current().Record.InfoHash)
	}
	n.swarm.CallReaders(first)
}

// own reports whether a repository is published with the user's own key.
func (n *Node) own(a refs.Address) bool {
	id, ok := n.identity()
	return ok && id == a.Publisher
}
