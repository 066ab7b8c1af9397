package node

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gitpeer/gitpeer/keys/durable"
)

// A meeting is whom a look at the rendezvous has found there.
type meeting struct {
	peers []netip.AddrPort
	when  time.Time
}

// meetAgain is how long who was at the rendezvous goes without looking there
// again: nodes of the DHT keep peers as long, and a keeper announces them as
// often.
const meetAgain = 20 * time.Minute

// meet notes whom a look at the rendezvous has found.
func (m *mirror) meet(peers []netip.AddrPort, when time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.meeting = meeting{peers, when}
}

// met are the peers that were at the rendezvous lately, nil if nobody was, or
// they proved of no use.
func (m *mirror) met(now time.Time) []netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	age := now.Round(0).Sub(m.meeting.when.Round(0)) // a computer that slept was away
	if age < 0 || age > meetAgain || len(m.meeting.peers) == 0 {
		return nil
	}
	return m.meeting.peers
}

// distinct gives each address of some lists once, in their order.
func distinct(lists ...[]netip.AddrPort) []netip.AddrPort {
	var all []netip.AddrPort
	for _, list := range lists {
		for _, p := range list {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}

// maxCachedPeers bounds what is remembered between sessions.
const maxCachedPeers = 100

// cachePeers remembers the peers of a fetch that succeeded, so that the next
// one has somebody to ask even where the DHT knows nobody. Losing the file
// costs nothing.
func (m *mirror) cachePeers(peers []netip.AddrPort) {
	var b strings.Builder
	for _, p := range peers[:min(len(peers), maxCachedPeers)] {
		b.WriteString(p.String() + "\n")
	}
	durable.Replace(m.path("peers"), []byte(b.String()))
}

// cachedPeers are the peers of the last fetch that succeeded.
func (m *mirror) cachedPeers() []netip.AddrPort {
	raw, err := readOptional(m.path("peers"))
	if err != nil {
		return nil
	}
	var peers []netip.AddrPort
	for line := range strings.Lines(string(raw)) {
		if p, err := netip.ParseAddrPort(strings.TrimSuffix(line, "\n")); err == nil && len(peers) < maxCachedPeers {
			peers = append(peers, p)
		}
	}
	return peers
}
