package swarm

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// maxPacket is the longest packet looked at. A KRPC message fits one
// Ethernet frame; unpatched nodes send up to 1745 bytes, so there is room.
const maxPacket = 4096

// Pauses after a failing read: a socket that keeps failing must neither spin
// nor be given up.
const (
	minReadPause = 5 * time.Millisecond
	maxReadPause = time.Second
)

// guard is the net.PacketConn between the network and the DHT library. It
// passes on well-formed KRPC from IPv4 addresses and nothing else, and only
// so many queries per address. Its ReadFrom fails only after Close, because
// the library panics when a read fails.
type guard struct {
	net.PacketConn
	log    *slog.Logger
	limit  *queryLimit
	closed chan struct{}
	once   sync.Once
	// reading has room for one: a read under way. The library may stop without
	// reading once more, so its end is "closed and nobody reads".
	reading chan struct{}
	heard   *lastHeard

	passed, malformed, limited, failed atomic.Int64
}

func newGuard(conn net.PacketConn, limit *queryLimit, log *slog.Logger) *guard {
	return &guard{
		PacketConn: conn, log: log, limit: limit, closed: make(chan struct{}), reading: make(chan struct{}, 1), heard: newLastHeard(),
	}
}

// ReadFrom returns the next packet that the library may see. The address is a
// *net.UDPAddr with a 4-byte IP.
func (g *guard) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case g.reading <- struct{}{}:
		defer func() { <-g.reading }()
	case <-g.closed:
		return 0, nil, net.ErrClosed
	}
	pause := minReadPause
	for {
		n, from, err := g.PacketConn.ReadFrom(b)
		if g.isClosed() {
			return 0, nil, net.ErrClosed
		}
		if err != nil {
			g.failed.Add(1)
			g.log.Debug("dht: read failed", "err", err)
			g.pause(pause, err)
			pause = min(2*pause, maxReadPause)
			continue
		}
		pause = minReadPause
		if addr := g.accept(b[:n], from); addr != nil {
			g.passed.Add(1)
			return n, addr, nil
		}
	}
}

// pause waits before the next read: until Close if the socket is gone, since
// returning its error would kill the process.
func (g *guard) pause(d time.Duration, err error) {
	if errors.Is(err, net.ErrClosed) {
		<-g.closed
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-g.closed:
	case <-t.C:
	}
}

// accept returns the sender if its packet may pass, else nil.
func (g *guard) accept(packet []byte, from net.Addr) net.Addr {
	sender := addrPortOf(from)
	if !sender.Addr().Is4() || sender.Port() == 0 {
		g.malformed.Add(1)
		return nil
	}
	kind, err := checkPacket(packet)
	if err != nil {
		g.malformed.Add(1)
		g.log.Debug("dht: packet dropped", "from", sender, "err", err)
		return nil
	}
	if kind == 'q' && !g.limit.allow(sender.Addr(), time.Now()) {
		g.limited.Add(1)
		return nil
	}
	g.heard.note(sender, time.Now())
	return net.UDPAddrFromAddrPort(sender)
}

// Close closes the socket below and waits until nobody reads any more.
func (g *guard) Close() error {
	var err error
	g.once.Do(func() {
		close(g.closed)
		err = g.PacketConn.Close()
		g.reading <- struct{}{}
	})
	return err
}

func (g *guard) isClosed() bool {
	select {
	case <-g.closed:
		return true
	default:
		return false
	}
}

// addrPortOf returns a socket address without IPv4-in-IPv6, the zero AddrPort
// if it is of a kind we do not know.
func addrPortOf(a net.Addr) netip.AddrPort {
	if u, ok := a.(interface{ AddrPort() netip.AddrPort }); ok {
		return unmap(u.AddrPort())
	}
	if a == nil {
		return netip.AddrPort{}
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return unmap(ap)
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
