package swarm

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// heardFor is how long a NAT lets in answers to what it has let out (RFC 4787, REQ-5).
	heardFor = 2 * time.Minute
	// maxHeard bounds the hosts that are noted; a random one makes room.
	maxHeard = 1024
)

// heard notes from which port the UDP packets of each host on the Internet have come last. A host behind
// a NAT that takes another port for each address it sends to (RFC 4787: address-dependent mapping, often
// called symmetric) announces one that leads nowhere. But whoever it has sent a packet to can call it at
// the port that this came from, from the port that it went to.
type heard struct {
	mu    sync.Mutex
	hosts map[netip.Addr]heardPort
}

type heardPort struct {
	port uint16
	at   time.Time
}

// note notes a packet.
func (h *heard) note(from netip.AddrPort, now time.Time) {
	host := from.Addr().Unmap()
	if !host.Is4() || scopeOf(host) != 0 {
		return // many nodes may share one
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hosts == nil {
		h.hosts = make(map[netip.Addr]heardPort)
	}
	if _, known := h.hosts[host]; !known && len(h.hosts) >= maxHeard {
		for other := range h.hosts {
			delete(h.hosts, other)
			break
		}
	}
	h.hosts[host] = heardPort{from.Port(), now}
}

// from returns where a host's last packet came from, if it came lately.
func (h *heard) from(host netip.Addr, now time.Time) (netip.AddrPort, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.hosts[host]
	return netip.AddrPortFrom(host, p.port), ok && now.Sub(p.at) < heardFor
}
