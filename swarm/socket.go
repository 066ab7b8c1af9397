package swarm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/anacrolix/torrent"
	"github.com/anacrolix/utp"
)

const (
	// utpDelay is how much sooner TCP may try: over TCP the library moves forty times the bytes
	// of its uTP (measured), so uTP is for where TCP does not get through.
	utpDelay = 400 * time.Millisecond
	// maxQueuedPackets is how many packets for the DHT may wait; more are dropped, as UDP does.
	maxQueuedPackets = 512
	// portAttempts is how often a free port is tried until both UDP and TCP have it.
	portAttempts = 32
)

// sockets are the TCP and the UDP socket of a node, on one IPv4 address. The UDP socket carries uTP and
// the DHT (BEP 29: they cannot be confused, a DHT message begins with "d").
type sockets struct {
	tcp net.Listener
	utp *utp.Socket // nil in tests without it
	dht *packetQueue
	// heard is told of the packets of the DHT: a peer that has called us asks there for a sign of life.
	heard heard
}

// listenSockets opens both sockets. A port of 0 takes one that is free for both.
func listenSockets(addr netip.AddrPort) (*sockets, error) {
	for attempt := 1; ; attempt++ {
		tcp, err := net.Listen("tcp4", addr.String())
		if err != nil {
			return nil, err
		}
		port := uint16(tcp.Addr().(*net.TCPAddr).Port)
		udp, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr.Addr(), port)))
		if err == nil {
			return newSockets(tcp, udp)
		}
		tcp.Close()
		if addr.Port() != 0 || attempt == portAttempts || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, err
		}
	}
}

func newSockets(tcp net.Listener, udp *net.UDPConn) (*sockets, error) {
	s := &sockets{tcp: tcp, dht: newPacketQueue(udp)}
	var err error
	s.utp, err = utp.NewSocketFromPacketConn(&utpPackets{udp, s})
	if err != nil {
		tcp.Close()
		udp.Close()
		return nil, fmt.Errorf("uTP: %w", err)
	}
	return s, nil
}

func (s *sockets) addr() netip.AddrPort { return s.tcp.Addr().(*net.TCPAddr).AddrPort() }

// close ends both sockets and all uTP connections.
func (s *sockets) close() error {
	s.dht.Close()
	if s.utp == nil {
		return s.tcp.Close()
	}
	return errors.Join(s.tcp.Close(), s.utp.CloseNow())
}

// utpPackets is the UDP socket as uTP sees it: without the packets of the DHT.
type utpPackets struct {
	*net.UDPConn
	sockets *sockets
}

func (u *utpPackets) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := u.UDPConn.ReadFromUDPAddrPort(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			return 0, nil, err
		case err != nil || n == 0:
			// An ICMP message or a full buffer concerns one packet. uTP would close the socket.
			continue
		case b[0] == 'd':
			u.sockets.heard.note(from, time.Now())
			u.sockets.dht.put(packet{append([]byte(nil), b[:n]...), from})
		default:
			return n, net.UDPAddrFromAddrPort(from), nil
		}
	}
}

type packet struct {
	data []byte
	from netip.AddrPort
}

// packetQueue is the UDP socket as the DHT sees it. Closing it leaves the socket open.
type packetQueue struct {
	udp    net.PacketConn
	queue  chan packet
	once   sync.Once
	closed chan struct{}
}

func newPacketQueue(udp net.PacketConn) *packetQueue {
	return &packetQueue{udp: udp, queue: make(chan packet, maxQueuedPackets), closed: make(chan struct{})}
}

func (q *packetQueue) put(p packet) {
	select {
	case q.queue <- p:
	default: // as a full socket buffer does
	}
}

// ReadFrom waits for the next packet of the DHT.
func (q *packetQueue) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case p := <-q.queue:
		return copy(b, p.data), net.UDPAddrFromAddrPort(p.from), nil
	case <-q.closed:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo sends a packet.
func (q *packetQueue) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-q.closed:
		return 0, net.ErrClosed
	default:
		return q.udp.WriteTo(b, to)
	}
}

// Close makes ReadFrom and WriteTo fail.
func (q *packetQueue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

// LocalAddr returns the address of the socket.
func (q *packetQueue) LocalAddr() net.Addr { return q.udp.LocalAddr() }

// errNoDeadline answers the deadlines that net.PacketConn asks for and the DHT does not use.
var errNoDeadline = errors.New("swarm: no deadlines on the DHT's half of a socket")

// SetDeadline is not supported.
func (q *packetQueue) SetDeadline(time.Time) error { return errNoDeadline }

// SetReadDeadline is not supported.
func (q *packetQueue) SetReadDeadline(time.Time) error { return errNoDeadline }

// SetWriteDeadline is not supported.
func (q *packetQueue) SetWriteDeadline(time.Time) error { return errNoDeadline }

// tcpDialer dials from any port.
func tcpDialer() torrent.Dialer {
	return torrent.NetworkDialer{Network: "tcp4", Dialer: &net.Dialer{FallbackDelay: -1, KeepAlive: -1}}
}

// utpDialer dials from the node's port, a little later than TCP.
type utpDialer struct{ socket *utp.Socket }

func (utpDialer) DialerNetwork() string { return "udp4" }

func (d utpDialer) Dial(ctx context.Context, addr string) (net.Conn, error) {
	t := time.NewTimer(utpDelay)
	defer t.Stop()
	select {
	case <-t.C:
		return d.socket.DialContext(ctx, "udp4", addr)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
