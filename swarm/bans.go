package swarm

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/anacrolix/torrent/iplist"
)

const (
	// banTime is how long a peer that sent wrong data is kept away. Addresses change hands, so it
	// is not for ever.
	banTime = time.Hour
	// suspendTime is how long one sender may take to deliver a disputed piece alone.
	suspendTime = 10 * time.Second
	// maxBans bounds the list; over it, those that end soonest go first.
	maxBans = 10_000
)

// banKey is an IP address, or on loopback, where all peers share one, that and a port or a peer id.
type banKey struct {
	addr netip.Addr
	port uint16
	id   [20]byte
}

// bans is a list of peers that are kept away, each until a time.
type bans struct {
	mu    sync.Mutex
	until map[banKey]time.Time
}

func newBans() *bans { return &bans{until: make(map[banKey]time.Time)} }

// keysOf returns what identifies a peer: its address, and on loopback its port and peer id instead.
// dial is where it can be reached, with port 0 if that is not known.
func keysOf(dial netip.AddrPort, id [20]byte) []banKey {
	addr := dial.Addr().Unmap().WithZone("")
	if !addr.IsLoopback() {
		return []banKey{{addr: addr}}
	}
	var keys []banKey
	if dial.Port() != 0 {
		keys = append(keys, banKey{addr: addr, port: dial.Port()})
	}
	if id != [20]byte{} {
		keys = append(keys, banKey{addr: addr, id: id})
	}
	return keys
}

// add keeps a peer away until a time and reports whether it was welcome before.
func (b *bans) add(keys []banKey, until time.Time) bool {
	fresh := !b.match(keys, time.Now())
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range keys {
		if until.After(b.until[k]) {
			b.until[k] = until
		}
	}
	for len(b.until) > maxBans {
		b.evict()
	}
	return fresh
}

// remove makes a peer welcome again.
func (b *bans) remove(keys []banKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range keys {
		delete(b.until, k)
	}
}

// evict removes the entry that ends soonest. It is called with the lock held.
func (b *bans) evict() {
	var soonest banKey
	for k, t := range b.until {
		if old, ok := b.until[soonest]; !ok || t.Before(old) {
			soonest = k
		}
	}
	delete(b.until, soonest)
}

func (b *bans) match(keys []banKey, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range keys {
		t, ok := b.until[k]
		if !ok {
			continue
		}
		if now.Before(t) {
			return true
		}
		delete(b.until, k)
	}
	return false
}

// Lookup implements iplist.Ranger: the library asks before it dials or accepts an address.
func (b *bans) Lookup(ip net.IP) (iplist.Range, bool) {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		return iplist.Range{}, false
	}
	return iplist.Range{First: ip, Last: ip, Description: "sent wrong data"},
		b.match([]banKey{{addr: addr.Unmap()}}, time.Now())
}

// blocks reports whether connections from an address are not even looked at.
func (b *bans) blocks(a net.Addr) bool {
	from, err := netip.ParseAddrPort(a.String())
	return err == nil && b.match([]banKey{{addr: from.Addr().Unmap().WithZone("")}}, time.Now())
}

// NumRanges implements iplist.Ranger.
func (b *bans) NumRanges() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.until)
}
