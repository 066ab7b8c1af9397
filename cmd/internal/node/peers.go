package node

import (
	"net/netip"
	"strings"

	"github.com/gitpeer/gitpeer/keys/durable"
)

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
