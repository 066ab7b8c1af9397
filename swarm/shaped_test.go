package swarm

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// shapedNet is a network in memory whose hosts have links with rates and delays. In a synctest
// bubble its time is the bubble's, so that what it shows does not depend on the machine. It knows
// no packets and no loss: a stream is carried in chunks, each link is a queue, and what is under way
// on one stream is bounded, as by a socket's buffer.
type shapedNet struct {
	delay  time.Duration // one way
	buffer int           // of a stream, each way; a multiple of shapedChunk
	silent bool          // nobody says so where there is no host

	mu    sync.Mutex
	hosts map[netip.AddrPort]*shapedHost
}

const shapedChunk = 8 << 10

type shapedHost struct {
	net     *shapedNet
	addr    netip.AddrPort
	up      shapedLink
	down    shapedLink
	accepts chan net.Conn
	closed  chan struct{}
	once    sync.Once
	dials   atomic.Int32 // of others
	deaf    atomic.Bool  // nobody can call it
}

// shapedLink is a queue of chunks.
type shapedLink struct {
	mu   sync.Mutex
	rate float64 // bytes a second
	free time.Time
	sum  int64
}

// carry returns when n bytes have passed that come at a time.
func (l *shapedLink) carry(n int, at time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.free.Before(at) {
		l.free = at
	}
	l.free = l.free.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	l.sum += int64(n)
	return l.free
}

// out lets nothing through for a while; what is sent meanwhile waits.
func (l *shapedLink) out(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(d)
}

func (l *shapedLink) carried() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sum
}

func newShapedNet(delay time.Duration) *shapedNet {
	return &shapedNet{delay: delay, buffer: 64 << 10, hosts: make(map[netip.AddrPort]*shapedHost)}
}

// host adds a host with rates in bits a second.
func (s *shapedNet) host(up, down float64) *shapedHost {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.hosts)
	h := &shapedHost{
		net: s, addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n) + 1}), 6881),
		up: shapedLink{rate: up / 8}, down: shapedLink{rate: down / 8},
		accepts: make(chan net.Conn, 64), closed: make(chan struct{}),
	}
	s.hosts[h.addr] = h
	return h
}

// node starts a node on the host.
func (h *shapedHost) node(t testing.TB, change ...func(*Config)) *Node {
	return newNode(t, append(change, func(c *Config) {
		c.Listen, c.noUTP, c.dialer = h.addr.String(), true, h
		c.sockets = &sockets{tcp: h, dht: newPacketQueue(noPackets{})}
	})...)
}

// Accept, Addr and Close implement net.Listener.
func (h *shapedHost) Accept() (net.Conn, error) {
	select {
	case c := <-h.accepts:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *shapedHost) Addr() net.Addr { return net.TCPAddrFromAddrPort(h.addr) }

// Close also ends the connections that nobody has accepted.
func (h *shapedHost) Close() error {
	h.once.Do(func() { close(h.closed) })
	h.refuse()
	return nil
}

func (h *shapedHost) refuse() {
	for {
		select {
		case c := <-h.accepts:
			c.Close()
		default:
			return
		}
	}
}

func (h *shapedHost) DialerNetwork() string { return "tcp4" }

// Dial implements torrent.Dialer.
func (h *shapedHost) Dial(ctx context.Context, addr string) (net.Conn, error) {
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	if a != h.addr {
		h.dials.Add(1)
	}
	h.net.mu.Lock()
	to := h.net.hosts[a]
	port := uint16(40000 + len(h.net.hosts))
	h.net.mu.Unlock()
	answer := time.After(2 * h.net.delay)
	if to == nil && h.net.silent {
		answer = nil
	}
	select {
	case <-answer:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if to == nil || to.deaf.Load() {
		return nil, errors.New("connection refused")
	}
	there, back := newShapedStream(h, to), newShapedStream(to, h)
	port += uint16(time.Now().UnixNano() % 10007)
	select {
	case to.accepts <- &shapedConn{in: there, out: back, local: to.addr, remote: netip.AddrPortFrom(h.addr.Addr(), port)}:
	case <-to.closed:
		return nil, errors.New("connection refused")
	}
	select {
	case <-to.closed:
		to.refuse()
	default:
	}
	return &shapedConn{in: back, out: there, local: h.addr, remote: a}, nil
}

type shapedChunkAt struct {
	data []byte
	at   time.Time
}

// shapedStream is one direction of a connection.
type shapedStream struct {
	from, to *shapedHost
	queue    chan shapedChunkAt // under way
	closed   chan struct{}
	once     sync.Once
	rest     shapedChunkAt // of Read
}

func newShapedStream(from, to *shapedHost) *shapedStream {
	return &shapedStream{from: from, to: to, queue: make(chan shapedChunkAt, from.net.buffer/shapedChunk), closed: make(chan struct{})}
}

func (s *shapedStream) close() { s.once.Do(func() { close(s.closed) }) }

type shapedConn struct {
	in, out       *shapedStream
	local, remote netip.AddrPort
	writing       sync.Mutex
}

func (c *shapedConn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	n := 0
	for len(b) > 0 {
		part := append([]byte(nil), b[:min(len(b), shapedChunk)]...)
		at := c.out.from.up.carry(len(part)+52, time.Now()).Add(c.out.from.net.delay)
		select {
		case c.out.queue <- shapedChunkAt{part, at}:
		case <-c.out.closed:
			return n, io.ErrClosedPipe
		}
		n, b = n+len(part), b[len(part):]
	}
	return n, nil
}

func (c *shapedConn) Read(b []byte) (int, error) {
	s := c.in
	if len(s.rest.data) == 0 {
		select {
		case s.rest = <-s.queue:
		case <-s.closed:
			return 0, io.EOF
		}
		time.Sleep(time.Until(s.rest.at))
		time.Sleep(time.Until(s.to.down.carry(len(s.rest.data)+52, s.rest.at)))
	}
	n := copy(b, s.rest.data)
	s.rest.data = s.rest.data[n:]
	return n, nil
}

func (c *shapedConn) Close() error {
	c.in.close()
	c.out.close()
	return nil
}

func (c *shapedConn) LocalAddr() net.Addr              { return net.TCPAddrFromAddrPort(c.local) }
func (c *shapedConn) RemoteAddr() net.Addr             { return net.TCPAddrFromAddrPort(c.remote) }
func (c *shapedConn) SetDeadline(time.Time) error      { return nil }
func (c *shapedConn) SetReadDeadline(time.Time) error  { return nil }
func (c *shapedConn) SetWriteDeadline(time.Time) error { return nil }

// noPackets is a UDP socket that leads nowhere.
type noPackets struct{ net.PacketConn }

func (noPackets) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }
func (noPackets) LocalAddr() net.Addr                       { return &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 6881} }
