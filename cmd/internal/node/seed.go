package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
)

// A seeding is what the swarm serves of one mirror.
type seeding struct {
	mu       sync.Mutex
	torrents map[refs.InfoHash]*served
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
		s = &seeding{torrents: map[refs.InfoHash]*served{}}
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
		path := m.path("snapshots", strconv.FormatUint(number, 10))
		note, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		info, err := snapshotInfo(m.addr, note)
		if err != nil {
			return err
		}
		want[info.InfoHash()] = true
		if s.torrents[info.InfoHash()] != nil {
			continue
		}
		file := &lazyFile{path: path}
		seed, err := n.swarm.Seed(info, file)
		if err != nil {
			return fmt.Errorf("seed snapshot %d: %w", number, err)
		}
		s.torrents[info.InfoHash()] = &served{seed, file}
	}
	return nil
}

// snapshotInfo is the torrent of a snapshot: its name comes from the HEAD that
// it publishes.
func snapshotInfo(a refs.Address, note []byte) (*swarm.Info, error) {
	s, err := refs.Open(note, a)
	if err != nil {
		return nil, err
	}
	h := swarm.NewHasher()
	h.Write(note) // never fails
	return h.Sum(snapshotName(s))
}

// headDigits is how much of HEAD's object id the name of a snapshot torrent has.
const headDigits = 12

func snapshotName(s *refs.Snapshot) string {
	head, ok := s.HeadOID()
	if !ok {
		return string(s.Repository.Name) + "-unborn"
	}
	return string(s.Repository.Name) + "-" + string(head[:headDigits])
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
