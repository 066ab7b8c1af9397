package node

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"sync"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
)

// A seeding is what the swarm serves of one mirror.
type seeding struct {
	mu        sync.Mutex // guards what follows
	torrents  map[refs.InfoHash]*served
	snapshots map[uint64]refs.InfoHash // of which torrents are parcels, by number
}

type served struct {
	seed *swarm.Seed
	file io.Closer
}

func (s *served) close() error { return errors.Join(s.seed.Close(), s.file.Close()) }

// seed serves what the accepted snapshot of a mirror lists and the newest
// snapshots themselves, stops serving what is no longer listed, and keeps the
// record alive in the DHT.
func (n *Node) seed(m *mirror) error {
	if m.current() == nil {
		return nil
	}
	return errors.Join(n.seedTorrents(m), n.keep(m))
}

// seedTorrents is seed without the DHT.
func (n *Node) seedTorrents(m *mirror) error {
	if !n.config.Seed && !n.own(m.addr) {
		return nil
	}
	n.mu.Lock()
	s := n.seeds[m.addr]
	if s == nil {
		s = &seeding{torrents: map[refs.InfoHash]*served{}, snapshots: map[uint64]refs.InfoHash{}}
		n.seeds[m.addr] = s
	}
	n.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	want := map[refs.InfoHash]bool{}
	for _, line := range m.current().Snapshot.Packs {
		p := m.pack(line.InfoHash)
		if p == nil {
			continue // a reader does not have the packs that it had no need of
		}
		want[line.InfoHash] = true
		if s.torrents[line.InfoHash] != nil {
			continue
		}
		view, file := m.view(p)
		seed, err := n.swarm.Seed(p.Info, view)
		if err != nil {
			return fmt.Errorf("seed pack %s: %w", line.InfoHash, err)
		}
		s.torrents[line.InfoHash] = &served{seed, file}
	}
	if err := n.seedSnapshots(m, s, want); err != nil {
		return err
	}
	var errs []error
	for ih, t := range s.torrents {
		if !want[ih] {
			errs = append(errs, t.close())
			delete(s.torrents, ih)
		}
	}
	return errors.Join(errs...)
}

// seedSnapshots serves the newest snapshots.
func (n *Node) seedSnapshots(m *mirror, s *seeding, want map[refs.InfoHash]bool) error {
	newest := m.current().Snapshot.Number
	for number := newest; number > 0 && number+keepSnapshots > newest; number-- {
		if ih, ok := s.snapshots[number]; ok && s.torrents[ih] != nil {
			want[ih] = true
			continue
		}
		p, err := m.parcel(number)
		if err != nil {
			// Others have it; what is damaged, the next fetch sees to.
			if !absent(err) {
				n.log.Warn("a snapshot is not seeded", "repository", m.addr.String(), "number", number, "error", err)
			}
			continue
		}
		ih := p.Info.InfoHash()
		want[ih], s.snapshots[number] = true, ih
		seed, err := n.swarm.Seed(p.Info, p)
		if err != nil {
			return errors.Join(fmt.Errorf("seed snapshot %d: %w", number, err), p.Close())
		}
		s.torrents[ih] = &served{seed, p}
	}
	maps.DeleteFunc(s.snapshots, func(number uint64, _ refs.InfoHash) bool { return number+keepSnapshots <= newest })
	return nil
}

// keep has the keeper republish the mirror's record, and renew it if it is our
// own, and announce this node at the rendezvous.
func (n *Node) keep(m *mirror) error {
	keep := announce.Keep{Address: m.addr, Item: m.current().Item}
	if n.config.Seed || n.own(m.addr) {
		keep.Port = n.swarm.Addr().Port()
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

// own reports whether a repository is published with the user's own key.
func (n *Node) own(a refs.Address) bool {
	id, ok := n.identity()
	return ok && id == a.Publisher
}
