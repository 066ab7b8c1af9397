package testnet

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// weather is what happens to packets between two sockets.
type weather struct {
	latency, jitter time.Duration
	loss            float64

	mu    sync.Mutex
	dice  *rand.Rand
	dead  map[netip.AddrPort]bool
	group map[netip.AddrPort]int // partition; absent: 0
	sent  int
}

// fate returns how long a packet travels, or that it is lost.
func (w *weather) fate(from, to netip.AddrPort) (delay time.Duration, lost bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent++
	if w.dead[from] || w.dead[to] || w.group[from] != w.group[to] || w.dice.Float64() < w.loss {
		return 0, true
	}
	delay = w.latency
	if w.jitter > 0 {
		delay += time.Duration(w.dice.Int64N(int64(w.jitter)))
	}
	return delay, false
}

// link is a socket out in the weather.
type link struct {
	net.PacketConn
	weather *weather
}

// WriteTo sends b after its delay, if at all.
func (l *link) WriteTo(b []byte, to net.Addr) (int, error) {
	delay, lost := l.weather.fate(addrPortOf(l.LocalAddr()), addrPortOf(to))
	switch {
	case lost:
	case delay == 0:
		return l.PacketConn.WriteTo(b, to)
	default:
		b := append([]byte(nil), b...)
		time.AfterFunc(delay, func() { l.PacketConn.WriteTo(b, to) })
	}
	return len(b), nil
}
