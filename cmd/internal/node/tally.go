package node

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/gitpeer/gitpeer/keys/durable"
	"github.com/gitpeer/gitpeer/refs"
)

// A tally is what the seeding policy goes by, kept in gitpeer/seeding of a
// mirror. Losing it costs nothing but the count.
type tally struct {
	Number uint64    `json:"number"` // the snapshot accepted last
	Since  time.Time `json:"since"`  // when that was
	Sent   int64     `json:"sent"`   // bytes of packs, in earlier runs of the node and of torrents dropped since
}

// loadTally reads a mirror's tally; one that is not understood begins anew.
func (m *mirror) loadTally() (t tally) {
	raw, err := readOptional(m.path("seeding"))
	if err != nil || json.Unmarshal(raw, &t) != nil || t.Sent < 0 {
		return tally{}
	}
	return t
}

// saveTally stores a tally.
func (m *mirror) saveTally(t tally) error {
	raw, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return durable.Replace(m.path("seeding"), raw)
}

// judgeInterval is how often the policy is asked again: ratios grow, and what
// is served ages.
const judgeInterval = 5 * time.Minute

// judge decides anew which mirrors are served and returns those for which that
// has changed.
func (n *Node) judge(now time.Time) ([]*mirror, error) {
	n.mu.Lock()
	var mirrors []*mirror
	for _, m := range n.mirrors {
		mirrors = append(mirrors, m)
	}
	n.mu.Unlock()
	var list []candidate
	of := map[refs.Address]*mirror{}
	for _, m := range mirrors {
		st := m.current()
		if st == nil {
			continue
		}
		t, err := n.count(m, st, now)
		if err != nil {
			return nil, err
		}
		c := candidate{Address: m.addr, Own: n.own(m.addr), Choice: n.config.repo(m.addr).Seed, Sent: t.Sent, Accepted: t.Since}
		_, c.Bytes = m.held(st.Snapshot)
		list, of[m.addr] = append(list, c), m
	}
	stopped := n.config.Policy.decide(n.config.Seed, list, now)
	n.mu.Lock()
	defer n.mu.Unlock()
	var changed []*mirror
	for a, m := range of {
		if (stopped[a] == "") != (n.stopped[a] == "") {
			changed = append(changed, m)
		}
	}
	n.stopped = stopped
	return changed, nil
}

// held counts the packs of a snapshot that the mirror has, and their bytes.
func (m *mirror) held(s *refs.Snapshot) (packs int, bytes int64) {
	for _, p := range s.Packs {
		if m.pack(p.InfoHash) != nil {
			packs++
			bytes += p.Bytes
		}
	}
	return packs, bytes
}

// stoppedBy is why a repository is not served, "" if it is.
func (n *Node) stoppedBy(a refs.Address) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stopped[a]
}

// count brings the tally of a mirror up to date, and stores it when it changed.
func (n *Node) count(m *mirror, st *state, now time.Time) (tally, error) {
	s := n.seeding(m)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tally
	if t.Number != st.Snapshot.Number {
		t.Number, t.Since = st.Snapshot.Number, now.UTC().Truncate(time.Second)
	}
	t.Sent = s.sent(n)
	if t != s.stored {
		if err := m.saveTally(t); err != nil {
			return t, fmt.Errorf("count what was sent of %s: %w", m.addr, err)
		}
		s.stored = t
	}
	s.tally.Number, s.tally.Since = t.Number, t.Since
	return t, nil
}

// sent is what was sent of a mirror's torrents, ever. The caller holds mu.
func (s *seeding) sent(n *Node) int64 {
	sum := s.tally.Sent
	for ih := range s.torrents {
		sum += n.swarm.TorrentStats(ih).Sent
	}
	return sum
}

// judgeAll asks the policy about all mirrors and puts its answer into effect;
// also for m, if it is not nil, whatever the answer.
func (n *Node) judgeAll(m *mirror) error {
	changed, err := n.judge(time.Now())
	if err != nil {
		return err
	}
	defer n.callReaders()
	if m != nil {
		if err := n.serveMirror(m); err != nil {
			return err
		}
	}
	for _, other := range changed {
		if other == m {
			continue
		}
		if err := n.serveMirror(other); err != nil {
			n.log.Error("seeding policy", "repository", other.addr.String(), "error", err)
		}
	}
	return nil
}
